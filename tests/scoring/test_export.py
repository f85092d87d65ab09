"""Official prediction files, judged by a reading of the official rule that shares nothing with the scorer."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from cascade.api import score
from cascade.io.jsonl import dumps, to_json
from cascade.runs import directory
from cascade.runs.directory import read_run
from cascade.scoring import export
from cascade.types import Answer, Completion, Failure
from tests.support.commands import cascade, only_run, rows, write


def words(text: str) -> set[str]:
    return set(re.findall(r"\b\w+\b", text.lower()))


def officially_right(row: dict[str, Any], key: str) -> bool:
    """The published rule, read anew: every word of the answer, and no word that only other choices have."""
    predicted, gold = words(row[key]), words(row["answer"])
    others = set().union(*(words(choice) - gold for choice in row["choices"] if words(choice) != gold))
    return bool(predicted) and gold <= predicted and not predicted & others


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Path:
    data = write(Path("mini.jsonl"), list(rows(12)))
    assert cascade("run", "--dataset", data, "--captions", "sound=fake", "--llm", "fake").exit_code == 0
    return only_run()


def replace(run: Path, item: str, result: Any) -> None:
    old = directory.last_answers(run)[(item, 0)]
    answer = Answer(
        item=item, sample=0, prompt=old.prompt, captions=old.captions, result=result, seconds=0.0, at=old.at
    )
    with open(run / "log.jsonl", "a", encoding="utf-8") as log:
        log.write(dumps(to_json(answer)) + "\n")


def test_the_file_scores_as_the_run_does(run: Path) -> None:
    replace(run, "q1", Failure(kind="timeout", message="no reply"))
    replace(run, "q2", Completion(text="I cannot tell."))
    replace(run, "q3", Completion(text="Answer: a bell", finish="length"))
    result = cascade("export", run)
    file = run / "predictions.jsonl"
    assert result.stdout.strip() == str(file)
    text = file.read_text(encoding="utf-8")
    assert text.endswith("}\n") and "\n\n" not in text
    lines = [json.loads(line) for line in text.splitlines()]
    assert [row["id"] for row in lines] == [item.id for item in read_run(run).items]
    by_id = {row["id"]: row for row in lines}
    assert [by_id[name]["answer_prediction"] for name in ("q1", "q2", "q3")] == ["", "", ""]
    for row in lines:
        assert row["answer_prediction"] in ["", *row["choices"]] and isinstance(row["thinking_prediction"], str)
        assert row["answer_prediction"] == row["model_prediction"] == row["model_output"]
        assert row["thinking_prediction"].endswith(row["answer_prediction"])
        assert {"audio_path", "question", "answer", "modality", "category", "cue"} <= row.keys()
    right = sum(officially_right(row, "answer_prediction") for row in lines)
    summary = score(run)
    assert 0 < right < 12 and summary.scores["mmar"].accuracy == right / 12
    assert score(file).scores["mmar"].accuracy == right / 12
    assert score(file).official_denominator == right / 12


def test_mmau_reads_an_array_with_its_own_names(run: Path) -> None:
    result = cascade("export", run, "--benchmark", "mmau", "--out", "new/file.json")
    assert result.stdout.strip() == "new/file.json"
    exported = json.loads(Path("new/file.json").read_text())
    assert len(exported) == 12 and all("audio_id" in row and row["model_output"] in row["choices"] for row in exported)
    assert score(Path("new/file.json")).n == 12


@pytest.mark.parametrize("length", [10, 9_970, 9_990, 10_000, 50_000])
def test_thinking_is_short_enough_and_ends_with_the_choice(length: int) -> None:
    long = "".join(chr(97 + at % 26) for at in range(length))
    answer = _answer(Completion(text="So it rains.", reasoning=long))
    result = export.thinking(answer, "heavy rain")
    assert len(result) < 10_000 and result.endswith("heavy rain") and result.startswith(long[:100])
    assert "So it rains." in result and ("[…]" in result) == (length > 9_960)


def _answer(result: Any) -> Answer:
    return Answer(item="q", sample=0, prompt="", captions={}, result=result, seconds=0.0, at="")


def test_thinking_where_there_is_none() -> None:
    assert export.thinking(None, "") == ""
    assert export.thinking(_answer(Failure(kind="timeout", message="m")), "") == ""
    assert export.thinking(_answer(Completion(text="Answer: rain")), "rain") == "Answer: rain"
    assert export.thinking(_answer(Completion(text="perhaps")), "") == "perhaps"


def test_half_a_surrogate_pair_does_no_harm(run: Path) -> None:
    replace(run, "q1", Completion(text="odd \ud800 text"))
    for benchmark in ("mmar", "mmau"):
        assert cascade("export", run, "--benchmark", benchmark).exit_code == 0


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["export", "nowhere"], "nowhere: there is no such run directory"),
        (
            ["export", "RUN", "--out", "0.wav/x"],
            "0.wav/x: cannot be written there (File exists); name another file",
        ),
        (["export", "RUN", "--benchmark", "mmaz"], "unknown benchmark 'mmaz' (did you mean 'mmau'?)"),
    ],
)
def test_a_mistake_is_one_line(run: Path, args: list[str], message: str) -> None:
    result = cascade(*[str(run) if arg == "RUN" else arg for arg in args])
    assert result.exit_code == 2 and message in result.stderr and len(result.stderr.splitlines()) == 1
