"""Paired differences: counted by hand, beside scipy, and as the command shows them."""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from scipy.stats import binomtest

from cascade.analysis import compare
from cascade.errors import UnknownName, UserError
from cascade.scoring import outcomes
from cascade.scoring.outcomes import ScoredRun
from tests.support.commands import cascade

CHOICES = ["rain", "a dog", "applause", "a siren"]


def row(number: int, text: str | None, **more: Any) -> dict[str, Any]:
    question = {"id": f"q{number}", "question": f"What is heard in clip {number}?", "choices": CHOICES}
    tags = {"modality": "sound" if number % 3 else "music", "answer": "rain"}
    return {**question, **tags, **({} if text is None else {"answer_prediction": text}), **more}


def write(name: str, texts: Sequence[str | None], **more: Any) -> Path:
    path = Path(f"{name}.jsonl")
    path.write_text("".join(json.dumps(row(number, text, **more)) + "\n" for number, text in enumerate(texts)))
    return path


def scored(name: str, texts: Sequence[str | None], **more: Any) -> ScoredRun:
    return outcomes.score_source(write(name, texts, **more))


# Of nine items both get 0, 1 right, only a 2 to 5, only b 6, neither 7 and 8; 0, 3 and 6 are music.
A: list[str | None] = [*["rain"] * 6, "a dog", "a dog", None]
B: list[str | None] = ["rain", "rain", "a dog", "a siren", "a dog", None, "rain", "a dog", "applause"]


def test_what_is_counted() -> None:
    comparison = compare.compare(scored("a", A), scored("b", B))
    assert (comparison.n, comparison.a.accuracy, comparison.b.accuracy) == (9, 6 / 9, 3 / 9)
    assert comparison.difference == 3 / 9
    assert (comparison.mcnemar.only_a, comparison.mcnemar.only_b) == (4, 1)
    assert comparison.mcnemar.p == pytest.approx(binomtest(1, 5).pvalue)
    assert comparison.ci95[0] < comparison.difference < comparison.ci95[1]
    sound, music = comparison.by["modality"]["sound"], comparison.by["modality"]["music"]
    assert (sound.n, sound.difference, sound.mcnemar.only_a, sound.mcnemar.only_b) == (6, 0.5, 3, 0)
    assert (music.n, music.difference, music.mcnemar.only_a, music.mcnemar.only_b) == (3, 0.0, 1, 1)
    assert sound.mcnemar.p_holm == pytest.approx(2 * binomtest(0, 3).pvalue) and music.mcnemar.p_holm == 1.0
    assert [(flip.item, flip.right) for flip in comparison.flipped] == [
        ("q2", "a"), ("q3", "a"), ("q4", "a"), ("q5", "a"), ("q6", "b")
    ]  # fmt: skip
    assert (comparison.flipped[3].a, comparison.flipped[3].b, comparison.flipped[3].answer) == ("rain", "", "rain")


def test_sides_change_only_the_sign() -> None:
    first, other = compare.compare(scored("a", A), scored("b", B)), compare.compare(scored("b", B), scored("a", A))
    assert other.difference == -first.difference and other.mcnemar.p == first.mcnemar.p
    assert other.ci95 == pytest.approx((-first.ci95[1], -first.ci95[0]))
    assert {flip.item for flip in first.flipped} == {flip.item for flip in other.flipped}


def test_the_order_of_items_changes_nothing() -> None:
    once = compare.compare(scored("a", A), scored("b", B))
    rows = Path("b.jsonl").read_text().splitlines()
    random.Random(3).shuffle(rows)
    Path("b.jsonl").write_text("\n".join(rows) + "\n")
    again = compare.compare(scored("a", A), outcomes.score_source(Path("b.jsonl")))
    assert again == once == compare.compare(scored("a", A), scored("b", B))


def test_a_run_beside_itself_is_no_different() -> None:
    comparison = compare.compare(scored("a", A), scored("a", A))
    assert (comparison.difference, comparison.mcnemar.p, comparison.flipped) == (0.0, 1.0, ())
    assert comparison.ci95[0] == -comparison.ci95[1] < -0.2  # nine equal answers say little of the next nine


def test_items_that_only_one_has_are_left_out_and_counted() -> None:
    comparison = compare.compare(scored("a", A[:7]), scored("b", B))
    assert (comparison.n, comparison.a.left_out, comparison.b.left_out) == (7, 0, 2)
    assert comparison.a.accuracy == 6 / 7


def test_what_cannot_be_paired_is_refused() -> None:
    with pytest.raises(UserError, match=r"a\.jsonl and b\.jsonl have different questions as 'q0'"):
        compare.compare(scored("a", A), scored("b", B, question="What else?"))
    Path("c.jsonl").write_text(json.dumps(row(77, "rain")) + "\n")
    with pytest.raises(UserError, match="have no item in common"):
        compare.compare(scored("a", A), outcomes.score_source(Path("c.jsonl")))
    with pytest.raises(UnknownName, match=r"unknown scorer 'mmra' \(did you mean 'mmar'\?\)"):
        compare.compare(scored("a", A), scored("b", B), scorer="mmra")


