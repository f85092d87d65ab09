"""Several samples an item: the vote, the mean, pass@k, and where the gold choice stood."""

from __future__ import annotations

import random
from itertools import combinations

import pytest

from cascade.prompting import evidence
from cascade.scoring import voting
from cascade.scoring.matchers.registry import SCORERS
from cascade.scoring.statistics import clustered, wilson
from cascade.types import Choice, Item


def read(*texts: str) -> dict[int, Choice]:
    return {sample: Choice(text=text, how="x" if text else "truncated") for sample, text in enumerate(texts)}


@pytest.mark.parametrize(
    ("texts", "text", "how"),
    [
        (["rain"], "rain", "x"),
        ([""], "", "truncated"),
        (["rain", "hail", "rain"], "rain", "2 of 3 samples"),
        (["", "", "hail"], "hail", "1 of 3 samples"),  # what could not be read has no vote
        (["rain", "hail"], "", "tie"),
        (["rain", "hail", "snow", "rain", "hail"], "", "tie"),
        (["", ""], "", "no votes: truncated"),
    ],
)
def test_the_vote(texts: list[str], text: str, how: str) -> None:
    assert voting.vote(read(*texts)) == Choice(text=text, how=how)


def test_pass_at_k_is_the_share_of_draws_with_a_right_one() -> None:
    counts, samples = [0, 1, 2, 4], 4
    rates = voting.pass_at(counts, samples)
    for k in range(1, samples + 1):
        drawn = [
            sum(any(place < count for place in draw) for draw in combinations(range(samples), k))
            / len(list(combinations(range(samples), k)))
            for count in counts
        ]
        assert rates[str(k)].accuracy == pytest.approx(sum(drawn) / 4)
    assert rates["1"].accuracy == pytest.approx(7 / 16)
    assert rates["4"].accuracy == 0.75


def test_intervals_are_over_items_however_often_they_are_asked() -> None:
    draw = random.Random(0)
    whole = [float(draw.random() < 0.6) for _ in range(200)]
    once = clustered(whole)
    right = int(sum(whole))
    assert once.accuracy == right / 200
    assert once.ci95 == pytest.approx(wilson(right, 200), abs=0.001)  # n - 1 in the variance
    assert clustered([1.0] * 50).ci95 == wilson(50, 50)
    assert clustered([0.0]).ci95 == wilson(0, 1)
    halves = clustered([0.5] * 10 + [0.6] * 10)
    assert halves.ci95[0] > wilson(11, 20)[0]  # items that hardly differ say more


def test_the_interval_covers_what_it_should() -> None:
    draw, hit = random.Random(3), 0
    for _ in range(400):
        shares = []
        for _ in range(60):
            chance = draw.betavariate(2, 3)
            shares.append(sum(draw.random() < chance for _ in range(3)) / 3)
        low, high = clustered(shares).ci95
        hit += low <= 0.4 <= high
    assert 0.92 < hit / 400 < 0.98


def test_a_model_that_always_takes_the_first_is_seen_through() -> None:
    items = [
        Item(id=f"q{n}", audio="a", question="?", choices=("rain", "hail", "snow", "wind"), answer="hail")
        for n in range(30)
    ]
    samples = 4
    first = {
        item.id: read(*(evidence.order_choices(item.choices, item.id, 5, sample)[0] for sample in range(samples)))
        for item in items
    }
    placed = voting.by_position(items, first, SCORERS["strict"], samples, 5)
    assert {place: (rate.n, rate.accuracy) for place, rate in placed.items()} == {
        "1": (30, 1.0),
        "2": (30, 0.0),
        "3": (30, 0.0),
        "4": (30, 0.0),
    }
    assert voting.count_right(items, first, SCORERS["strict"]) == [1] * 30
    assert {voting.vote(first[item.id]).how for item in items} == {"tie"}


def test_samples_turn_the_choices_on() -> None:
    choices = ("a", "b", "c")
    shown = [evidence.order_choices(choices, "q", 1, sample) for sample in range(4)]
    assert {order[0] for order in shown[:3]} == {"a", "b", "c"} and shown[3] == shown[0]
    assert [evidence.order_choices(choices, "q", None, sample) for sample in range(3)] == [choices] * 3


def test_how_far_the_samples_agree() -> None:
    replies = {
        "a": read("rain", "rain", "rain", "rain"),
        "b": read("rain", "rain", "hail", "rain"),
        "c": read("rain", "rain", "hail", "hail"),
        "d": read("hail", "hail", "hail", "hail"),
        "e": read("rain", "rain", "", ""),  # what could not be read agrees with nothing
        "f": {0: Choice(text="rain", how="x")},  # three samples failed
    }
    items = [Item(id=name, audio="", question="?", choices=("rain", "hail"), answer="rain") for name in replies]
    correct = {name: voting.vote(choices).text == "rain" for name, choices in replies.items()}
    agreement = voting.agreement(items, replies, SCORERS["strict"], 4, correct)
    assert (agreement.consistency.accuracy, agreement.all_right.accuracy) == (2 / 6, 1 / 6)
    assert {group: (rate.n, rate.accuracy) for group, rate in agreement.by.items()} == {
        "unanimous": (2, 0.5),
        "majority": (1, 1.0),
        "split": (3, 2 / 3),
    }
