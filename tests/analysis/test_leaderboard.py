"""Many runs as one table: sorted, told apart by their items, and none lost to a damaged neighbour."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from cascade.analysis import leaderboard
from cascade.api import score
from cascade.scoring import outcomes
from tests.support.commands import cascade, rows, write


@pytest.fixture
def board(mini: Path) -> Path:
    """Four runs of all eight items, one of the first three, one of the speech ones."""
    asked = ["run", "--dataset", str(mini), "--llm", "fake"]
    for name, flags in {
        "blind": ["--captions", "none"],
        "heard": ["--captions", "speech=fake", "--prompt", "steps"],
        "other": ["--captions", "none", "--seed", "5"],
        "votes": ["--captions", "none", "--samples", "3", "--shuffle-choices"],
        "three": ["--captions", "none", "--limit", "3"],
        "spoken": ["--captions", "none", "--only", "modality=speech"],
    }.items():
        assert cascade(*asked, *flags, "--out", f"runs/{name}").exit_code == 0
    return Path("runs")


def shown(*args: str | Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(cascade("leaderboard", *args, "--format", "json").stdout)
    return rows


def names(rows: list[dict[str, Any]]) -> list[str]:
    return [Path(row["run"]).name for row in rows]


def test_each_run_is_a_row_with_the_figures_that_score_gives(board: Path) -> None:
    rows = shown(board, board / "blind")  # a run that is named twice is shown once
    assert sorted(names(rows)) == ["blind", "heard", "other", "spoken", "three", "votes"]
    for row in rows:
        alone = score(Path(row["run"]))
        for name in ("mmar", "strict"):
            wanted = alone.scores[name]
            assert row[name] == {"n": alone.n, "accuracy": wanted.accuracy, "ci95": list(wanted.ci95)}
        assert (row["coverage"], row["failed"], row["cost"]) == (alone.coverage, alone.failed, alone.cost)
    by_name = dict(zip(names(rows), rows, strict=True))
    assert (by_name["heard"]["captions"], by_name["heard"]["prompt"]) == ("speech=fake", "steps")
    assert (by_name["votes"]["captions"], by_name["votes"]["samples"]) == ("none, shuffled", 3)


def test_runs_of_other_items_stand_apart(board: Path) -> None:
    rows = shown(board)
    assert {row["items"] for row in rows[:4]} == {"mini, 8"}
    assert [row["items"] for row in rows[4:]] == ["mini modality=speech, 4", "mini, 3"]
    result = cascade("leaderboard", board)
    assert "different sets of items" in result.stderr and " items " in result.stdout.splitlines()[0]
    alike = cascade("leaderboard", board / "blind", board / "heard")
    assert not alike.stderr and " items " not in alike.stdout.splitlines()[0]
    # The same number of other questions under the same name: the digest tells them apart.
    Path("else").mkdir()
    other = Path("else/mini.jsonl")
    other.write_text(Path("mini.jsonl").read_text().replace("What is heard", "What sounds"))
    cascade("run", "--dataset", other, "--llm", "fake", "--captions", "none", "--out", "else/blind")
    two = shown(board / "blind", "else/blind")
    assert two[0]["items"] != two[1]["items"] and all(row["items"].startswith("mini, 8 (") for row in two)


@pytest.mark.parametrize("sort", ["mmar", "strict", "coverage", "cost", "failed", "captions", "run"])
def test_rows_are_sorted_within_their_items(board: Path, sort: str) -> None:
    rows = [row for row in shown(board, "--sort", sort) if row["items"] == "mini, 8"]
    values = [row[sort]["accuracy"] if sort in ("mmar", "strict") else row[sort] for row in rows]
    assert values == sorted(values, reverse=sort in ("mmar", "strict", "coverage"))
    assert len(values) == 4


def test_what_is_unknown_is_last_whatever_stands_first(board: Path) -> None:
    from dataclasses import replace

    rows = [
        leaderboard.board_row(board / name, (), outcomes.score_source(board / name))
        for name in ("blind", "heard", "other")
    ]
    rows = [replace(rows[0], cost=None), replace(rows[1], cost=2.0), replace(rows[2], cost=1.0)]
    ((first, second, last),) = leaderboard.ordered(rows, "cost")
    assert (first.cost, second.cost, last.cost) == (1.0, 2.0, None)


def test_a_column_for_each_modality(board: Path) -> None:
    result = cascade("leaderboard", board, "--by", "modality", "--format", "csv").stdout
    rows = list(csv.DictReader(io.StringIO(result)))
    for row in rows:
        parts = score(Path(row["run"])).scores["mmar"].by["modality"]
        for value in ("sound", "speech"):
            cell = row[f"modality: {value}"]
            assert cell == (repr(parts[value].accuracy) if value in parts else "")
    assert next(row for row in rows if row["run"].endswith("spoken"))["modality: sound"] == ""
    assert " sound " in cascade("leaderboard", board, "--by", "modality").stdout.splitlines()[0]


def test_what_is_damaged_or_foreign_is_named_and_passed_over(board: Path) -> None:
    (board / "notes").mkdir()
    (board / "notes" / "todo.txt").write_text("nothing here is a run")
    for name, file in (("cut", "run.json"), ("torn", "items.jsonl"), ("worn", "log.jsonl")):
        shutil.copytree(board / "blind", board / name)
        (board / name / file).write_bytes(b'\x1b[31m{"half": \xff\n')
    shutil.copytree(board / "blind", board / "empty")
    (board / "empty" / "log.jsonl").unlink()
    result = cascade("leaderboard", board, "--format", "json")
    assert result.exit_code == 0 and len(json.loads(result.stdout)) == 6
    lines = result.stderr.splitlines()
    passed = [line for line in lines if line.startswith("passed over: ")]
    assert len(passed) == 5 and "\x1b" not in result.stderr
    assert all(any(f"runs/{name}" in line for line in passed) for name in ("notes", "cut", "torn", "worn", "empty"))
    alone = cascade("leaderboard", board / "notes", "--format", "json")
    assert (alone.exit_code, json.loads(alone.stdout)) == (0, [])


def test_runs_are_found_below_a_folder_and_not_inside_a_run(board: Path) -> None:
    shutil.copytree(board / "blind", board / "heard" / "inner")
    shutil.copytree(board / "blind", board / "family" / "all")
    assert sorted(names(shown(board))) == ["all", "blind", "heard", "other", "spoken", "three", "votes"]


@pytest.mark.parametrize(
    ("args", "why"),
    [
        (["runs", "--sort", "mmra"], "did you mean 'mmar'"),
        (["nowhere"], "nowhere: there is no such folder"),
        (["runs", "--by", "colour"], "no run has items with that tag"),
        (["runs", "--format", "yaml"], "unknown format 'yaml'"),
    ],
)
def test_a_mistake_is_one_line(board: Path, args: list[str], why: str) -> None:
    result = cascade("leaderboard", *args)
    assert result.exit_code == 2 and why in result.stderr and result.stderr.count("cascade: ") == 1


@pytest.mark.parametrize(("form", "part"), [("md", "| :-- |"), ("latex", "\\toprule"), ("table", "95 % Wilson")])
def test_the_table_in_other_forms(board: Path, form: str, part: str) -> None:
    result = cascade("leaderboard", board / "blind", "--format", form).stdout
    assert part in result and "blind" in result


def test_a_tag_of_the_items_that_is_named_kind_stays_a_tag(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tagged = write(tmp_path / "tagged.jsonl", list(rows(4, kind="long")))
    cascade("run", "--dataset", tagged, "--llm", "fake", "--captions", "none")
    (row,) = shown("runs", "--by", "kind")
    assert row["by"]["kind"]["long"]["n"] == 4 and "kind" not in row
