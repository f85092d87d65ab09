"""The report for a README or a pull request: the first screen's figures as Markdown tables."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from cascade.analysis.compare import PairedDifference
from cascade.io.tables import render_table
from cascade.io.terminal import plain
from cascade.report.charts import diagnosis, dollars, interval, p_value, percent, signed, signed_interval
from cascade.report.facts import facts
from cascade.report.load import CAUSES, TAGS, ReportData, load_report
from cascade.scoring.statistics import Rate
from cascade.scoring.summary import ScorerResult

_MOST_INTERVALS = 3  # runs whose intervals fit beside one another
_MARKS = re.compile(r"([\\`*_{}\[\]#~|@])")  # characters with a meaning in Markdown, or in the mentions of a forge


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
    "denominator. Differences are paired: Tango's score intervals, McNemar's exact test with Holm's correction."
)


def escaped(text: str) -> str:
    """Return text that stays text in Markdown, on one line."""
    return _MARKS.sub(r"\\\1", html.escape(" ".join(plain(text).split()), quote=False))


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    # The table escapes the bars of its cells itself.
    cells = [[escaped(cell).replace(r"\|", "|") for cell in row] for row in rows]
    return render_table(header, cells, "md").rstrip()


def _tables(report: ReportData) -> Iterator[str]:
    yield _scores(report)
    for tag, name in (TAGS["modality"], TAGS["layer"]):
        if tag in report.main.summary.scores["mmar"].by:
            yield _breakdown(report, tag, name)
    if report.others:
        yield _differences(report)
    if report.adds:
        yield _adds("adds: all − without it", report.adds)
    if report.hearing:
        yield _adds("hearing", report.hearing)
    if bars := diagnosis(report):
        kinds = ("right", *CAUSES)
        rows = []
        for bar in bars:
            counts = {kind: count for kind, count, _, _ in bar.parts}
            rows.append([bar.label, str(bar.n), *(str(counts.get(kind, 0)) for kind in kinds)])
        yield _table(["", "n", *kinds], rows)


def _scores(report: ReportData) -> str:
    read = ["read by", "mmar read", "95 %"] if report.read else []
    published = ["published"] if any(run.published for run in report.runs) else []
    counted = ["coverage", "failed", "unread", "cost", *published]
    header = ["run", "n", "mmar", "95 %", *read, "strict", "95 %", *counted]
    rows = []
    for run in report.runs:
        summary = run.summary
        second = [""] * len(read)
        if summary.readings and run.read_score:
            second = [summary.readings.name, *_share(run.read_score)]
        shares = [*_share(summary.scores["mmar"]), *second, *_share(summary.scores["strict"])]
        counts = [percent(summary.coverage), str(summary.failed), str(summary.unparsed), dollars(summary.cost)]
        if published:
            counts.append(percent(run.published[""]) if run.published else "")
        name = f"{run.name} ({run.kind})" if report.kinds else run.name
        rows.append([name, str(summary.n), *shares, *counts])
    chance = report.main.summary.chance
    second = ["", percent(chance["mmar"]), ""][: len(read)]
    rows.append(
        ["chance", "", percent(chance["mmar"]), "", *second, percent(chance["strict"]), "", *[""] * len(counted)]
    )
    return _table(header, rows)


def _share(result: Rate | ScorerResult) -> list[str]:
    return [percent(result.accuracy), interval(result.ci95)]


def _breakdown(report: ReportData, tag: str, name: str) -> str:
    """Return accuracy by a tag's values, a run a column; intervals are left out where there are many runs."""
    columns = 2 if len(report.runs) <= _MOST_INTERVALS else 1
    results = [run.summary.scores["mmar"].by.get(tag, {}) for run in report.runs]
    header = [name, "n"]
    for run in report.runs:
        header += [escaped(run.name), "95 %"][:columns]
    rows = []
    for value, rate in results[0].items():
        row = [value, str(rate.n)]
        for by_value in results:
            cells = _share(by_value[value]) if value in by_value else ["", ""]
            row += cells[:columns]
        rows.append(row)
    return _table(header, rows)


def _differences(report: ReportData) -> str:
    header = ["run", "n", f"run − {escaped(report.main.name)}", "95 %", "only run", "only the other", "p (Holm)"]
    rows = []
    for other, comparison in zip(report.others, report.comparisons, strict=True):
        test = comparison.mcnemar
        counts = [str(test.only_a), str(test.only_b), p_value(test.p_holm or 0.0)]
        rows.append([other.name, str(comparison.n), *_points(comparison.whole), *counts])
    return _table(header, rows)


def _points(paired: PairedDifference) -> list[str]:
    return [signed(paired.difference), signed_interval(paired.ci95)]


def _adds(title: str, adds: Mapping[str, Mapping[str, PairedDifference]]) -> str:
    """Return differences in all (the group `""`) and by modality, a source or a pair of runs a column."""
    header = [title, "n"]
    groups: dict[str, None] = {}
    for slot, by_group in adds.items():
        header += [escaped(slot), "95 %"]
        groups |= dict.fromkeys(by_group)
    first = next(iter(adds.values()))
    rows = []
    for group in groups:
        row = [group or "all", str(first[group].n)]
        for by_group in adds.values():
            row += _points(by_group[group])
        rows.append(row)
    return _table(header, rows)
