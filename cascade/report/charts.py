"""Pictures as numbers: where each dot, interval and bar lies, in per cent of the width, for templates to draw."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from cascade.analysis.compare import PairedDifference
from cascade.io import tables
from cascade.report.load import CAUSES, ReportData
from cascade.scoring import summary

CROWD = 3  # runs with an interval each in a row; of more, the others are dots alone
_HALF_AXES = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.75)


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
    """Rows under one axis; `ticks` are (place in per cent, label)."""

    title: str
    rows: Sequence[Row]
    ticks: Sequence[tuple[float, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A row of shares that fill it: (kind, count, start and width in per cent)."""

    label: str
    n: int
    parts: Sequence[tuple[str, int, float, float]]


_SHARES = tuple((float(at), str(at)) for at in range(0, 101, 25))


def percent(share: float) -> str:
    """Return a share in per cent."""
    return f"{100 * share:.1f}"


def signed(share: float, digits: int = 1) -> str:
    """Return a difference in points with its sign, as a typographic minus; a zero has none."""
    return tables.signed(share, digits).replace("-", "−")


def interval(ends: tuple[float, float]) -> str:
    """Return the interval of a share."""
    return f"{percent(ends[0])}–{percent(ends[1])}"


def signed_interval(ends: tuple[float, float]) -> str:
    """Return the interval of a difference."""
    return f"{signed(ends[0])} to {signed(ends[1])}"


def p_value(p: float) -> str:
    """Return a p value, as papers print it."""
    return "< 0.0001" if p < 0.0001 else f"{p:.4f}"


def _point(kind: str, name: str, share: float, ci95: tuple[float, float] | None = None) -> Mark:
    """Return the mark of a share, with its interval where that is given."""
    title = f"{name}: {percent(share)} %"
    if ci95 is None:
        return Mark(at=100 * share, kind=kind, title=title)
    low, high = ci95
    return Mark(at=100 * share, low=100 * low, high=100 * high, kind=kind, title=f"{title} ({interval(ci95)})")


def by_tag(report: ReportData, tag: str, key: str, title: str) -> Picture | None:
    """Return accuracy by a tag's values: main and the other runs, the strict score beside, chance of these items."""
    main, scores = report.main, report.main.summary.scores
    rows = []
    for value, rate in scores["mmar"].by.get(tag, {}).items():
        marks = []
        if tag == "modality" and value in main.published:
            marks.append(_point("published", "published", main.published[value]))
        items = [item for item in main.run.items if str(item.tags.get(tag)) == value]
        marks.append(_point("chance", "chance", summary.chance(items)["mmar"]))
        for number, other in enumerate(report.others, 1):
            if other_rate := other.summary.scores["mmar"].by.get(tag, {}).get(value):
                ci95 = other_rate.ci95 if len(report.others) < CROWD else None
                marks.append(_point(f"run{number % 12} other", other.name, other_rate.accuracy, ci95))
        marks.append(_point("strict", "strict", scores["strict"].by[tag][value].accuracy))
        marks.append(_point("run0", main.name if report.others else "mmar", rate.accuracy, rate.ci95))
        shown, beside = percent(rate.accuracy), interval(rate.ci95)
        rows.append(Row(label=value, n=rate.n, marks=marks, figure=shown, beside=beside, find={key: value}))
    return Picture(title=title, rows=rows, ticks=_SHARES) if rows else None


def differences(title: str, rows: Iterable[tuple[str, PairedDifference]], key: str = "", span: float = 0.0) -> Picture:
    """Return paired differences around zero, on an axis to ±`span`; by default the axis just holds all intervals."""
    pairs = list(rows)
    span = span or _half_axis(paired for _, paired in pairs)
    drawn = [
        Row(
            label=label,
            n=paired.n,
            marks=[difference(paired, span)],
            figure=signed(paired.difference),
            beside=signed_interval(paired.ci95),
            find={key: label} if key and label != "all" else {},
        )
        for label, paired in pairs
    ]
    ticks = ((0.0, signed(-span, 0)), (50.0, "0"), (100.0, signed(span, 0)))
    return Picture(title=title, rows=drawn, ticks=ticks)


def difference(paired: PairedDifference, span: float) -> Mark:
    """Return the mark of a difference with its interval, zero in the middle and ±`span` at the ends.

    It is `more` or `less` only where the corrected test supports a difference.
    """
    at, low, high = (50 + 50 * value / span for value in (paired.difference, *paired.ci95))
    kind = "even"
    if paired.mcnemar.significant:
        kind = "more" if paired.difference > 0 else "less"
    counts = f"only the first right: {paired.mcnemar.only_a}, only the second: {paired.mcnemar.only_b}"
    title = f"{signed(paired.difference)} ({signed_interval(paired.ci95)}); {counts}"
    return Mark(at=at, low=low, high=high, kind=kind, title=title)


def _half_axis(pairs: Iterable[PairedDifference]) -> float:
    """Return the shortest half axis that holds every interval."""
    farthest = max((abs(end) for paired in pairs for end in paired.ci95), default=0.0)
    return next((length for length in _HALF_AXES if length >= farthest), 1.0)


def by_modality(named: Mapping[str, Mapping[str, PairedDifference]]) -> list[Picture]:
    """Return one picture for each name, with its differences for all items (`""`) and by modality, on a common axis."""
    span = _half_axis(paired for groups in named.values() for paired in groups.values())
    pictures = []
    for title, groups in named.items():
        rows = [(group or "all", paired) for group, paired in groups.items()]
        pictures.append(differences(title, rows, "modality", span))
    return pictures


def diagnosis(report: ReportData) -> list[Bar]:
    """Return a bar for all items and for each modality: how many are right, and how many are wrong by cause."""
    if report.diagnosis is None:
        return []
    groups = [("all", len(report.main.run.items), report.diagnosis.counts)]
    for value, rate in report.main.summary.scores["mmar"].by.get("modality", {}).items():
        groups.append((value, rate.n, report.diagnosis.by.get(value, {})))
    bars = []
    for label, n, causes in groups:
        counts = {"right": n - sum(causes.values()), **causes}
        parts, start = [], 0.0
        for kind in ("right", *CAUSES):
            if count := counts.get(kind, 0):
                parts.append((kind, count, start, 100 * count / n))
                start += 100 * count / n
        bars.append(Bar(label=label, n=n, parts=parts))
    return bars
