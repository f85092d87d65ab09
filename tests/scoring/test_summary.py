"""What a run or a file is worth: every item in every denominator, whatever became of it."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from cascade.api import score
from cascade.errors import UserError
from cascade.io.jsonl import to_json
from cascade.runs import directory
from cascade.runs.provenance import session
from cascade.scoring.summary import chance
from cascade.types import Answer, CaptionerSpec, Completion, Dataset, Failure, Item, LLMSpec, PromptSpec, RunSpec

CHOICES = ("near to far", "far to near", "steady", "silent")
ITEMS = tuple(
    Item(
        id=f"q{n}",
        audio=f"{n}.wav",
        question="?",
        choices=CHOICES,
        answer=CHOICES[n % 4],
        tags={"modality": ["speech", "music", "sound"][n % 3], "split": "dev", **({"task": "x"} if n < 2 else {})},
    )
    for n in range(8)
)
SPEC = RunSpec(
    dataset="mini",
    dataset_digest="b2:d",
    captioners=(CaptionerSpec(slot="speech", name="fake", version="1", params={}),),
    prompt=PromptSpec(template="default", template_digest="b2:t", slots=("speech",)),
    llm=LLMSpec(model="fake"),
)
RESULTS: Mapping[str, Completion | Failure] = {
    "q0": Completion(text="Answer: near to far", input_tokens=10, output_tokens=2, reasoning_tokens=1, cost=0.5),
    "q1": Completion(text="Answer: near to far", input_tokens=5, cost=0.25),  # right by mmar, for order is lost
    "q2": Completion(text="Answer: steady", finish="length", cost=0.0),
    "q3": Completion(text="Answer: D", cost=0.0),
    "q4": Completion(text="Who knows?", cost=0.0),
    "q5": Failure(kind="timeout", message="Answer: far to near"),
    "q6": Completion(text="", cost=0.0),
}


def log(path: Path, results: Mapping[str, Completion | Failure], sample: int = 0) -> None:
    with open(path / "log.jsonl", "a", encoding="utf-8") as file:
        for item, result in results.items():
            answer = Answer(item=item, sample=sample, prompt="b2:p", captions={}, result=result, seconds=0, at="2026")
            file.write(json.dumps(to_json(answer)) + "\n")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run directory by hand, without the code that makes one; q7 was never asked."""
    path = tmp_path / "run"
    path.mkdir()
    (path / "run.json").write_text(
        json.dumps(to_json(directory.new_manifest(SPEC, "# user\n$question $choices", session())))
    )
    (path / "items.jsonl").write_text("".join(json.dumps(to_json(item)) + "\n" for item in ITEMS))
    log(path, RESULTS)
    return path


def test_a_run_in_figures(run: Path) -> None:
    summary = score(run)
    assert (summary.n, summary.answered, summary.failed, summary.unparsed, summary.truncated) == (8, 6, 2, 3, 1)
    assert summary.coverage == 3 / 8
    assert {name: result.accuracy for name, result in summary.scores.items()} == {"mmar": 3 / 8, "strict": 2 / 8}
    assert summary.scores["mmar"].ci95 == pytest.approx((0.1368, 0.6943), abs=1e-4)
    assert summary.chance == {"mmar": 0.375, "strict": 0.25}
    assert (summary.tokens, summary.cost) == ({"input": 15, "output": 2, "reasoning": 1}, 0.75)
    assert (summary.dataset, summary.llm, summary.captions) == ("mini", "fake", {"speech": "fake"})
    assert (summary.prompt, summary.official_denominator, summary.run) == ("default", None, str(run))


def test_only_tags_that_are_present_are_broken_down(run: Path) -> None:
    by = score(run).scores["mmar"].by
    assert set(by) == {"modality", "task"}
    rates = {value: (rate.n, rate.accuracy) for value, rate in by["modality"].items()}
    assert rates == {"music": (3, 1 / 3), "speech": (3, 2 / 3), "sound": (2, 0.0)}
    assert list(rates) == ["music", "speech", "sound"]
    assert {value: rate.n for value, rate in by["task"].items()} == {"x": 2}
    assert score(run, by=["split"]).scores["strict"].by["split"]["dev"].n == 8
    with pytest.raises(UserError, match=r"--by colour: no item has that tag \(there is: modality, split, task\)"):
        score(run, by=["colour"])


def test_scoring_twice_and_in_any_order_is_the_same(run: Path) -> None:
    once = score(run)
    assert score(run) == once
    for name in ("items.jsonl", "log.jsonl"):
        lines = (run / name).read_text().splitlines(keepends=True)
        random.Random(1).shuffle(lines)
        (run / name).write_text("".join(lines))
    assert score(run) == once


