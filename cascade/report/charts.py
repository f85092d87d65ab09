"""Dots and intervals as numbers: where each mark of a picture lies, in per cent of the width, for templates to draw."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from cascade.analysis.compare import PairedDifference
from cascade.report.load import CAUSES, ReportData
from cascade.scoring import summary
from cascade.scoring.statistics import Rate
from cascade.scoring.summary import ScorerResult
from cascade.types import Item

CROWD = 3  # runs with an interval each in a row; of more, the others are dots alone


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A dot at `at`, its interval from `low` to `high` (none where they are None); `title` says it in words."""

    at: float
    kind: str
    title: str
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A line of a picture: what, how many items, the marks, the figures beside it; `find` is the filter it leads to."""

    label: str
    n: int
    marks: Sequence[Mark]
    figure: str
    beside: str = ""
    find: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """Rows under one axis; `ticks` are (place in per cent, what stands there)."""

    title: str
    rows: Sequence[Row]
    ticks: Sequence[tuple[float, str]]


_SHARES = tuple((float(at), str(at)) for at in range(0, 101, 25))


def percent(share: float, digits: int = 1) -> str:
    """A share in per cent."""
    return f"{100 * share:.{digits}f}"


def signed(share: float, digits: int = 1) -> str:
    """A difference in points with its sign, a minus that is one; a zero has none."""
    text = f"{100 * share:+.{digits}f}"
    return text.lstrip("+-") if float(text) == 0 else text.replace("-", "−")


def interval(ends: tuple[float, float]) -> str:
    """The interval of a share."""
    return f"{percent(ends[0])}–{percent(ends[1])}"


def signed_interval(ends: tuple[float, float]) -> str:
    """The interval of a difference."""
    return f"{signed(ends[0])} to {signed(ends[1])}"


def p_value(p: float) -> str:
    """A p value, as papers print it."""
    return "< 0.0001" if p < 0.0001 else f"{p:.4f}"


def share(result: Rate | ScorerResult, kind: str, name: str) -> Mark:
    """A share with its interval."""
    title = f"{name}: {percent(result.accuracy)} % ({interval(result.ci95)})"
    low, high = (100 * end for end in result.ci95)
    return Mark(at=100 * result.accuracy, low=low, high=high, kind=kind, title=title)


def by_tag(told: ReportData, tag: str, key: str, title: str) -> Picture | None:
    """Accuracy by a tag's values: main and the other runs, the strict score beside, chance of these very items."""
    main = told.main.summary.scores
    values = main["mmar"].by.get(tag)
    if not values:
        return None
    grouped: dict[str, list[Item]] = {}
    for item in told.main.run.items:
        grouped.setdefault(str(item.tags.get(tag)), []).append(item)
    rows = [
        Row(
            label=value,
            n=result.n,
            marks=[
                _chance(grouped[value]),
                *_others(told, tag, value),
                _dot(main["strict"].by[tag][value], "strict", "strict"),
                share(result, "run0", "mmar" if not told.others else told.main.name),
            ],
            figure=percent(result.accuracy),
            beside=interval(result.ci95),
            find={key: value},
        )
        for value, result in values.items()
    ]
    return Picture(title=title, rows=rows, ticks=_SHARES)


def _chance(items: Sequence[Item]) -> Mark:
    by_chance = summary.chance(items)["mmar"]
    return Mark(at=100 * by_chance, kind="chance", title=f"chance: {percent(by_chance)} %")


def _dot(result: Rate | ScorerResult, kind: str, name: str) -> Mark:
    return Mark(at=100 * result.accuracy, kind=kind, title=f"{name}: {percent(result.accuracy)} %")


def _others(told: ReportData, tag: str, value: str) -> list[Mark]:
    kept = enumerate(told.others, 1)
    found = [(at, one, one.summary.scores["mmar"].by.get(tag, {}).get(value)) for at, one in kept]
    draw = share if len(told.others) < CROWD else _dot
    return [draw(result, f"run{at % 12} other", one.name) for at, one, result in found if result]


# Differences


def differences(title: str, rows: Iterable[tuple[str, PairedDifference]], key: str = "", span: float = 0.0) -> Picture:
    """Paired differences around zero, on an axis to ±`span`; without one it is as long as their intervals need."""
    found = list(rows)
    span = span or _span(paired for _, paired in found)
    drawn = [
        Row(
            label=label,
            n=paired.n,
            marks=[difference(paired, span)],
            figure=signed(paired.difference),
            beside=signed_interval(paired.ci95),
            find={key: label} if key and label != "all" else {},
        )
        for label, paired in found
    ]
    return Picture(title=title, rows=drawn, ticks=ticks(span))


def difference(paired: PairedDifference, span: float) -> Mark:
    """A difference with its interval, zero in the middle and ±`span` at the ends."""
    at, low, high = (50 + 50 * value / span for value in (paired.difference, *paired.ci95))
    sure = "more" if paired.ci95[0] > 0 else "less" if paired.ci95[1] < 0 else "even"
    counts = f"only the one right: {paired.mcnemar.only_a}, only the other: {paired.mcnemar.only_b}"
    title = f"{signed(paired.difference)} ({signed_interval(paired.ci95)}); {counts}"
    return Mark(at=at, low=low, high=high, kind=sure, title=title)


def _span(found: Iterable[PairedDifference]) -> float:
    """Half the axis: the farthest end of an interval, rounded up to a tenth."""
    farthest = max((abs(end) for one in found for end in one.ci95), default=0.0)
    return next((step / 100 for step in (5, 10, 20, 30, 40, 50, 75) if step / 100 >= farthest), 1.0)


def ticks(span: float) -> tuple[tuple[float, str], ...]:
    """The marks of an axis around zero."""
    return (0.0, signed(-span, 0)), (50.0, "0"), (100.0, signed(span, 0))


def adds(told: ReportData) -> list[Picture]:
    """For each source: main less the run without it, in all and by modality, on one axis for all sources."""
    found = told.family.adds if told.family else {}
    every = [paired for values in found.values() for paired in values.values()]
    span = _span(every)
    return [
        differences(slot, [(group or "all", paired) for group, paired in values.items()], "modality", span)
        for slot, values in found.items()
    ]


# Ears or brain


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A row of shares that fill it: (kind, count, from, width in per cent)."""

    label: str
    n: int
    parts: Sequence[tuple[str, int, float, float]]


def diagnosis(told: ReportData) -> list[Bar]:
    """All items, and those of each modality: right, and what is the ears' and the brain's of the rest."""
    found = told.diagnosis
    if found is None:
        return []
    by = told.main.summary.scores["mmar"].by.get("modality", {})
    sizes = {value: rate.n for value, rate in by.items()}
    whole = _bar("all", len(told.main.run.items), found.counts)
    return [whole, *(_bar(value, n, found.by.get(value, {})) for value, n in sizes.items())]


def _bar(label: str, n: int, counts: Mapping[str, int]) -> Bar:
    parts = {"right": n - sum(counts.values()), **{name: counts.get(kind, 0) for kind, name in CAUSES.items()}}
    laid, start = [], 0.0
    for kind, count in parts.items():
        width = 100 * count / n
        laid.append((kind, count, start, width))
        start += width
    return Bar(label=label, n=n, parts=[part for part in laid if part[1]])
