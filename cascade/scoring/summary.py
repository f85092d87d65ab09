"""Scores: items and answers → right or wrong by each scorer → accuracy with intervals, by tag, beside chance.

Every item of a run or file is in every denominator: what was not answered is wrong, and counted. Reading alone: a run
is scored without its model, its cache or its audio.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cascade.errors import UserError
from cascade.scoring import outcomes, voting
from cascade.scoring.matchers.registry import SCORERS
from cascade.scoring.outcomes import ScoredRun
from cascade.scoring.statistics import Rate, rate
from cascade.types import Dataset, Item

TAGS = ("modality", "category", "sub-category", "task", "difficulty")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScorerResult:
    """One scorer's accuracy over all items, and by each tag's values.

    For runs also accuracy over samples by the place at which the gold choice was shown; with several samples an item,
    `accuracy` is the vote's, and `pass_at` has pass@k for each k, of which pass@1 is the mean over samples.
    """

    accuracy: float
    ci95: tuple[float, float]
    by: Mapping[str, Mapping[str, Rate]]
    pass_at: Mapping[str, Rate] = field(default_factory=dict)
    by_gold_position: Mapping[str, Rate] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """A run's or file's scores. `n` is every item, `answered` = n − failed, `coverage` = (answered − unparsed) / n.

    `failed` items have no reply; `unparsed` replies name no choice, `truncated` ones among them were cut at the token
    limit (all samples are counted). With several `samples` an item, `ties` are items whose vote has no winner; they
    are unparsed too. `chance` is the accuracy of a uniform choice. `official_denominator`, for files, is the accuracy
    over the rows that carry a prediction, which is what the official script prints. `cost` is in US dollars, what the
    captions cost when they were made aside (`captions_cost`); null is unknown.
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


def score_run(
    source: Path, dataset: Dataset | None = None, *, read_replies: bool = False, by: Sequence[str] = ()
) -> Summary:
    """The scores of a run directory or of an official prediction file (joined with `dataset` where it has ids alone).

    A file's predictions are scored as they stand; `read_replies` extracts a choice from each first. `by` names tags to
    break down by, or `language`, besides those of the benchmarks. Raises RunError or DatasetError for what cannot be
    read.
    """
    return summarize(outcomes.score_source(source, dataset, read_replies=read_replies), by)


def summarize(judged: ScoredRun, by: Sequence[str] = ()) -> Summary:
    """The figures of what was judged, broken down by the benchmarks' tags and these."""
    n, failed = len(judged.scores), len(judged.failed)
    unparsed = sum(not one.choice.text.strip() for one in judged.scores) - failed
    return Summary(
        n=n,
        answered=n - failed,
        failed=failed,
        unparsed=unparsed,
        truncated=sum(one.how == "truncated" for read in judged.read.values() for one in read.values()),
        ties=sum(one.choice.how == voting.TIE for one in judged.scores),
        coverage=(n - failed - unparsed) / n,
        chance=chance(judged.items),
        scores={name: _scorer_result(judged, name, by) for name in SCORERS},
        **judged.about,
    )


def chance(items: Sequence[Item]) -> dict[str, float]:
    """The accuracy that a uniform choice among each item's choices is expected to have, by scorer."""
    return {
        name: sum(sum(rule(item, choice) for choice in item.choices) / len(item.choices) for item in items) / len(items)
        for name, rule in SCORERS.items()
    }


def _scorer_result(judged: ScoredRun, scorer: str, by: Sequence[str]) -> ScorerResult:
    items, scores, rule = judged.items, judged.scores, SCORERS[scorer]
    whole = rate([one.correct[scorer] for one in scores])
    correct = {one.item: one.correct[scorer] for one in scores}
    counts = voting.count_right(items, judged.read, rule, judged.samples) if judged.samples > 1 else []
    placed = voting.by_position(items, judged.read, rule, judged.samples, judged.seed) if judged.read else {}
    return ScorerResult(
        accuracy=whole.accuracy,
        ci95=whole.ci95,
        by={
            tag: {value: rate([correct[name] for name in names]) for value, names in values.items()}
            for tag, values in groups(items, by).items()
        },
        pass_at=voting.pass_at(counts, judged.samples) if counts else {},
        by_gold_position=placed,
    )


def groups(items: Sequence[Item], by: Sequence[str] = ()) -> dict[str, dict[str, list[str]]]:
    """The items' ids by tag and value, the most frequent value first: of the benchmarks' tags and of those in `by`.

    `language` is what the benchmark says of the clip, where no tag has that name. Raises UserError for a tag of none.
    """
    found: dict[str, dict[str, list[str]]] = {}
    for tag in dict.fromkeys((*TAGS, *by)):
        values: dict[str, list[str]] = {}
        for item in items:
            if (value := _tag(item, tag)) is not None:
                values.setdefault(value, []).append(item.id)
        if values:
            found[tag] = {
                value: values[value] for value in sorted(values, key=lambda value: (-len(values[value]), value))
            }
    if lacking := [tag for tag in by if tag not in found]:
        known = sorted({tag for item in items for tag in item.tags})
        raise UserError(f"--by {lacking[0]}: no item has that tag (there is: {', '.join(known) or 'none'})")
    return found


def _tag(item: Item, tag: str) -> str | None:
    said = item.tags.get(tag, item.reference.get(tag) if tag == "language" else None)
    return None if said is None else str(said)
