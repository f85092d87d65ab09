"""Captions that are looked up, never cached: from a file by id or sound, from the benchmark's own annotation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cascade.captioners.registry import Engine
from cascade.captioning import generate
from cascade.errors import UserError
from cascade.io.digests import caption_key, digest, digest_file, sha256_file
from cascade.types import Execution, Host, Item
from tests.support.commands import cascade, log_of, rows, write


def items(n: int, cue: Any = ("rain", "a bell")) -> list[Item]:
    choices = ("yes", "no")
    return [
        Item(id=f"q{at}", audio=f"{at}.wav", question="?", choices=choices, answer="no", reference={"cue": cue})
        for at in range(n)
    ]


def file_of(*lines: Any) -> Path:
    path = Path("captions.jsonl")
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return path


def look_up(slot: str, name: str, given: dict[str, Any], asked: list[Item], root: Path = Path()) -> list[Any]:
    spec, files = Engine(name).specify(slot, given)
    how = Execution(cache=Path("cache"), host=Host(files=files))
    return generate.caption(asked, root, [spec], how)


def test_a_file_is_looked_up_by_id_and_by_sound_and_needs_no_cache() -> None:
    Path("2.wav").write_bytes(b"two")
    sound = {"sha256": sha256_file(Path("2.wav")).upper(), "text": "by sound"}
    path = file_of({"id": "q0", "text": "by id", "meta": {"model": "theirs"}}, "", sound, {"id": "q3", "text": ""})
    records = look_up("sound", "file", {"path": str(path)}, items(5))
    assert [record.text for record in records] == ["by id", None, "by sound", "", None]
    assert records[0].meta == {"model": "theirs"} and not Path("cache").exists()
    assert records[1].failure.kind == "audio"  # a row goes by sound, and this clip is not there
    spec, files = Engine("file").specify("sound", {"path": str(path)})
    assert spec.params == {"path": digest_file(path)} and files == {digest_file(path): path.resolve()}
    assert records[0].key == caption_key("sound", "file", spec.version, spec.params, digest("by id"))


def test_an_item_that_is_not_in_the_file_is_a_failure_not_silence() -> None:
    records = look_up("sound", "file", {"path": str(file_of({"id": "q0", "text": "x"}))}, items(2))
    assert records[1].failure.kind == "missing" and "'q1'" in records[1].failure.message


def test_what_caption_prints_can_be_looked_up() -> None:
    data = write(Path("mini.jsonl"), list(rows(3)))
    printed = cascade(
        "caption",
        "--dataset",
        data,
        "--captions",
        "speech=fake(text=hello),sound=fake(text=a bark)",
        "--format",
        "jsonl",
    )
    Path("theirs.jsonl").write_text(printed.stdout)
    captions = "speech=file(path=theirs.jsonl),sound=file(path=theirs.jsonl)"
    again = cascade("caption", "--dataset", data, "--captions", captions, "--format", "jsonl", "--cache", "other")
    assert again.exit_code == 0
    looked_up = [(row["id"], row["slot"], row["text"]) for row in map(json.loads, again.stdout.splitlines())]
    assert looked_up[:2] == [("q0", "speech", "hello"), ("q0", "sound", "a bark")] and len(looked_up) == 6
    for clip in Path().glob("*.wav"):
        clip.unlink()
    run = cascade("run", "--dataset", data, "--captions", captions, "--llm", "fake")
    assert run.exit_code == 0 and "3 items: 3 answered" in run.stdout


@pytest.mark.parametrize(
    ("line", "match"),
    [
        ("{", r"captions\.jsonl:2: not JSON"),
        ("[1]", r"captions\.jsonl:2: an object is needed, not list"),
        ({"text": "x"}, "neither 'id' nor 'sha256'"),
        ({"id": 1, "text": "x"}, "neither 'id' nor 'sha256'"),
        ({"id": "q0", "text": 5}, "'text' must be text"),
        ({"id": "q0", "text": "x", "meta": [1]}, "'meta' must be an object"),
        ({"id": "q9", "text": "other"}, "'q9' stands twice, with two captions"),
        ('{"id": "q0", "text": "\\ud800"}', "half of a surrogate pair"),
    ],
)
def test_a_bad_row_is_named(line: Any, match: str) -> None:
    with pytest.raises(UserError, match=match) as caught:
        look_up("sound", "file", {"path": str(file_of({"id": "q9", "text": "x"}, line))}, items(1))
    assert "\n" not in str(caught.value)


def test_a_file_that_has_nothing_or_is_not_there() -> None:
    with pytest.raises(UserError, match="holds no caption for the slot 'sound'"):
        look_up("sound", "file", {"path": str(file_of({"id": "q0", "slot": "speech", "text": "x"}))}, items(1))
    with pytest.raises(UserError, match=r"path=gone\.jsonl: no such file"):
        Engine("file").specify("sound", {"path": "gone.jsonl"})
    with pytest.raises(UserError, match="path="):
        Engine("file").specify("sound", {})


def test_the_oracle_tells_the_cue_and_nothing_that_answers() -> None:
    records = look_up("oracle", "oracle", {}, [*items(1), Item(**{**_plain(items(1)[0]), "id": "q1", "reference": {}})])
    assert records[0].text == "rain; a bell" and records[1].failure.kind == "not_applicable"
    assert look_up("oracle", "oracle", {}, items(1, cue="wind"))[0].text == "wind"
    for field in ("thinking", "rubric"):
        with pytest.raises(UserError, match=f"{field} tells the answer"):
            look_up("oracle", "oracle", {"field": field}, items(1))


def _plain(item: Item) -> dict[str, Any]:
    return {name: getattr(item, name) for name in item.__struct_fields__}


def test_the_oracle_is_a_run_like_any_other() -> None:
    data = write(Path("mini.jsonl"), list(rows(4)))
    run = cascade("run", "--dataset", data, "--captions", "oracle", "--llm", "fake")
    assert run.exit_code == 0 and "captions cue=oracle" in run.stdout  # as in the control of an ablation
    shown = cascade("prompts", "show", "default", "--dataset", data, "--item", "q1", "--captions", "oracle")
    assert "secret cue 1" in shown.stdout


def test_an_item_without_a_cue_is_not_applicable_to_the_oracle() -> None:
    """It is no failure, not asked again, in no score, and on neither side of a pair."""
    questions = [*rows(4)]
    questions[2]["cue"] = []
    del questions[3]["cue"]
    data = write(Path("mini.jsonl"), questions)
    asked: list[str | Path] = ["run", "--dataset", data, "--llm", "fake"]
    plan = cascade(*asked, "--captions", "oracle", "--out", "oracle", "--dry-run").stdout
    assert "calls     2 (2 questions, 1 sample each; 0 answered already)" in plan
    first = cascade(*asked, "--captions", "oracle", "--out", "oracle")
    assert first.exit_code == 0 and "failed (" not in first.stderr
    assert "2 items: 2 answered, 0 failed, 0 unread" in first.stdout
    assert "not applicable, and left out: 2 more" in first.stdout
    log = log_of(Path("oracle"))
    assert sorted(line["result"].get("kind", "") for line in log) == ["", "", "not_applicable", "not_applicable"]
    assert cascade(*asked, "--captions", "oracle", "--out", "oracle").exit_code == 0
    assert log_of(Path("oracle")) == log
    assert cascade("verify", "oracle").exit_code == 0
    assert json.loads(cascade("score", "oracle", "--format", "json").stdout)["inapplicable"] == 2
    plan = cascade(*asked, "--captions", "oracle", "--out", "oracle", "--dry-run").stdout
    assert "of which 0 are to be made" in plan and "calls     0 (2 questions" in plan
    cascade(*asked, "--captions", "none", "--out", "blind")
    pair = json.loads(cascade("compare", "oracle", "blind", "--format", "json").stdout)
    assert (pair["n"], pair["a"]["inapplicable"], pair["b"]["left_out"]) == (2, 2, 2)
    assert "not applicable to 2 items, left out on all sides)" in cascade("compare", "oracle", "blind").stdout
    board = json.loads(cascade("leaderboard", "oracle", "blind", "--format", "json").stdout)
    assert [row["items"] for row in board] == ["mini, 2 (2 not applicable)", "mini, 4"]
    for runs in (["oracle"], ["blind", "oracle"]):
        assert "not applicable to 2 items, which are left out" in cascade("report", *runs, "--format", "md").stdout
        assert cascade("report", *runs, "--out", "report.html").exit_code == 0


def test_an_oracle_without_any_cue_says_so_in_one_line() -> None:
    data = write(Path("mini.jsonl"), [*rows(3, cue=[])])
    run = cascade("run", "--dataset", data, "--llm", "fake", "--captions", "oracle", "--out", "oracle")
    assert run.exit_code == 2 and run.stdout == ""
    assert (
        "not applicable to any of its 3 items, nothing to score; the first: cue: q0: the dataset has no" in run.stderr
    )
    assert cascade("caption", "--dataset", data, "--captions", "oracle").exit_code == 0
