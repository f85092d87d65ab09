"""Several samples an item: the vote over its choices, the mean, pass@k, and accuracy by where the gold choice stood."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import comb

from cascade.prompting import evidence
from cascade.scoring.statistics import Rate, clustered, rate
from cascade.types import Choice, Item

ReadChoices = Mapping[str, Mapping[int, Choice]]  # item → sample → what was read; a sample without a reply is not in it
TIE = "tie"


def vote(read: Mapping[int, Choice]) -> Choice:
    """The choice that most samples settle on, however it was shown; `how` is `tie` where there is no one such choice.

    A lone sample is its own vote. Samples that settle on nothing have none.
    """
    if len(read) == 1:
        return next(iter(read.values()))
    votes = Counter(choice.text for choice in read.values() if choice.text).most_common(2)
    if not votes:
        return Choice(text="", how=f"no votes: {next(iter(read.values())).how}")
    if len(votes) == 2 and votes[0][1] == votes[1][1]:
        return Choice(text="", how=TIE)
    return Choice(text=votes[0][0], how=f"{votes[0][1]} of {len(read)} samples")


def count_right(items: Iterable[Item], read: ReadChoices, rule: Callable[[Item, str], bool], samples: int) -> list[int]:
    """How many of an item's samples are right, item by item; one without a reply is wrong."""
    nothing: dict[int, Choice] = {}
    return [
        sum(rule(item, choice.text) for sample, choice in read.get(item.id, nothing).items() if sample < samples)
        for item in items
    ]


def pass_at(counts: Sequence[int], samples: int) -> dict[str, Rate]:
    """For each k: the chance that one of k samples is right, the mean over items; pass@1 is the mean accuracy.

    `counts` are the right ones of `samples` an item; the estimate is unbiased (Chen et al. 2021, eq. 1). Intervals are
    over items: samples of one item are not independent.
    """

    def chance(count: int, k: int) -> float:
        return 1 - comb(samples - count, k) / comb(samples, k)

    return {str(k): clustered([chance(count, k) for count in counts]) for k in range(1, samples + 1)}


def by_position(
    items: Iterable[Item], read: ReadChoices, rule: Callable[[Item, str], bool], samples: int, seed: int | None
) -> dict[str, Rate]:
    """Accuracy over samples by the place, from 1, at which the gold choice was shown; items without one are out."""
    places: dict[int, list[bool]] = {}
    for item in items:
        for sample in range(samples):
            shown = evidence.order_choices(item.choices, item.id, seed, sample)
            if item.answer in shown:
                choice = read.get(item.id, {}).get(sample)
                places.setdefault(shown.index(item.answer) + 1, []).append(bool(choice and rule(item, choice.text)))
    return {str(place): rate(places[place]) for place in sorted(places)}
