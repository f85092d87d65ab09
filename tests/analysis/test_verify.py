"""A run that is whole verifies; one that was changed in any of its files does not, and it is said where."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cascade.analysis import verify
from cascade.errors import RunError
from cascade.io.digests import digest_bytes
from cascade.io.jsonl import with_digest
from tests.support.commands import cascade, forge, only_run

Change = Callable[[str], str]


@pytest.fixture
def run(mini: Path) -> Path:
    """A whole run of two slots, two samples and shuffled choices, with its predictions."""
    flags = ("--captions", "speech=fake,sound=fake(text=rain)", "--samples", "2", "--shuffle-choices")
    assert cascade("run", "--dataset", str(mini), "--llm", "fake", *flags).exit_code == 0
    path = only_run()
    assert cascade("export", str(path)).exit_code == 0
    return path


def lines(change: Callable[[list[str]], list[str]]) -> Change:
    return lambda text: "\n".join([*change(text.splitlines()), ""])


def swap(old: str, new: str) -> Change:
    def swapped(text: str) -> str:
        assert old in text
        return text.replace(old, new, 1)

    return swapped


def test_a_whole_run_verifies(run: Path) -> None:
    verdict = verify.verify(run)
    assert (verdict.problems, verdict.unchecked) == ([], [])
    assert list(verdict.checked) == ["run.json", "items.jsonl", "captions.jsonl", "log.jsonl", "predictions.jsonl"]
    result = cascade("verify", str(run))
    assert result.exit_code == 0 and "everything that was derived again matches" in result.stdout
    assert "keys derived again" in result.stdout and "their prompts rendered again" in result.stdout


@pytest.mark.parametrize(
    ("file", "change", "named"),
    [
        ("run.json", swap('"samples": 2', '"samples": 3'), "run.json: it was changed after it was written"),
        ("run.json", swap("Answer", "Reply"), "the template's text is not the one"),
        ("run.json", swap('"rain"', '"hail"'), "the key is of another clip or engine"),
        ("run.json", swap('"format": 2', '"format": 9'), "has format 9"),
        ("run.json", lambda text: text[:40], "cannot be read as a run's manifest"),
        ("items.jsonl", lines(lambda rows: rows[1:]), "these are not the items that run.json names"),
        ("items.jsonl", swap("?", "!"), "these are not the items that run.json names"),
        ("captions.jsonl", swap("rain", "hail"), "captions.jsonl:2: this line, or the one before it, was changed"),
        ("captions.jsonl", lines(lambda rows: rows[:-1]), "has no caption in the slot 'sound'"),
        ("captions.jsonl", lines(lambda rows: [*rows, rows[0]]), "has an extra caption in the slot 'speech'"),
        ("captions.jsonl", swap("b2:", "b2:0"), "the key is of another clip or engine"),
        ("captions.jsonl", lambda text: "", "has no caption in the slot"),
        ("captions.jsonl", swap('"slot": "sound"', '"slot": "music"'), "has no caption in the slot 'sound'"),
        ("captions.jsonl", swap('"meta": {}', '"meta": {"x": NaN}'), "captions.jsonl:1: not JSON (NaN"),
        ("log.jsonl", swap("Answer: ", "Answer:  "), "log.jsonl:1: this line, or the one before it, was changed"),
        ("log.jsonl", lines(lambda rows: [rows[0], *rows[2:]]), "log.jsonl:2: this line, or the one before"),
        ("log.jsonl", lines(lambda rows: [rows[1], rows[0], *rows[2:]]), "log.jsonl:1: this line, or the one before"),
        ("log.jsonl", swap('"prompt": "b2:', '"prompt": "b2:0'), "its prompt is not the one that template, captions"),
        ("log.jsonl", swap('"seed": 0', '"seed": 0, "top_p": 1'), "it was asked with other parameters"),
        ("log.jsonl", swap("{", "<"), "log.jsonl:1: not JSON"),
        ("log.jsonl", swap('"seed": 0', '"seed": Infinity'), "log.jsonl:1: not JSON (Infinity"),
        ("predictions.jsonl", swap('"answer_prediction": "', '"answer_prediction": "x'), "export it again"),
    ],
)
def test_what_was_changed_is_named(run: Path, file: str, change: Change, named: str) -> None:
    before = (run / file).read_text(encoding="utf-8")
    (run / file).write_text(change(before), encoding="utf-8")
    problems = verify.verify(run).problems
    assert any(named in problem for problem in problems), problems
    result = cascade("verify", str(run))
    assert result.exit_code == 2 and named in result.stdout and " match; the command that made the run" in result.stderr
    (run / file).write_text(before, encoding="utf-8")
    assert verify.verify(run).problems == []


def test_files_that_are_gone_or_no_text_are_named(run: Path) -> None:
    (run / "predictions.jsonl").write_bytes(b"\xff\xfe\n")
    assert "export it again" in verify.verify(run).problems[0]
    (run / "log.jsonl").unlink()
    assert f"{run}: log.jsonl is missing" in verify.verify(run).problems
    (run / "log.jsonl").symlink_to("log.jsonl")
    assert cascade("verify", str(run)).exit_code == 2


def test_an_audio_path_that_no_file_can_have_is_no_clip(run: Path) -> None:
    content = (run / "items.jsonl").read_text().replace(".wav", "\\u0000.wav")
    (run / "items.jsonl").write_text(content)
    manifest = json.loads((run / "run.json").read_text())
    del manifest["digest"]
    manifest["items"] = digest_bytes(b"\n".join(sorted(content.encode().splitlines())))
    (run / "run.json").write_text(json.dumps(with_digest(manifest)))
    assert "captions' keys: their clips are not under" in verify.verify(run).unchecked[0]


def test_a_forgery_with_new_seals_is_still_of_other_prompts(run: Path) -> None:
    rows = [json.loads(line) for line in (run / "captions.jsonl").read_text().splitlines()]
    forged, before = [], ""
    for row in rows:
        record = {name: part for name, part in row.items() if name != "digest"}
        forged.append(with_digest({**record, "text": record["text"] + " and a dog"}, before))
        before = forged[-1]["digest"]
    (run / "captions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in forged))
    problems = verify.verify(run).problems
    assert problems and all("its prompt is not the one" in problem for problem in problems)


def test_without_its_clips_the_keys_are_not_checked_and_that_is_said(run: Path, mini: Path) -> None:
    for clip in mini.parent.rglob("*.wav"):
        clip.unlink()
    verdict = verify.verify(run)
    assert verdict.problems == [] and "captions' keys: their clips are not under" in verdict.unchecked[0]
    assert "not checked: " in cascade("verify", str(run)).stderr


def test_what_is_no_run_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"is no run directory: it has no run\.json"):
        verify.verify(tmp_path)
    assert cascade("verify", str(tmp_path)).exit_code == 2


def test_the_runs_in_a_folder_are_named(mini: Path, tmp_path: Path) -> None:
    run = tmp_path / "runs" / "one"
    assert cascade("run", "--dataset", mini, "--captions", "none", "--llm", "fake", "--out", run).exit_code == 0
    told = cascade("verify", str(run.parent))
    assert told.exit_code == 2 and f"there are 1 in it: give {run.parent}/*, or one: {run}" in told.stderr


def _set(*keys: str, value: Any) -> Callable[[list[dict[str, Any]]], None]:
    def change(records: list[dict[str, Any]]) -> None:
        holder = records[0]
        for key in keys[:-1]:
            holder = holder[key]
        holder[keys[-1]] = value

    return change


HUGE = 10**40
FORGED = {
    "samples": ("run.json", _set("spec", "llm", "samples", value=HUGE), "Expected `int`"),
    "shard": ("run.json", _set("part", value={"shard": f"1/{HUGE}", "places": "0", "total": 8}), "$.part.shard"),
    "half": ("run.json", _set("template", value="# user\n$question $choices \ud800"), "holds half a surrogate pair"),
    "field": ("run.json", _set("template", value="# user\n$question $choices $gold"), "$gold is no field"),
    "part": ("run.json", _set("template", value="$question $choices"), "needs a line '# user'"),
    "calls": ("reader.jsonl", _set("calls", value=HUGE), "Expected `int`"),
    "reader": ("reader.jsonl", _set("text", value="# user\n$question $criteria $response"), "is no field"),
    "reader's half": ("reader.jsonl", _set("text", value="# user\n$choices $reply \udfff"), "half a surrogate pair"),
}


@pytest.mark.parametrize("name", FORGED)
def test_a_forgery_beyond_bounds_is_refused_in_one_line(name: str, run: Path) -> None:
    (run / "predictions.jsonl").unlink(missing_ok=True)
    forge(run / "log.jsonl", _set("result", "text", value="Who knows?"))
    assert cascade("read", run, "--reader", "fake").exit_code == 0
    file, change, complaint = FORGED[name]
    forge(run / file, change)
    for command in (["verify", run], ["score", run], ["report", run], ["read", run], ["merge", run, "--out", "merged"]):
        done = cascade(*command)
        if file == "reader.jsonl" and command[0] == "merge":
            continue  # It does not read that log.
        shown = " ".join((done.stdout + done.stderr).split())
        assert done.exit_code == 2 and complaint in shown and file in shown, shown
