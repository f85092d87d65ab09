"""A judge's replies: their scores, matched to criteria by place, and the mean of an item's calls."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from cascade.scoring import rubric_reply
from cascade.scoring.rubric_reply import Criterion
from cascade.types import Completion

NAMES = ["Hears the rain", "Hears the bell", "Counts to three"]
PLAIN = rubric_reply.criteria([{"name": name, "scoring_point": "…", "choices": [0, 1]} for name in NAMES])
MIXED = (*PLAIN[:2], Criterion(name=NAMES[2], scoring_point="…", choices=(0.0, 1.0, 3.0)))


def read(text: str, rubric: tuple[Criterion, ...] = PLAIN, finish: str = "stop") -> tuple[float, ...]:
    return rubric_reply.read_scores(Completion(text=text, finish=finish), rubric)


def scored(*scores: Any, names: list[str] = NAMES) -> list[dict[str, Any]]:
    return [{"name": name, "score": score} for name, score in zip(names, scores, strict=True)]


@pytest.mark.parametrize(
    "reply",
    [
        {"scores": scored(1, 0, 1)},
        scored(1, 0, 1),
        {"scores": dict(zip(NAMES, [1, 0, 1], strict=True))},
        dict(zip(NAMES, [1, 0, 1], strict=True)),
        {"total": 2, "scores": scored(1, 0, 1)},
        [{name: score} for name, score in zip(NAMES, [1, 0, 1], strict=True)],
        {"results": [{"criterion": name, "points": str(n)} for name, n in zip(NAMES, [1, 0, 1], strict=True)]},
        {name: {"score": score, "why": "said so"} for name, score in zip(NAMES, [1, 0, 1], strict=True)},
    ],
)
@pytest.mark.parametrize("around", ["{}", "```json\n{}\n```", "Let me see [1].\n{}\nThat is all."])
def test_a_reply_is_read_however_it_is_wrapped(reply: Any, around: str) -> None:
    scores = read(around.replace("{}", json.dumps(reply)))
    assert scores == (1.0, 0.0, 1.0) and rubric_reply.share(scores, PLAIN) == pytest.approx(2 / 3)


def test_a_score_goes_to_the_criterion_in_its_place_whatever_it_is_called() -> None:
    for names in ([NAMES[2], NAMES[0], NAMES[1]], ["Other", NAMES[0], "Another"], [NAMES[0], NAMES[0], NAMES[2]]):
        assert read(json.dumps(scored(1, 0, 0, names=names))) == (1.0, 0.0, 0.0)
    assert read("[1, 0, 0]") == (1.0, 0.0, 0.0)


def test_the_order_of_a_reply_changes_no_sum_where_criteria_allow_the_same_scores() -> None:
    draw = random.Random(3)
    for _ in range(50):
        given = scored(*(draw.randint(0, 1) for _ in NAMES))
        straight = rubric_reply.share(read(json.dumps(given)), PLAIN)
        draw.shuffle(given)
        assert rubric_reply.share(read(json.dumps(given)), PLAIN) == straight


def test_the_order_of_a_reply_counts_where_criteria_allow_different_scores() -> None:
    assert rubric_reply.share(read(json.dumps(scored(0, 1, 3)), MIXED), MIXED) == 0.8
    with pytest.raises(ValueError, match="3 is no score that 'Hears the rain' allows"):
        read(json.dumps(scored(3, 0, 1, names=[NAMES[2], NAMES[0], NAMES[1]])), MIXED)


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        ("It is fine.", "no JSON in the reply"),
        ("{}", "no scores in the reply"),
        (json.dumps({"scores": scored(1, 0, 1)[:2]}), "2 scores for 3 criteria"),
        (json.dumps(scored(1, 0, 2)), "2 is no score that 'Counts to three' allows"),
        (json.dumps(scored(1, 0, 0.5)), "0.5 is no score"),
        (json.dumps(scored(1, 0, True)), "true is no score"),
        (json.dumps(scored(1, 0, None)), "null is no score"),
        ('{"scores": [1, 0, NaN]}', "NaN is no score"),
        (json.dumps(scored(1, 0, "yes")), '"yes" is no score'),
        (json.dumps([{"name": name} for name in NAMES]), "is no score"),
        (json.dumps(scored(1, 0, {"score": 1})), "is no score"),
        ("[" * 5000, "no JSON in the reply"),
        ("9" * 400 + json.dumps({"scores": [1, 0, "1e999"]}), "is no score"),
    ],
)
def test_what_does_not_settle_on_one_score_for_each_is_no_judgement(reply: str, why: str) -> None:
    with pytest.raises(ValueError, match=why.replace("[", r"\[")):
        read(reply)


def test_a_reply_that_was_cut_is_none_and_the_last_of_several_counts() -> None:
    with pytest.raises(ValueError, match="cut at the token limit"):
        read(json.dumps(scored(1, 1, 1)), finish="length")
    assert read(f"{json.dumps(scored(1, 1, 1))} No: {json.dumps(scored(0, 0, 1))}") == (0.0, 0.0, 1.0)


@pytest.mark.parametrize(
    ("calls", "mean"),
    [([1, 1, 1, 1, 1], 1.0), ([0, 0.2, 0.4, 0.6, 1], 0.4), ([1, 0, 0.8, 0.8, 0.6], 2.2 / 3), ([0, 1, 0, 1, 0], 1 / 3)],
)
def test_the_lowest_and_the_highest_call_are_left_out(calls: list[float], mean: float) -> None:
    assert rubric_reply.trimmed(calls) == pytest.approx(mean)


@pytest.mark.parametrize(
    ("rubric", "why"),
    [
        (None, "the item has no rubric"),
        ([], "the item has no rubric"),
        ([{"name": "a", "scoring_point": "b"}], "criterion 1 of the item's rubric lacks"),
        ([{"name": "a", "scoring_point": "b", "choices": ["low"]}], "which are no scores"),
        ([{"name": "a", "scoring_point": "b", "choices": [0]}], "gives no points"),
    ],
)
def test_a_rubric_that_cannot_be_used_says_why(rubric: Any, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        rubric_reply.criteria(rubric)
