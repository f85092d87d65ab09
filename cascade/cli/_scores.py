"""How scores are shown: for people, for papers, for machines."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from cascade.cli import output
from cascade.io.figures import interval, percent
from cascade.io.tables import format_table, format_words
from cascade.io.terminal import prose

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cascade.scoring.outcomes import UnreadItem
    from cascade.scoring.statistics import Rate
    from cascade.scoring.summary import ScorerResult, Summary


def show(summary: Summary, form: str, *, first: bool = True, unread: Sequence[UnreadItem] | None = None) -> None:
    """Print a summary to stdout in one of the formats; several CSVs share the header of the first.

    `unread`, where given, are listed after it.
    """
    if form == "json":
        from cascade.io.jsonl import to_json

        output.echo_json({**to_json(summary), **({} if unread is None else {"unread": unread})})
        return
    rows = _machines(summary) if form == "csv" else _rows(summary, nested=form == "table")
    if form == "table":
        typer.echo(_title(summary))
    text = format_table(rows[0], rows[1:], form)
    typer.echo(text if first or form != "csv" else text.partition("\n")[2], nl=False)
    if form == "table":
        typer.echo(prose(_legend(summary)))
    if unread is not None:
        told = [[one.item, one.why, one.said] for one in unread]
        typer.echo(
            "\n" + (format_words(["item", "why", "said"], told) if told else "Every reply was read.\n"), nl=False
        )


def _title(summary: Summary) -> str:
    """What was run, and what became of its items."""
    captions = " ".join(f"{slot}={name}" for slot, name in summary.captions.items()) or "none"
    what = [summary.dataset, summary.llm.split("@")[0], f"captions {captions}", f"prompt {summary.prompt}"]
    told = " · ".join(what) if summary.llm else f"{summary.run}{f' · {summary.dataset}' if summary.dataset else ''}"
    cut = f" ({summary.truncated} cut at the token limit)" if summary.truncated else ""
    tied = f", {summary.ties} of them ties" if summary.ties else ""
    counts = f"{summary.n} items: {summary.answered} answered, {summary.failed} failed, {summary.unparsed} unread{cut}"
    counts += tied
    money = f"; {_money(summary)}" if summary.llm else ""
    return f"{told}\n{counts}; coverage {percent(summary.coverage)} %{money}\n"


def _money(summary: Summary) -> str:
    tokens = f"{summary.tokens['input']} tokens in, {summary.tokens['output']} out"
    captions = f" (captions ${summary.captions_cost:.4f})" if summary.captions_cost is not None else ""
    return f"{tokens}, cost {'unknown' if summary.cost is None else f'${summary.cost:.4f}'}{captions}"


def _legend(summary: Summary) -> str:
    lines = ["", "mmar: the official matcher; strict: equality with the gold choice. 95 % Wilson intervals."]
    official = summary.official_denominator
    if official is not None and summary.failed:
        lines.append(f"Over the rows that carry a prediction, as the official script counts: {percent(official)} %.")
    return "\n".join(lines)


def _rows(summary: Summary, *, nested: bool) -> list[list[str]]:
    """A row a value of a tag; `nested` groups them under the tag, otherwise each says its tag, under the run's name."""
    rows = [
        ["" if nested else Path(summary.run).name, "n", *(head for name in summary.scores for head in (name, "95 %"))]
    ]
    whole = f"all: vote of {summary.samples}" if summary.samples > 1 else "all"
    rows.append(_row(whole, summary.n, list(summary.scores.values())))
    rows += [_row(name, rates[0].n, rates) for name, rates in _sampled(summary)]
    rows.append(["chance", "", *(part for name in summary.scores for part in (percent(summary.chance[name]), ""))])
    empty = [""] * len(rows[0])
    if not nested:
        rows += [[name, str(count), *empty[2:]] for name, count in _unanswered(summary).items()]
    for tag, value, rates in _breakdown(summary):
        if value is not None:
            rows.append(_row(f"  {value}" if nested else f"{tag}: {value}", rates[0].n, rates))
        elif nested:
            rows.append([tag, *empty[1:]])
    return rows


def _unanswered(summary: Summary) -> dict[str, int]:
    return {"failed": summary.failed, "unread": summary.unparsed}


def _sampled(summary: Summary) -> list[tuple[str, list[Rate]]]:
    """(name, each scorer's rate) of the mean, of pass@k, and, where choices were shuffled, by the gold one's place."""
    results = list(summary.scores.values())
    first = results[0]
    named = {k: "mean of samples" if k == "1" else f"pass@{k}" for k in first.pass_at}
    rows = [(name, [result.pass_at[k] for result in results]) for k, name in named.items()]
    places = first.by_gold_position if summary.shuffled else {}
    return rows + [(f"gold at {place}", [result.by_gold_position[place] for result in results]) for place in places]


def _row(name: str, n: int, rates: list[Rate] | list[ScorerResult]) -> list[str]:
    return [name, str(n), *(cell for rate in rates for cell in (percent(rate.accuracy), interval(rate)))]


def _machines(summary: Summary) -> list[list[str]]:
    """Unrounded shares, a row a value of a tag."""
    rows = [["run", "tag", "value", "n", *(f"{name}{end}" for name in summary.scores for end in ("", "_low", "_high"))]]
    rows.append([summary.run, "", "", str(summary.n), *_shares(list(summary.scores.values()))])
    rows += [[summary.run, name, "", str(rates[0].n), *_shares(rates)] for name, rates in _sampled(summary)]
    by_chance = [part for name in summary.scores for part in (repr(summary.chance[name]), "", "")]
    rows.append([summary.run, "chance", "", str(summary.n), *by_chance])
    empty = [""] * len(by_chance)
    rows += [[summary.run, name, "", str(count), *empty] for name, count in _unanswered(summary).items()]
    for tag, value, rates in _breakdown(summary):
        if value is not None:
            rows.append([summary.run, tag, value, str(rates[0].n), *_shares(rates)])
    return rows


def _shares(rates: list[Rate] | list[ScorerResult]) -> list[str]:
    return [repr(share) for rate in rates for share in (rate.accuracy, *rate.ci95)]


def _breakdown(summary: Summary) -> Iterator[tuple[str, str | None, list[Rate]]]:
    """(tag, value, each scorer's rate); before a tag's values once with None for the value."""
    results = list(summary.scores.values())
    for tag in results[0].by:
        yield tag, None, []
        for value in results[0].by[tag]:
            yield tag, value, [result.by[tag][value] for result in results]
