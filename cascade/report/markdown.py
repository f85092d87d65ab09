"""The report for a README or a pull request: the first screen's figures as Markdown tables."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from cascade.analysis.compare import Comparison, PairedDifference, overall
from cascade.io.tables import render_table
from cascade.io.terminal import plain
from cascade.report.charts import Bar, diagnosis, interval, p_value, percent, signed, signed_interval
from cascade.report.facts import facts
from cascade.report.load import CAUSES, ReportData, ReportRun, load_report
from cascade.scoring.statistics import Rate
from cascade.scoring.summary import ScorerResult

_WIDEST = 3  # runs whose intervals have room beside one another
_TAGS = {"modality": "modality", "category": "layer"}
_MARKS = re.compile(r"([\\`*_{}\[\]#~|@])")  # what Markdown, or a forge's mentions, would make something of


def markdown_report(sources: Sequence[Path]) -> str:
    """Return the report of these runs as Markdown.

    Raises RunError or UserError for what is no run, or cannot be paired.
    """
    report = load_report(sources)
    about = facts(report)
    brief = " · ".join(f"{what} {escaped(text)}" for what, text in about.brief)
    notes = [escaped(note) for note in about.notes]
    paragraphs = [f"## {escaped(about.title)}", escaped(about.under), brief, *notes, *_tables(report), _LEGEND]
    return "\n\n".join(paragraphs) + "\n"


_LEGEND = (
    "mmar: the official matcher; strict: equality with the gold choice. 95 % Wilson intervals; every item is in the "
    "denominator. Differences are paired: bootstrap intervals, McNemar's exact test with Holm's correction."
)


def escaped(said: str) -> str:
    """Text that stays text in Markdown, on one line."""
    return _MARKS.sub(r"\\\1", html.escape(" ".join(plain(said).split()), quote=False))


def _table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    # The table escapes its own bars.
    cells = [[cell.replace(r"\|", "|") for cell in map(escaped, row)] for row in rows]
    return render_table([*header], cells, "md").rstrip()


def _tables(report: ReportData) -> Iterator[str]:
    yield _scores(report)
    for tag, name in _TAGS.items():
        if tag in report.main.summary.scores["mmar"].by:
            yield _by(report, tag, name)
    if report.others:
        yield _differences(report)
    if report.family and report.family.adds:
        yield _adds(report.family.adds)
    if bars := diagnosis(report):
        yield _diagnosis(bars)


def _scores(report: ReportData) -> str:
    header = ["run", "n", "mmar", "95 %", "strict", "95 %", "coverage", "failed", "unread", "cost"]
    by_chance = report.main.summary.chance
    chance = ["chance", "", percent(by_chance["mmar"]), "", percent(by_chance["strict"]), *[""] * 5]
    return _table(header, [*(_run(one) for one in report.runs), chance])


def _run(entry: ReportRun) -> list[str]:
    summary = entry.summary
    money = "unknown" if summary.cost is None else f"${summary.cost:.2f}"
    shares = [cell for name in ("mmar", "strict") for cell in _share(summary.scores[name])]
    rest = [percent(summary.coverage), str(summary.failed), str(summary.unparsed), money]
    return [entry.name, str(summary.n), *shares, *rest]


def _share(found: Rate | ScorerResult) -> list[str]:
    return [percent(found.accuracy), interval(found.ci95)]


def _by(report: ReportData, tag: str, name: str) -> str:
    found = [(one, one.summary.scores["mmar"].by.get(tag, {})) for one in report.runs]
    wide = 2 if len(found) <= _WIDEST else 1  # cells of a run: of many runs, the shares alone
    header = [name, "n", *(cell for one, _ in found for cell in [escaped(one.name), "95 %"][:wide])]
    rows = [
        [
            value,
            str(rate.n),
            *(cell for _, by in found for cell in (_share(by[value]) if value in by else ["", ""])[:wide]),
        ]
        for value, rate in found[0][1].items()
    ]
    return _table(header, rows)


def _differences(report: ReportData) -> str:
    header = [f"{escaped(report.main.name)} less", "n", "difference", "95 %", "only this", "only other", "p (Holm)"]
    rows = zip(report.others, report.comparisons, report.p_holm, strict=True)
    return _table(header, [_difference(one.name, found, p_holm) for one, found, p_holm in rows])


def _difference(name: str, found: Comparison, p_holm: float) -> list[str]:
    counts = [str(found.mcnemar.only_a), str(found.mcnemar.only_b)]
    return [name, str(found.n), *_points(overall(found)), *counts, p_value(p_holm)]


def _points(found: PairedDifference) -> list[str]:
    return [signed(found.difference), signed_interval(found.ci95)]


def _adds(found: Mapping[str, Mapping[str, PairedDifference]]) -> str:
    groups = list(dict.fromkeys(group for values in found.values() for group in values))
    header = ["adds", "n", *(cell for slot in found for cell in (escaped(slot), "95 %"))]
    first = next(iter(found.values()))
    rows = [
        [group or "all", str(first[group].n), *(cell for values in found.values() for cell in _points(values[group]))]
        for group in groups
    ]
    return _table(header, rows)


def _diagnosis(bars: Iterable[Bar]) -> str:
    kinds = ("right", *CAUSES)
    rows = []
    for bar in bars:
        counts = {kind: count for kind, count, _, _ in bar.parts}
        rows.append([bar.label, str(bar.n), *(str(counts.get(kind, 0)) for kind in kinds)])
    return _table(["", "n", *kinds], rows)