def test_the_last_reply_counts_and_other_samples_do_not(run: Path) -> None:
    log(run, {"q7": Completion(text="Answer: steady")}, sample=1)
    log(run, {"q5": Completion(text="Answer: far to near"), "q0": Failure(kind="x", message="y")})
    summary = score(run)
    assert (summary.failed, summary.scores["strict"].accuracy, summary.cost) == (2, 2 / 8, None)


def test_letters_are_read_in_the_order_that_was_shown(run: Path) -> None:
    from cascade.prompting.evidence import order_choices

    spec = replace(SPEC, prompt=replace(SPEC.prompt, order_seed=5))
    (run / "run.json").write_text(
        json.dumps(to_json(directory.new_manifest(spec, "# user\n$question $choices", session())))
    )
    shown = {item.id: order_choices(item.choices, item.id, 5) for item in ITEMS}
    assert any(shown[item.id] != CHOICES for item in ITEMS)
    log(run, {item.id: Completion(text="Answer: " + "ABCD"[shown[item.id].index(item.answer)]) for item in ITEMS})
    assert score(run).scores["strict"].accuracy == 1.0


def test_a_run_without_items_is_the_users_to_mend(run: Path) -> None:
    (run / "items.jsonl").write_text("")
    with pytest.raises(UserError, match=r"no items|no rows"):
        score(run)


def test_an_answer_to_no_item_counts_for_nothing(run: Path) -> None:
    before = score(run)
    log(run, {"stranger": Completion(text="Answer: steady", cost=9.0)})
    after = score(run)
    assert (after.n, after.answered, after.scores) == (before.n, before.answered, before.scores)
    assert after.cost == before.cost


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is no run directory: it has no run\.json"):
        score(tmp_path)


# Files of predictions


def row(item: Item, **fields: Any) -> dict[str, Any]:
    return {"id": item.id, "question": "?", "choices": item.choices, "answer": item.answer, **item.tags, **fields}


def write(rows: Sequence[dict[str, Any]]) -> Path:
    file = Path("predictions.jsonl")
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


ROWS = [
    row(ITEMS[0], answer_prediction="near to far"),
    row(ITEMS[1], answer_prediction="Near to far"),
    row(ITEMS[2], answer_prediction="(C) steady"),
    row(ITEMS[3], answer_prediction=" silent "),
    row(ITEMS[4], answer_prediction=""),
    row(ITEMS[5], answer_prediction=None),
    row(ITEMS[6], answer_prediction=["steady"]),
    row(ITEMS[7]),
]


def test_a_file_is_scored_as_it_stands() -> None:
    summary = score(write(ROWS))
    assert (summary.n, summary.answered, summary.failed, summary.unparsed) == (8, 5, 3, 1)
    assert summary.coverage == 4 / 8
    assert {name: result.accuracy for name, result in summary.scores.items()} == {"mmar": 4 / 8, "strict": 2 / 8}
    assert summary.official_denominator == 4 / 7
    assert (summary.llm, summary.dataset, summary.cost) == ("", "", None)


def test_extraction_reads_a_files_replies_first() -> None:
    summary = score(write(ROWS), extract=True)
    assert summary.scores["strict"].accuracy == 3 / 8


def test_a_file_of_ids_is_scored_over_the_whole_dataset() -> None:
    dataset = Dataset(name="mini", digest="b2:d", root=Path(), items=ITEMS)
    rows = [{"id": "q3", "model_output": "silent"}, {"id": "q2", "model_output": "silent"}]
    summary = score(write(rows), dataset)
    assert (summary.n, summary.failed, summary.scores["mmar"].accuracy) == (8, 6, 1 / 8)
    assert (summary.official_denominator, summary.dataset) == (0.5, "mini")
    assert score(write(rows[::-1]), dataset) == summary


def test_permuting_a_files_rows_changes_nothing() -> None:
    once = score(write(ROWS))
    shuffled = ROWS[::-1]
    assert score(write(shuffled)) == once


def test_a_file_without_predictions_has_no_official_denominator() -> None:
    summary = score(write([row(ITEMS[0])]))
    assert (summary.failed, summary.official_denominator, summary.coverage) == (1, None, 0.0)


def test_chance_counts_what_each_scorer_accepts() -> None:
    two = Item(id="q", audio="-", question="?", choices=("x", "y"), answer="x")
    assert chance([two, ITEMS[0]]) == {"mmar": 0.5, "strict": 0.375}
