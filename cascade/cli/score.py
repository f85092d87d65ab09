"""The command `score`."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Annotated

import typer

from cascade.cli import options as o
from cascade.cli import output
from cascade.datasets import registry
from cascade.io.jsonl import to_json
from cascade.io.tables import Cell, Column, Dollars, Interval, Label, Row, Share, format_columns, percent
from cascade.io.terminal import heading, note, plain, prose, quantity
from cascade.runs.describe import slots_label
from cascade.runs.served import served_text
from cascade.scoring import outcomes
from cascade.scoring.outcomes import UnreadItem
from cascade.scoring.predictions import KEYS
from cascade.scoring.statistics import Rate
from cascade.scoring.summary import ScorerResult, Summary, summarize

_MANY = 0.1  # of the items unread: then the table says so


def score(
    sources: Annotated[
        list[Path], typer.Argument(metavar="RUN|FILE…", help="Run directories, official prediction files.")
    ],
    form: o.Form = "table",
    by: o.By = None,
    extract: o.Extract = False,
    explain: o.Explain = False,
    dataset: o.Joined = None,
    data: o.Data = None,
) -> None:
    """Score runs and official prediction files.

    By the official matcher and by equality, with 95 % intervals and chance.
    """
    output.check_explain(explain, form)
    questions = registry.load_questions(dataset, data)
    for place, source in enumerate(sources):
        if place and form not in ("json", "csv"):
            typer.echo()
        scored = outcomes.score_source(source, questions, read_replies=extract)
        summary = summarize(scored, by or ())
        show(summary, form, first=not place, unread=outcomes.unread_items(scored) if explain else None)
        if form != "table":  # whose title says it
            output.note_unfinished(summary.run, summary.not_asked, summary.n * summary.samples)
        if not summary.llm and summary.official_denominator is None:
            note(f"{source}: no row carries a prediction; the field must be one of {', '.join(KEYS)}")


def show(summary: Summary, form: str, *, first: bool = True, unread: Sequence[UnreadItem] | None = None) -> None:
    """Print a summary to stdout in one of the formats; several CSVs share the header of the first.

    `unread`, where given, are listed after it.
    """
    if form == "json":
        listed = {} if unread is None else {"unread": unread}
        output.echo_json({**to_json(summary), **listed})
        return
    title = "" if form == "table" else Path(summary.run).name
    columns = [Column(None, ("run",)), Column(title, ("tag", "value"), words=True), Column("n", ("n",))]
    for name in summary.scores:
        columns += [Column(name, (name,)), Column("95 %", (f"{name}_low", f"{name}_high"))]
    text = format_columns(columns, [(summary.run, *row) for row in _rows(summary, form)], form)
    if form == "table":
        text = heading(_title(summary)) + "\n" + text + plain(prose(_legend(summary))) + "\n"
    elif form == "csv" and not first:
        text = text.partition("\n")[2]
    typer.echo(text, nl=False)
    if unread is not None:
        rows = [[item.item, item.why, item.said] for item in unread]
        output.echo_list(["item", "why", "said"], rows, "Every reply was read.")
        if unread and (advice := _advice(summary)):
            typer.echo("\n" + prose(advice))


def _rows(summary: Summary, form: str) -> Iterator[Row]:
    """Yield a row for all items, for each mean over samples, for chance, and for each value of a tag."""
    results = list(summary.scores.values())
    first, nothing = results[0], [None] * (2 * len(results))
    whole = f"all: vote of {summary.samples}" if summary.samples > 1 else "all"
    yield Label("" if form == "csv" else whole), summary.n, *_rates(results)
    for k in first.pass_at:
        yield _row("mean of samples" if k == "1" else f"pass@{k}", [result.pass_at[k] for result in results])
    if agreements := [result.agreement for result in results if result.agreement]:
        yield _row("same choice in all", [agreement.consistency for agreement in agreements])
        yield _row("right in all", [agreement.all_right for agreement in agreements])
        for group, share in agreements[0].by.items():
            # Where a second reader was asked, its column may have other items in the group.
            same = [agreement.by.get(group) for agreement in agreements]
            cells = [_rates([rate]) if rate and rate.n == share.n else [None, None] for rate in same]
            yield Label(f"vote {group}"), share.n, *chain(*cells)
    if summary.shuffled:
        for position in first.by_gold_position:
            yield _row(f"gold at {position}", [result.by_gold_position[position] for result in results])
    chance = [cell for name in summary.scores for cell in (Share(summary.chance[name]), None)]
    yield Label("chance"), summary.n if form == "csv" else None, *chance
    if form != "table":  # there the title has them
        yield Label("failed"), summary.failed, *nothing
        yield Label("unread"), summary.unparsed, *nothing
        if summary.inapplicable:
            yield Label("not applicable"), summary.inapplicable, *nothing
        if summary.readings:
            yield from ((Label(name), count, *nothing) for name, count in summary.readings.counts().items())
    for tag, values in first.by.items():
        for value in values:
            yield _row(tag, [result.by[tag][value] for result in results], value)


def _row(name: str, rates: list[Rate], value: str | None = None) -> Row:
    return Label(name, value), rates[0].n, *_rates(rates)


def _rates(rates: list[Rate] | list[ScorerResult]) -> list[Cell]:
    return [cell for rate in rates for cell in (Share(rate.accuracy), Interval(*rate.ci95))]


def _title(summary: Summary) -> str:
    """Return what was run, and what became of its items."""
    captions = slots_label(summary.captions)
    what = list(filter(None, [summary.run, summary.dataset]))
    if summary.llm:
        what = [summary.dataset, summary.llm.split("@")[0], f"captions {captions}", f"prompt {summary.prompt}"]
    items = quantity(summary.n, "item")
    counts = f"{items}: {summary.answered} answered, {summary.failed} failed, "
    counts += "scored as they stand (--extract reads them)" if summary.as_it_stands else f"{summary.unparsed} unread"
    if summary.cuts:
        counts += f" ({summary.cuts})"
    if summary.ties:
        counts += f", {summary.ties} of them ties"
    counts += f"; coverage {percent(summary.coverage)} %"
    if summary.llm:
        counts += f"; {summary.tokens['input']} tokens in, {summary.tokens['output']} out, cost {Dollars(summary.cost)}"
        if summary.captions_cost is not None:
            counts += f" (captions {Dollars(summary.captions_cost)})"
    lines = [" · ".join(what), counts]
    if summary.unfinished:
        lines.append(summary.unfinished)
    if summary.asked_again is not None:
        lines.append(f"asked again with rounds: {quantity(summary.asked_again, 'item')}, whose samples disagreed")
    if summary.served:
        lines.append(f"answers: {served_text(summary.served)}")
    if summary.captions_from:
        lines.append("captions: " + ", ".join(f"{count} {what}" for what, count in summary.captions_from.items()))
    if summary.inapplicable:
        lines.append(f"not applicable, and left out: {summary.inapplicable} more")
    if summary.readings:
        by = f"; {served_text(summary.readings.served)}" if summary.readings.served else ""
        lines.append(f"replies {summary.readings}; cost {Dollars(summary.readings.cost)}{by}")
    return "\n".join(lines) + "\n\n"


def _legend(summary: Summary) -> str:
    legend = output.SCORES
    if summary.readings:
        legend += f"\n{summary.readings.column}: by the rules' reading of a reply, or else by that model's."
    if summary.unparsed > _MANY * summary.n:
        legend += f"\n`cascade score {shlex.quote(summary.run)} --explain` says why the rules read no answer in "
        legend += f"{summary.unparsed} of {quantity(summary.n, 'item')}, which counts as wrong"
        legend += " by `mmar`" * bool(summary.readings) + f". {_advice(summary)}"
    official = summary.official_denominator
    if official is not None and summary.failed:
        legend += f"\nOver the rows that carry a prediction, as the official script counts: {percent(official)} %."
    return legend


def _advice(summary: Summary) -> str:
    """Return how to get more answers than the rules, and a second reader if there is one, read."""
    command, readings = f"`cascade read {shlex.quote(summary.run)} --reader", summary.readings
    advice = []
    if not readings:
        advice.append(f"{command} MODEL` asks a second model what these replies say")
    elif left := readings.not_asked - readings.cut + readings.failed + readings.unreadable:
        address = readings.served[-1].origin if readings.served else ""
        if address.startswith("http"):
            command = command.replace(" --reader", f" --api-base {shlex.quote(address)} --reader")
        advice.append(f"{command} {readings.name}` asks about the {quantity(left, 'reply')} that it has not read")
    if summary.llm and not summary.prompt.endswith("forced choice"):
        advice.append("--answer-as choice makes another run, in which the model can only name a choice")
    return f"{'; '.join(advice)}." if advice else ""
