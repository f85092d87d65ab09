"""Several samples an item: the vote over its choices, the mean, pass@k, their agreement, and accuracy by position."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import comb

from cascade.scoring.statistics import Rate, clustered, rate
from cascade.types import Choice, Item, Scorer

ReadChoices = Mapping[str, Mapping[int, Choice]]  # item → sample → its choice; a sample without a reply is not in it
TIE = "tie"
UNANIMOUS, MAJORITY, SPLIT = "unanimous", "majority", "split"


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How far the samples of an item agree.

    `consistency` is the share of items that have the same choice in every sample, `all_right` of those that are right
    in every one. `by` is the accuracy of the vote where the samples are `unanimous`, where more than half have one
    choice (`majority`), and where they are `split`; a group without items is left out.
    """

    consistency: Rate
    all_right: Rate
    by: Mapping[str, Rate]


def vote(choices: Mapping[int, Choice]) -> Choice:
    """Return the choice that most samples settle on, or no choice with `how` set to `tie` where several lead.

    A single sample is its own vote. Samples that settle on nothing have no vote.
    """
    if len(choices) == 1:
        return next(iter(choices.values()))
    votes = Counter(choice.text for choice in choices.values() if choice.text).most_common(2)
    if not votes:
        return Choice(text="", how=f"no votes: {next(iter(choices.values())).how}")
    if len(votes) == 2 and votes[0][1] == votes[1][1]:
        return Choice(text="", how=TIE)
    return Choice(text=votes[0][0], how=f"{votes[0][1]} of {len(choices)} samples")


def count_right(items: Iterable[Item], choices: ReadChoices, scorer: Scorer) -> list[int]:
    """Return how many of each item's samples are right; a sample without a reply is wrong."""
    return [sum(scorer(item, choice.text) for choice in choices.get(item.id, {}).values()) for item in items]


def agreement(
    items: Sequence[Item], choices: ReadChoices, scorer: Scorer, samples: int, correct: Mapping[str, bool]
) -> Agreement:
    """Return how far the samples of the items agree; `correct` has for each item whether its vote is right."""
    groups: dict[str, list[bool]] = {UNANIMOUS: [], MAJORITY: [], SPLIT: []}
    for item in items:
        votes = Counter(choice.text for choice in choices.get(item.id, {}).values() if choice.text)
        most = max(votes.values(), default=0)
        group = MAJORITY if 2 * most > samples else SPLIT
        groups[UNANIMOUS if most == samples else group].append(correct[item.id])
    same = len(groups[UNANIMOUS])
    return Agreement(
        consistency=rate([True] * same + [False] * (len(items) - same)),
        all_right=rate([count == samples for count in count_right(items, choices, scorer)]),
        by={group: rate(values) for group, values in groups.items() if values},
    )


def pass_at(counts: Sequence[int], samples: int) -> dict[str, Rate]:
    """Return for each k the mean chance that at least one of k samples is right; pass@1 is the mean accuracy.

    `counts` are the right ones of `samples` an item; the estimate is unbiased (Chen et al. 2021, eq. 1). Intervals are
    over items, because samples of one item are not independent.
    """
    rates = {}
    for k in range(1, samples + 1):
        draws = comb(samples, k)
        rates[str(k)] = clustered([1 - comb(samples - count, k) / draws for count in counts])
    return rates


def by_position(
    items: Iterable[Item], choices: ReadChoices, scorer: Scorer, samples: int, seed: int | None
) -> dict[str, Rate]:
    """Return accuracy over samples by the position, from 1, of the gold choice; items that do not list it are left out.

    `seed` is the run's seed of the choices' order.
    """
    from cascade.prompting import evidence  # A file of predictions has no order of choices, and is scored without it.

    positions: dict[int, list[bool]] = {}
    for item in items:
        read = choices.get(item.id, {})
        for sample in range(samples):
            order = evidence.order_choices(item.choices, item.id, seed, sample)
            if item.answer in order:
                choice = read.get(sample)
                correct = choice is not None and scorer(item, choice.text)
                positions.setdefault(order.index(item.answer) + 1, []).append(correct)
    return {str(position): rate(positions[position]) for position in sorted(positions)}
