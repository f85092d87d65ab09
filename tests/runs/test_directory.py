"""A run directory: made, found again, resumed, refused."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from msgspec.structs import replace

from cascade.errors import RunError
from cascade.io.jsonl import to_json
from cascade.runs import directory
from cascade.runs.directory import Manifest
from cascade.runs.provenance import Session, now
from cascade.types import Answer, CaptionerSpec, CaptionRecord, Completion, Failure, Item, LLMSpec, PromptSpec, RunSpec
from tests.support.commands import cascade, rows, write

ITEMS = tuple(
    Item(id=f"q{n}", audio=f"{n}.wav", question="?", choices=("a", "b"), answer="a", reference={"cue": "x"})
    for n in range(5)
)
SPEC = RunSpec(
    dataset="mini",
    dataset_digest="b2:d",
    captioners=(CaptionerSpec(slot="speech", name="fake", version="1", params={"text": "hello"}),),
    prompt=PromptSpec(template="default", template_digest="b2:t", slots=("speech",)),
    llm=LLMSpec(model="openai/gpt", params={"temperature": 0}),
)
SESSION = Session(at="2026", command="cascade run", cascade="0.1", python="3.11", platform="Linux")
QUESTION = {"id": "q0", "audio_path": "x.wav", "question": "?", "choices": ["rain", "a bell"], "answer": "rain"}
MANIFEST = directory.new_manifest(SPEC, "# user\n$question $choices", SESSION)


def answer(item: str, text: str, sample: int = 0) -> Answer:
    result = Completion(text=text)
    return Answer(item=item, sample=sample, prompt="b2:p", captions={}, result=result, seconds=0.0, at=now())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs" / "one"


def make(
    path: Path, wanted: Manifest = MANIFEST, items: Sequence[Item] = ITEMS, answers: Sequence[Answer] = ()
) -> None:
    with directory.open_run(path, wanted, tuple(items)) as (_, log):
        for record in answers:
            log.append(record)


def files(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.iterdir()}


def test_a_new_run_is_read_back(path: Path) -> None:
    make(path, answers=[answer("q0", "a")])
    run = directory.read_run(path)
    assert (replace(run.manifest, items=""), run.items, run.spec) == (MANIFEST, ITEMS, SPEC)
    assert directory.last_answers(path)["q0", 0].result == Completion(text="a")
    assert sorted(files(path)) == ["items.jsonl", "log.jsonl", "run.json"]
    assert json.loads((path / "run.json").read_text())["template"] == "# user\n$question $choices"


def test_resuming_changes_no_byte(path: Path) -> None:
    make(path, answers=[answer("q0", "a")])
    before = files(path)
    make(path, replace(MANIFEST, created="later", sessions=(replace(SESSION, at="2027"),)))
    assert files(path) == before


def test_another_session_is_noted(path: Path) -> None:
    make(path, answers=[answer("q0", "a")])
    other = replace(SESSION, at="2027", python="3.12")
    make(path, replace(MANIFEST, sessions=(other,)))
    make(path, replace(MANIFEST, sessions=(other,)), ITEMS[:1])
    assert directory.read_run(path).manifest.sessions == (SESSION, other)


def test_items_may_stand_in_any_order_but_none_may_be_taken_out(path: Path) -> None:
    make(path)
    lines = (path / "items.jsonl").read_bytes().splitlines(keepends=True)
    (path / "items.jsonl").write_bytes(b"".join(reversed(lines)))
    assert directory.read_run(path).items == ITEMS[::-1]
    for changed in (lines[1:], [*lines, lines[0]], [lines[0].replace(b'"a"', b'"b"'), *lines[1:]]):
        (path / "items.jsonl").write_bytes(b"".join(changed))
        with pytest.raises(
            RunError, match=r"items\.jsonl: these are not the items that run\.json names; run again the command"
        ):
            directory.read_run(path)
    make(path)
    assert directory.read_run(path).items == ITEMS


def test_the_last_line_of_an_item_and_sample_wins(path: Path) -> None:
    make(path, answers=[answer("q0", "first"), answer("q0", "other", 1), answer("q1", "x"), answer("q0", "last")])
    results = {at: record.result for at, record in directory.last_answers(path).items()}
    assert results == {
        ("q0", 0): Completion(text="last"),
        ("q0", 1): Completion(text="other"),
        ("q1", 0): Completion(text="x"),
    }


def test_a_larger_limit_extends_and_a_smaller_one_keeps(path: Path) -> None:
    make(path, replace(MANIFEST, spec=replace(SPEC, limit=2)), ITEMS[:2], [answer("q0", "a")])
    make(path, replace(MANIFEST, spec=replace(SPEC, limit=4)), ITEMS[:4])
    assert (directory.read_run(path).items, directory.read_run(path).spec.limit) == (ITEMS[:4], 4)
    before = files(path)
    with directory.open_run(path, replace(MANIFEST, spec=replace(SPEC, limit=1)), ITEMS[:1]) as (run, _):
        assert run.items == ITEMS[:4]
    assert files(path) == before
    assert list(directory.last_answers(path)) == [("q0", 0)]


@pytest.mark.parametrize(
    ("other", "named"),
    [
        (replace(SPEC, llm=LLMSpec(model="other")), "llm.model is 'openai/gpt' there, 'other' here"),
        (replace(SPEC, llm=replace(SPEC.llm, samples=2)), "llm.samples is 1 there, 2 here"),
        (replace(SPEC, llm=replace(SPEC.llm, params={})), "llm.params.temperature is 0 there"),
        (replace(SPEC, dataset_digest="b2:e"), "dataset_digest is 'b2:d' there, 'b2:e' here"),
        (replace(SPEC, only={"modality": ("speech",)}), "only.modality"),
        (replace(SPEC, captioners=()), "captions are speech=fake there, none here"),
        (replace(SPEC, prompt=replace(SPEC.prompt, order_seed=3)), "prompt.order_seed is None there, 3 here"),
        (replace(SPEC, prompt=replace(SPEC.prompt, template_digest="b2:u")), "prompt.template_digest"),
    ],
)
def test_another_run_is_refused_by_what_differs(path: Path, other: RunSpec, named: str) -> None:
    make(path)
    before = files(path)
    with pytest.raises(RunError, match="holds another run") as caught:
        make(path, replace(MANIFEST, spec=other))
    assert named in str(caught.value) and "--out another directory" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert files(path) == before
    assert directory.identity(other) != directory.identity(SPEC)


def test_runs_are_found_in_a_folder_but_not_in_hidden_ones_or_in_runs(tmp_path: Path) -> None:
    for place in ("b", "a", "a/inner", "deep/c", ".hidden"):
        (tmp_path / place).mkdir(parents=True)
        if place != "deep/c":
            (tmp_path / place / "run.json").touch()
    (tmp_path / "file").touch()
    runs = [tmp_path / "a", tmp_path / "b"]
    assert directory.find_runs(tmp_path) == directory.find_runs(tmp_path, 4) == runs
    (tmp_path / "deep" / "c" / "run.json").touch()
    assert directory.find_runs(tmp_path) == runs
    assert directory.find_runs(tmp_path, 2) == [*runs, tmp_path / "deep" / "c"]
    assert directory.find_runs(tmp_path / "a") == [tmp_path / "a"]
    assert directory.find_runs(tmp_path / "file") == directory.find_runs(tmp_path / "absent") == []


def test_the_limit_is_no_part_of_the_identity() -> None:
    assert directory.identity(replace(SPEC, limit=3)) == directory.identity(SPEC)


@pytest.mark.parametrize("left", [["log.jsonl"], ["log.jsonl", "run.json"], ["log.jsonl", ".run.json.a1b2c3"], []])
def test_a_start_that_was_killed_is_started_again(path: Path, left: list[str]) -> None:
    make(path)
    for file in path.iterdir():
        if file.name not in left:
            file.unlink()
    for name in left:
        (path / name).touch()
    make(path)
    assert directory.read_run(path).items == ITEMS


def test_an_extension_that_was_killed_is_extended_again(path: Path) -> None:
    make(path, replace(MANIFEST, spec=replace(SPEC, limit=2)), ITEMS[:2])
    before = (path / "items.jsonl").read_bytes()
    longer = replace(MANIFEST, spec=replace(SPEC, limit=5))
    make(path, longer)
    (path / "items.jsonl").write_bytes(before)
    make(path, longer)
    assert directory.read_run(path).items == ITEMS


def test_a_folder_of_something_else_is_left_alone(path: Path) -> None:
    path.mkdir(parents=True)
    (path / "thesis.tex").write_text("mine")
    with pytest.raises(RunError, match="is no run directory and not empty; give --out"):
        make(path)
    assert files(path) == {"thesis.tex": b"mine"}
    with pytest.raises(RunError, match="is no run directory"):
        make(path / "thesis.tex")
    with pytest.raises(RunError, match=r"is no run directory: it has no run\.json"):
        directory.read_run(path)


def test_a_folder_that_is_not_there_is_not_called_a_folder_of_something_else(path: Path) -> None:
    with pytest.raises(RunError, match=r"there is no such run directory; `ls runs` shows"):
        directory.read_run(path)


def test_a_run_in_use_is_refused(path: Path) -> None:
    with (
        directory.open_run(path, MANIFEST, ITEMS),
        pytest.raises(RunError, match="another process is writing this run"),
        directory.open_run(path, MANIFEST, ITEMS),
    ):
        pass
    make(path)


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("run.json", b"{", r"run\.json: cannot be read as a run's manifest"),
        ("run.json", b"\xff", r"run\.json: cannot be read as a run's manifest"),
        ("run.json", b"[" * 100_000, r"run\.json: cannot be read as a run's manifest"),
        ("run.json", b'{"format": 2}', r"run\.json: .*missing required field `spec`"),
        ("items.jsonl", b'{"id": "q0"}\n', r"items\.jsonl:1: Item: Object missing required field `audio`"),
        ("items.jsonl", b"\n", r"items\.jsonl:1: not JSON"),
        ("log.jsonl", b'{"item": "q0"}\n', r"log\.jsonl:1: Answer: Object missing required field `sample`"),
        ("log.jsonl", b"7\n", r"log\.jsonl:1: Answer: Expected `object`, got `int`"),
        (
            "captions.jsonl",
            b'{"item": "q0", "slot": "s", "key": 1}\n',
            r"captions\.jsonl:1: CaptionRecord: Expected `str`, got `int` - at `\$\.key`",
        ),
        (
            "captions.jsonl",
            b'{"item": "q0", "slot": "s", "key": "k", "meta": {"x": NaN}}\n',
            r"jsonl:1: not JSON \(NaN",
        ),
    ],
)
def test_a_damaged_file_is_named(path: Path, name: str, content: bytes, complaint: str) -> None:
    make(path)
    directory.write_captions(path, [])
    (path / name).write_bytes(content)
    with pytest.raises(RunError, match=complaint):
        _ = directory.read_run(path), directory.last_answers(path), directory.read_captions(path)


def test_a_run_of_a_later_format_is_refused(path: Path) -> None:
    make(path, replace(MANIFEST, format=3))
    with pytest.raises(RunError, match="format"):
        directory.read_run(path)


def test_a_run_that_nobody_made_or_that_asks_nothing_is_refused(path: Path) -> None:
    make(path)
    content = json.loads((path / "run.json").read_text())
    (path / "run.json").write_text(json.dumps({**content, "sessions": []}))
    with pytest.raises(RunError, match="sessions must hold one or more"):
        directory.read_run(path)
    (path / "run.json").write_text(json.dumps({**content, "items": ""}))
    bare = [{**json.loads(line), "choices": []} for line in (path / "items.jsonl").read_text().splitlines()]
    (path / "items.jsonl").write_text("".join(json.dumps(row) + "\n" for row in bare))
    with pytest.raises(RunError, match="'q0' has no choices"):
        directory.read_run(path)


@pytest.mark.parametrize("name", ["items.jsonl", "log.jsonl", "captions.jsonl"])
def test_a_missing_file_is_named(path: Path, name: str) -> None:
    make(path)
    directory.write_captions(path, [])
    os.unlink(path / name)
    with pytest.raises(RunError, match=f"{name} is missing"):
        _ = directory.read_run(path), directory.last_answers(path), directory.read_captions(path)


def test_items_that_lost_their_last_newline_lose_no_item(path: Path) -> None:
    """Only the log may end in an unfinished line: here one less would be a smaller denominator, in silence."""
    make(path)
    items = path / "items.jsonl"
    items.write_bytes(items.read_bytes()[:-1])
    try:
        assert directory.read_run(path).items == ITEMS
    except RunError as error:
        assert "items.jsonl:5" in str(error)  # noqa: PT017 - either is right


def test_what_was_heard_is_read_back(path: Path) -> None:
    make(path)
    captions = [
        CaptionRecord(item="q0", slot="speech", key="b2:1", text="", meta={"seconds": 1.5}),
        CaptionRecord(item="q1", slot="speech", key="", failure=Failure(kind="audio", message="1.wav: No such file")),
    ]
    directory.write_captions(path, captions)
    assert directory.read_captions(path) == captions
    assert captions[0].caption is not None and captions[0].caption.text == ""
    assert captions[1].caption is None


def test_a_runs_own_directory_is_named_after_what_it_is() -> None:
    name = directory.default_directory(SPEC).name
    assert name == "mini-openai-gpt-" + directory.identity(SPEC)[3:11]
    hostile = replace(SPEC, dataset="../../etc", llm=LLMSpec(model="../" * 100 + "a b\n"))
    place = directory.default_directory(hostile)
    assert place.parent == Path("runs") and len(place.name) < 100 and not place.name.startswith(".")
    assert directory.default_directory(replace(SPEC, limit=1)) == directory.default_directory(SPEC)


def test_a_spec_holds_no_place_device_or_key() -> None:
    names = {key.split(".")[-1] for key in _keys(to_json(SPEC))}
    assert not names & {"cache", "runs", "host", "device", "batch", "threads", "api_base", "timeout", "api_key", "root"}
    assert {"model", "samples", "template_digest", "dataset_digest", "version"} <= names


def _keys(value: object, prefix: str = "") -> set[str]:
    if not isinstance(value, dict | list):
        return {prefix}
    parts = value.items() if isinstance(value, dict) else enumerate(value)
    return {key for name, part in parts for key in _keys(part, f"{prefix}.{name}")}


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("items.jsonl", '"answer": "rain"', '"answer": "a bell"'),
        ("run.json", '"created": "2', '"created": "1'),
        ("log.jsonl", '"text": "Answer: ', '"text": "Answer: not '),
        ("captions.jsonl", '"text": "', '"text": "not '),
    ],
)
@pytest.mark.parametrize("limit", ["2", "3", "5"])
def test_a_changed_file_is_never_sealed_by_a_resume(name: str, old: str, new: str, limit: str, tmp_path: Path) -> None:
    rows = [{**QUESTION, "id": f"q{number}"} for number in range(5)]
    (tmp_path / "mini.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "x.wav").write_bytes(b"clip")
    command: list[str | Path] = [
        "run",
        "--dataset",
        tmp_path / "mini.jsonl",
        "--llm",
        "fake",
        "--captions",
        "speech=fake",
    ]
    run = tmp_path / "run"
    assert cascade(*command, "--limit", "3", "--out", run).exit_code == 0
    text = (run / name).read_text()
    changed = text.replace(old, new, 1)
    assert changed != text
    (run / name).write_text(changed)
    done = cascade(*command, "--limit", limit, "--out", run)
    # The items that are asked for again are those that were sealed: they are written anew.
    if name == "items.jsonl" and limit == "3":
        assert done.exit_code == 0 and (run / name).read_text() == text
    else:
        assert done.exit_code == 2 and f"{name}: it was changed after it was written" in done.stderr
        assert ("at line 1" in done.stderr) == (name in ("log.jsonl", "captions.jsonl"))
        assert (run / name).read_text() == changed


def test_a_run_that_never_began_leaves_no_directory(tmp_path: Path) -> None:
    (tmp_path / "mini.jsonl").write_text(json.dumps(QUESTION) + "\n")
    command: list[str | Path] = [
        "run",
        "--dataset",
        tmp_path / "mini.jsonl",
        "--llm",
        "fake",
        "--captions",
        "sound=fake",
    ]
    done = cascade(*command, "--out", tmp_path / "runs" / "new")
    assert done.exit_code == 2 and "none of the 1 clips can be read" in done.stderr
    assert not (tmp_path / "runs" / "new").exists()
    (tmp_path / "mine").mkdir()
    assert cascade(*command, "--out", tmp_path / "mine").exit_code == 2 and (tmp_path / "mine").is_dir()


def test_each_start_says_what_it_kept_and_did(tmp_path: Path) -> None:
    command: list[str | Path] = [
        "run",
        "--dataset",
        "demo",
        "--llm",
        "fake",
        "--captions",
        "sound=fake",
        "--out",
        tmp_path / "run",
    ]
    assert "answers: 0 kept, 2 asked; captions: 2 made\n" in cascade(*command, "--limit", "2").stderr
    assert "answers: 2 kept, 1 asked; captions: 1 made\n" in cascade(*command, "--limit", "3").stderr
    assert "answers: 3 kept, 0 asked; captions: 0 made\n" in cascade(*command, "--limit", "3").stderr


def test_a_start_says_how_many_captions_failed(tmp_path: Path) -> None:
    data = write(tmp_path / "mini.jsonl", list(rows(3)))
    (tmp_path / "theirs.wav").write_bytes(b"no sound")
    command = ["run", "--dataset", data, "--llm", "fake", "--captions", "music=signal", "--out", tmp_path / "run"]
    assert "answers: 0 kept, 3 asked; captions: 0 made, 3 failed\n" in cascade(*command).stderr


def test_a_stray_log_is_not_adopted(tmp_path: Path) -> None:
    command: list[str | Path] = [
        "run",
        "--dataset",
        "demo",
        "--captions",
        "none",
        "--limit",
        "2",
        "--out",
        tmp_path / "run",
    ]
    assert cascade(*command, "--llm", "fake").exit_code == 0
    assert json.loads((tmp_path / "run" / "log.jsonl").read_text().splitlines()[0])["run"].startswith("b2:")
    for name in ("run.json", "items.jsonl", "captions.jsonl"):
        (tmp_path / "run" / name).unlink()
    done = cascade(*command, "--llm", "fake", "--seed", "1")
    assert done.exit_code == 2 and "log.jsonl is another run's, or does not say whose" in done.stderr
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["log.jsonl"]
    assert "answers: 2 kept, 0 asked" in cascade(*command, "--llm", "fake").stderr
    assert cascade("verify", tmp_path / "run").exit_code == 0


def test_a_log_of_another_run_is_named(tmp_path: Path) -> None:
    for seed in ("0", "1"):
        command: list[str | Path] = [
            "run",
            "--dataset",
            "demo",
            "--captions",
            "none",
            "--llm",
            "fake",
            "--limit",
            "2",
            "--seed",
            seed,
        ]
        assert cascade(*command, "--out", tmp_path / seed).exit_code == 0
    (tmp_path / "1" / "log.jsonl").write_bytes((tmp_path / "0" / "log.jsonl").read_bytes())
    assert "its first line names another run" in " ".join(cascade("verify", tmp_path / "1").stdout.split())
