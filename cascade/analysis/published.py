"""Published cascade rows beside ours: a figure of a paper, and what our protocol gives in its place.

Each row is a file of `presets/`: its source, the published accuracy in per cent, what in it is ours because the paper
does not say it, and the flags of the run that stands for it. No row's captions, and few rows' prompts, were published:
a difference is one between protocols as much as between models.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cascade.scoring.outcomes import ScoredRun
from cascade.scoring.statistics import rate
from cascade.scoring.summary import groups

_FOLDER = Path(__file__).parent / "presets"
WHOLE = ""  # the group of all items
_OF = ("mmar", 1000)  # the items that published figures are of


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedRow:
    """A published row. `published` has accuracies in [0, 1] by modality, `""` for all; `run` are flags of a run."""

    name: str
    title: str
    source: str
    ours: str
    published: Mapping[str, float]
    run: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedComparison:
    """A published accuracy beside ours, by the official matcher, with its 95 % Wilson interval.

    `differs` says whether the published figure lies outside it; None where none was published, or it is of other items.
    """

    n: int
    published: float | None
    accuracy: float
    ci95: tuple[float, float]
    differs: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reproduced:
    """A row as we ran it: `groups` are all items (`""`) and each modality."""

    row: str
    title: str
    source: str
    ours: str
    llm: str
    run: str
    failed: int
    unread: int
    groups: Mapping[str, PublishedComparison] = field(default_factory=dict)


def published_rows() -> dict[str, PublishedRow]:
    """The published rows, by name."""
    import yaml

    found = {path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted(_FOLDER.glob("*.yaml"))}
    return {name: _row(name, said) for name, said in found.items()}


def _row(name: str, said: Mapping[str, Any]) -> PublishedRow:
    published = {WHOLE: said["published"]["all"], **said["published"].get("modality", {})}
    shares = {group: figure / 100 for group, figure in published.items()}
    about = {key: said[key] for key in ("title", "source", "ours", "run")}
    return PublishedRow(name=name, published=shares, **about)


def compare_published(row: PublishedRow, judged: ScoredRun, published: Mapping[str, float] | None = None) -> Reproduced:
    """A run in the place of a row; `published` stands for the row's own figures where the model is another one."""
    figures = row.published if published is None else published
    right = {one.item: one.correct["mmar"] for one in judged.scores}
    by = {WHOLE: list(right), **groups(judged.items).get("modality", {})}
    same = (judged.about["dataset"], len(right)) == _OF
    return Reproduced(
        row=row.name,
        title=row.title,
        source=row.source,
        ours=row.ours,
        llm=str(judged.about["llm"]),
        run=str(judged.about["run"]),
        failed=len(judged.failed),
        unread=sum(not one.choice.text.strip() for one in judged.scores) - len(judged.failed),
        groups={
            group: _beside([right[name] for name in names], figures.get(group), same) for group, names in by.items()
        },
    )


def _beside(right: Sequence[bool], published: float | None, same: bool = True) -> PublishedComparison:
    ours = rate(right)
    # Papers print two decimals: a figure is outside where no share that rounds to it is inside.
    differs = None if published is None or not same else not ours.ci95[0] - 5e-5 <= published <= ours.ci95[1] + 5e-5
    return PublishedComparison(n=ours.n, published=published, accuracy=ours.accuracy, ci95=ours.ci95, differs=differs)
