"""Scores: items and answers → right or wrong by each scorer → accuracy with intervals, by tag, beside chance.

Every item that a run or file applies to is in every denominator: an item without an answer is wrong, and counted. A run
is scored without its model, its cache or its audio.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cascade.errors import UserError
from cascade.io.jsonl import OMITTED
from cascade.io.terminal import quantity
from cascade.runs.served import Served
from cascade.scoring import outcomes, voting
from cascade.scoring.matchers.registry import SCORERS
from cascade.scoring.outcomes import ScoredRun
from cascade.scoring.statistics import Rate, rate
from cascade.scoring.voting import Agreement
from cascade.types import Item, tag_names

if TYPE_CHECKING:
    from cascade.scoring.second_reader import Readings

TAGS = ("modality", "category", "sub-category", "task", "difficulty")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScorerResult:
    """One scorer's accuracy over all items, and by each tag's values.

    Runs also have the accuracy over samples by the position of the gold choice. With several samples an item,
    `accuracy` is the vote's, `pass_at` has pass@k for each k, of which pass@1 is the mean over samples, and `agreement`
    says how far the samples agree.
    """

    accuracy: float
    ci95: tuple[float, float]
    by: Mapping[str, Mapping[str, Rate]]
    pass_at: Mapping[str, Rate] = field(default_factory=dict)
    by_gold_position: Mapping[str, Rate] = field(default_factory=dict)
    agreement: Agreement | None = field(default=None, metadata=OMITTED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """A run's or file's scores. `n` is every item, `answered` = n − failed, `coverage` = (answered − unparsed) / n.

    `inapplicable` more items are in no figure, because the control does not apply to them; None is none.
    `failed` items have no reply; the reply of an `unparsed` (unread) item names no choice. `truncated` replies, of all
    samples, were cut at the token limit, `cut` ones for another reason; None is none. With several `samples` an item,
    `ties` are items whose vote has no winner; they are unparsed too. `chance` is the accuracy of a uniform choice.
    `official_denominator`, for files, is the accuracy over the rows that have a prediction key, which the official
    script prints. `cost`, in US dollars, is without `captions_cost`, the cost of making the captions; null is unknown.
    Where a second reader was asked, `readings` counts the replies, and `scores` has `mmar` by the combined readings
    too. Where it is known, `served` says which servers answered, `captions_from` counts captions by the origin that
    made them. `not_asked` counts the questions that a run has still to ask; their items are among the failed.
    `asked_again` counts the items whose samples disagreed, in a run that asks only these with rounds.
    `as_it_stands` marks a file with a second reader's log whose own predictions are scored unread, so that none is
    unparsed.
    """

    run: str
    dataset: str
    llm: str
    n: int
    answered: int
    failed: int
    unparsed: int
    truncated: int
    coverage: float
    chance: Mapping[str, float]
    scores: Mapping[str, ScorerResult]
    official_denominator: float | None = None
    captions: Mapping[str, str] = field(default_factory=dict)
    prompt: str = ""
    tokens: Mapping[str, int] = field(default_factory=lambda: dict.fromkeys(("input", "output", "reasoning"), 0))
    cost: float | None = None
    captions_cost: float | None = None
    samples: int = 1
    ties: int = 0
    shuffled: bool = False
    readings: Readings | None = field(default=None, metadata=OMITTED)
    inapplicable: int | None = field(default=None, metadata=OMITTED)
    served: tuple[Served, ...] | None = field(default=None, metadata=OMITTED)
    captions_from: Mapping[str, int] | None = field(default=None, metadata=OMITTED)
    not_asked: int | None = field(default=None, metadata=OMITTED)
    as_it_stands: bool | None = field(default=None, metadata=OMITTED)
    cut: int | None = field(default=None, metadata=OMITTED)
    asked_again: int | None = field(default=None, metadata=OMITTED)

    @property
    def cuts(self) -> str:
        """How many replies were cut, in words; `""` if none was."""
        replies = " replies" * (self.samples > 1)  # With one sample, a reply stands for its item.
        counts = [(self.truncated, "cut at the token limit"), (self.cut, "cut by the provider")]
        return ", ".join(f"{count}{replies} {how}" for count, how in counts if count)

    @property
    def unfinished(self) -> str:
        """What is still to be asked, in words; `""` where that is nothing."""
        whole = (self.n + (self.inapplicable or 0)) * self.samples
        if not self.not_asked:
            return ""
        return f"{self.not_asked} of {quantity(whole, 'question')} not asked yet, counted as failed"

    def __repr__(self) -> str:
        shares = ", ".join(f"{name} {result.accuracy:.4f}" for name, result in self.scores.items())
        return f"Summary({self.run!r}, {self.n} items, {shares})"

    def to_rows(self) -> list[dict[str, Any]]:
        """Return a row a scorer and value of a tag; tag and value are `""` for all items."""
        rows: list[dict[str, Any]] = []
        for scorer, result in self.scores.items():
            groups = [("", "", Rate(n=self.n, accuracy=result.accuracy, ci95=result.ci95))]
            for tag, values in result.by.items():
                groups += [(tag, value, share) for value, share in values.items()]
            for tag, value, share in groups:
                row = {"run": self.run, "scorer": scorer, "tag": tag, "value": value, "n": share.n}
                rows.append({**row, "accuracy": share.accuracy, "low": share.ci95[0], "high": share.ci95[1]})
        return rows


def summarize(scored: ScoredRun, by: Sequence[str] = ()) -> Summary:
    """Return the figures of a scored run or file, broken down by the benchmarks' tags and by those in `by`.

    `by` may contain `language`. Raises UserError for a tag that no item has.
    """
    n, failed, unread = len(scored.items), len(scored.failed), scored.unread
    ways = Counter(choice.how for read in scored.choices.values() for choice in read.values())
    tags = groups(scored.items, by)
    scores, expected = {}, chance(scored.items)
    for name in SCORERS:
        scores[name] = _scorer_result(scored, name, tags)
        if name == "mmar" and scored.combined and scored.readings:
            column = scored.readings.column
            scores[column] = _scorer_result(scored.combined, name, tags)
            expected[column] = expected[name]
    return Summary(
        n=n,
        answered=n - failed,
        failed=failed,
        unparsed=unread,
        truncated=ways[outcomes.TRUNCATED],
        cut=ways[outcomes.CUT] or None,
        ties=sum(score.choice.how == voting.TIE for score in scored.scores.values()),
        coverage=(n - failed - unread) / n,
        chance=expected,
        scores=scores,
        readings=scored.readings,
        **scored.about,
    )


def _scorer_result(scored: ScoredRun, name: str, tags: Mapping[str, Mapping[str, Sequence[str]]]) -> ScorerResult:
    items, choices, scorer, correct = scored.items, scored.choices, SCORERS[name], scored.correct(name)
    by: dict[str, dict[str, Rate]] = {}
    for tag, values in tags.items():
        by[tag] = {value: rate([correct[item] for item in ids]) for value, ids in values.items()}
    pass_at, by_position = {}, {}
    if scored.spec:
        samples, seed = scored.spec.llm.samples, scored.spec.prompt.order_seed
        if samples > 1:
            pass_at = voting.pass_at(voting.count_right(items, choices, scorer), samples)
        if choices:
            by_position = voting.by_position(items, choices, scorer, samples, seed)
    whole = scored.rate(name)
    return ScorerResult(
        accuracy=whole.accuracy,
        ci95=whole.ci95,
        by=by,
        pass_at=pass_at,
        by_gold_position=by_position,
        agreement=scored.agreement(name, items),
    )


def chance(items: Sequence[Item]) -> dict[str, float]:
    """Return the expected accuracy of a uniform choice among each item's choices, by scorer."""
    expected = {}
    for name, scorer in SCORERS.items():
        shares = []
        for item in items:
            right = sum(scorer(item, choice) for choice in item.choices)
            shares.append(right / len(item.choices))
        expected[name] = sum(shares) / len(items)
    return expected


def groups(items: Sequence[Item], by: Sequence[str] = ()) -> dict[str, dict[str, list[str]]]:
    """Return the items' ids by tag and value, the most frequent value first, of the benchmarks' tags and those in `by`.

    Raises UserError for a tag in `by` that no item has.
    """
    grouped: dict[str, dict[str, list[str]]] = {}
    for tag in dict.fromkeys((*TAGS, *by)):
        values: dict[str, list[str]] = {}
        for item in items:
            value = item.tag(tag)
            if value is not None:
                values.setdefault(value, []).append(item.id)
        if values:
            grouped[tag] = dict(sorted(values.items(), key=lambda pair: (-len(pair[1]), pair[0])))
    if lacking := [tag for tag in by if tag not in grouped]:
        known = ", ".join(tag_names(items)) or "none"
        raise UserError(f"--by {lacking[0]}: no item has that tag (there is: {known})")
    return grouped
