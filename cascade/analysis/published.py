"""Published cascade rows beside ours: the figure of a paper, and the result of our protocol for the same models.

Each row is a file of `presets/`: its source, the published accuracy in per cent, what our protocol adds because the
paper does not say it, and the flags of the run that stands for it. No row's captions, and few rows' prompts, were
published: a difference is one between protocols as much as between models.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cascade.analysis.compare import SIGNIFICANT
from cascade.io.jsonl import OMITTED
from cascade.scoring.outcomes import ScoredRun
from cascade.scoring.statistics import holm, rate, score_test
from cascade.scoring.summary import groups

_FOLDER = Path(__file__).parent / "presets"
WHOLE = ""  # the group of all items
_PUBLISHED_ON = ("mmar", 1000)  # the dataset and the number of items of the published figures


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

    `differs` says whether the test that the interval inverts, with Holm's correction over the groups of a row, tells
    the published figure from ours; None where none was published, or for other items.
    """

    n: int
    published: float | None
    accuracy: float
    ci95: tuple[float, float]
    differs: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reproduced:
    """The result of our run in the place of a row: `groups` are all items (`""`) and each modality.

    `other_captions` are those of the run where they are not the row's.
    """

    row: str
    title: str
    source: str
    ours: str
    llm: str
    run: str
    failed: int
    unread: int
    groups: Mapping[str, PublishedComparison] = field(default_factory=dict)
    other_captions: str | None = field(default=None, metadata=OMITTED)


def published_rows() -> dict[str, PublishedRow]:
    """Return the published rows, by name."""
    import yaml

    rows = {}
    for path in sorted(_FOLDER.glob("*.yaml")):
        preset = yaml.safe_load(path.read_text(encoding="utf-8"))
        figures = preset.pop("published")
        published = {WHOLE: figures["all"] / 100}
        for modality, figure in figures.get("modality", {}).items():
            published[modality] = figure / 100
        rows[path.stem] = PublishedRow(name=path.stem, published=published, **preset)
    return rows


def compare_published(row: PublishedRow, scored: ScoredRun, published: Mapping[str, float] | None = None) -> Reproduced:
    """Compare a run with a row; `published` replaces the row's own figures where the model is another one."""
    figures = row.published if published is None else published
    right = scored.correct("mmar")
    same_items = (scored.about["dataset"], len(right)) == _PUBLISHED_ON
    ours, p_values = {}, {}
    for group, items in {WHOLE: list(right), **groups(scored.items).get("modality", {})}.items():
        ours[group] = share = rate([right[item] for item in items])
        if same_items and group in figures:
            # Papers print two decimals: the nearest share that rounds to the figure is tested.
            nearest = min(max(share.accuracy, figures[group] - 5e-5), figures[group] + 5e-5)
            p_values[group] = score_test(share.accuracy, share.n, nearest)
    differs = {group: p < SIGNIFICANT for group, p in zip(p_values, holm(list(p_values.values())), strict=True)}
    compared = {}
    for group, share in ours.items():
        compared[group] = PublishedComparison(
            n=share.n,
            published=figures.get(group),
            accuracy=share.accuracy,
            ci95=share.ci95,
            differs=differs.get(group),
        )
    return Reproduced(
        row=row.name,
        title=row.title,
        source=row.source,
        ours=row.ours,
        llm=str(scored.about["llm"]),
        run=str(scored.about["run"]),
        failed=len(scored.failed),
        unread=scored.unread,
        groups=compared,
    )