def test_a_matrix_corrects_over_all_pairs() -> None:
    matrix = compare.matrix([scored("a", A), scored("b", B), scored("c", ["rain"] * 9)])
    assert [side.accuracy for side in matrix.runs] == [6 / 9, 3 / 9, 1.0]
    assert matrix.difference[0] == pytest.approx((0.0, 3 / 9, -3 / 9))
    raw = {(0, 1): binomtest(1, 5).pvalue, (0, 2): binomtest(0, 3).pvalue, (1, 2): binomtest(0, 6).pvalue}
    assert matrix.p_holm[1][2] == matrix.p_holm[2][1] == pytest.approx(min(1, 3 * raw[1, 2]))
    assert matrix.p_holm[0][2] == pytest.approx(min(1, 2 * raw[0, 2]))
    assert [matrix.p_holm[place][place] for place in range(3)] == [None] * 3


def squeezed(text: str) -> list[str]:
    return [" ".join(line.split()) for line in text.splitlines()]


def test_the_command_prints_what_scripts_rely_on() -> None:
    files = str(write("a", A)), str(write("b", B))
    printed = json.loads(cascade("compare", *files, "--format", "json").stdout)
    assert {"n", "a", "b", "difference", "ci95", "mcnemar", "by"} <= printed.keys()
    assert printed["mcnemar"].keys() >= {"only_a", "only_b", "p"} and printed["n"] == 9
    table = cascade("compare", *files, "--flips").stdout
    assert table.splitlines()[:3] == ["A: a.jsonl", "B: b.jsonl", "9 items of both, by mmar"]
    assert "all 9 66.67 33.33 +33.33 -16.6 to +68.4 4 1 0.3750" in squeezed(table)
    assert "sound 6 66.67 16.67 +50.00 -8.6 to +81.2 3 0 0.2500 0.5000" in squeezed(table)
    assert "q6 B rain a dog rain" in squeezed(table)
    smallest = "The smallest difference that this comparison would detect with 80 % power is 66.5 points."
    assert smallest in " ".join(table.split())
    rows = list(csv.DictReader(cascade("compare", *files, "--format", "csv").stdout.splitlines()))
    assert (rows[0]["difference"], rows[1]["tag"], rows[1]["value"]) == (repr(3 / 9), "modality", "sound")
    latex = cascade("compare", *files, "--format", "latex").stdout
    assert (
        latex.startswith("% A: a.jsonl\n% B: b.jsonl\n")
        and "\n\\begin{tabular}" in latex
        and "\\toprule" in latex
        and "+33.33" in latex
    )
    assert cascade("compare", *files, "--format", "md").stdout.startswith("A: a.jsonl\nB: b.jsonl\n9 items of both")


def test_the_command_compares_several() -> None:
    files = str(write("a", A)), str(write("b", B)), str(write("c", ["rain"] * 9))
    printed = cascade("compare", *files).stdout
    assert "1 a.jsonl 66.67 +33.33 -33.33" in squeezed(printed)
    assert "Holm's correction" not in printed  # There is no star that it would explain.
    assert len(json.loads(cascade("compare", *files, "--format", "json").stdout)["runs"]) == 3
    refused = cascade("compare", *files, "--flips")
    assert refused.exit_code == 2 and "--flips and --by are for two, and 3 are given" in refused.stderr
    alone = cascade("compare", files[0])
    assert alone.exit_code == 2 and "give another run" in alone.stderr


def test_what_was_not_read_is_listed() -> None:
    path = write(
        "a", ["rain", "Answer: a dog", "either rain or a dog", None, "no idea " * 60, "", "\x1b[2Jrain or not?"]
    )
    printed = cascade("score", str(path), "--extract", "--explain").stdout
    listed = printed.partition("\nitem ")[2]
    assert "q0" not in listed and "q1" not in listed and "\x1b" not in printed
    assert [line.split()[0] for line in listed.splitlines()[1:] if line[:1] == "q"] == ["q2", "q3", "q4", "q5", "q6"]
    assert "either rain or a dog" in listed and "q3    failed" in listed and "…" in listed
    rows = json.loads(cascade("score", str(path), "--extract", "--explain", "--format", "json").stdout)["unread"]
    assert [row["item"] for row in rows] == ["q2", "q3", "q4", "q5", "q6"] and len(rows[2]["said"]) == 160
    refused = cascade("score", str(path), "--explain", "--format", "csv")
    assert refused.exit_code == 2 and "--explain goes with --format table or json" in refused.stderr
    whole = cascade("score", str(write("b", ["rain"])), "--explain").stdout
    assert "Every reply was read." in whole
