"""The commands that read: `score`, `export`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cascade.cli import options as o

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cascade.scoring import ScorerResult, Summary
    from cascade.stats import Rate
    from cascade.types import Dataset

_FORMATS = ("table", "json", "md", "csv", "latex")


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.command()(score)
    app.command()(export)


def score(
    sources: Annotated[
        list[Path], typer.Argument(metavar="RUN|FILE…", help="Run directories, official prediction files.")
    ],
    form: Annotated[
        str, typer.Option("--format", metavar="|".join(_FORMATS), help="How to print the scores.")
    ] = "table",
    by: o.By = None,
    extract: Annotated[bool, typer.Option("--extract", help="Read a file's replies first, as a run's are.")] = False,
    dataset: Annotated[
        str | None, typer.Option("--dataset", metavar="NAME|FILE", help="The questions of a file that has ids alone.")
    ] = None,
    data: o.Data = None,
) -> None:
    """Score runs and official prediction files.

    By the official matcher and by equality, with 95 % intervals and chance.
    """
    from cascade import scoring
    from cascade.errors import UnknownName

    if form not in _FORMATS:
        raise UnknownName("format", form, _FORMATS)
    joined = _questions(dataset, data) if dataset else None
    for place, source in enumerate(sources):
        if place and form not in ("json", "csv"):
            typer.echo()
        summary = scoring.score(source, joined, read_replies=extract, by=by or ())
        show(summary, form, first=not place)
        if not summary.llm and summary.official_denominator is None:
            from cascade.predictions import KEYS

            o.note(f"{source}: no row carries a prediction; the field must be one of {', '.join(KEYS)}")


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run directory.")],
    benchmark: Annotated[
        str | None, typer.Option("--benchmark", metavar="mmar|mmau", help="Whose file (else the run's dataset's).")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="The file (else predictions.jsonl or .json in RUN).")
    ] = None,
) -> None:
    """Write the official prediction file of a run.

    Every item is in it, with its choice verbatim or nothing.
    """
    from cascade import exporting

    typer.echo(exporting.export(run, benchmark, out))


def _questions(name: str, data: Path | None) -> Dataset:
    from cascade import datasets

    return datasets.load(name, data)


def show(summary: Summary, form: str, *, first: bool = True) -> None:
    """Print a summary to stdout in one of the formats; several CSVs share the header of the first."""
    if form == "json":
        from cascade.codec import to_json
        from cascade.jsonl import dumps

        typer.echo(dumps(to_json(summary)))
        return
    from cascade.table import render

    rows = {"table": _people, "csv": _machines}.get(form, _paper)(summary)
    if form == "table":
        typer.echo(_title(summary))
    text = render(rows[0], rows[1:], "text" if form == "table" else form)
    typer.echo(text if first or form != "csv" else text.partition("\n")[2], nl=False)
    if form == "table":
        typer.echo(_legend(summary))


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
    return f"{told}\n{counts}; coverage {_percent(summary.coverage)} %{money}\n"


def _money(summary: Summary) -> str:
    tokens = f"{summary.tokens['input']} + {summary.tokens['output']} tokens"
    captions = f" (captions ${summary.captions_cost:.4f})" if summary.captions_cost is not None else ""
    return f"{tokens}, cost {'unknown' if summary.cost is None else f'${summary.cost:.4f}'}{captions}"


def _legend(summary: Summary) -> str:
    lines = ["", "mmar: the official matcher; strict: equality with the gold choice. 95 % Wilson intervals."]
    official = summary.official_denominator
    if official is not None and summary.failed:
        lines.append(f"Over the rows that carry a prediction, as the official script counts: {_percent(official)} %.")
    return "\n".join(lines)


def _people(summary: Summary) -> list[list[str]]:
    rows = [["", "n", *(head for name in summary.scores for head in (name, "95 %"))]]
    chance = [part for name in summary.scores for part in (_percent(summary.chance[name]), "")]
    rows.append(_row(_whole(summary), summary.n, list(summary.scores.values())))
    rows += [_row(name, rates[0].n, rates) for name, rates in _sampled(summary)]
    rows.append(["chance", "", *chance])
    for tag, value, rates in _breakdown(summary):
        if value is None:
            rows.append([tag, *[""] * (len(rows[0]) - 1)])
        else:
            rows.append(_row(f"  {value}", rates[0].n, rates))
    return rows


def _whole(summary: Summary) -> str:
    return f"all: vote of {summary.samples}" if summary.samples > 1 else "all"


def _sampled(summary: Summary) -> list[tuple[str, list[Rate]]]:
    """(name, each scorer's rate) of the mean, of pass@k, and, where choices were shuffled, by the gold one's place."""
    results = list(summary.scores.values())
    first = results[0]
    named = {k: "mean of samples" if k == "1" else f"pass@{k}" for k in first.pass_at}
    rows = [(name, [result.pass_at[k] for result in results]) for k, name in named.items()]
    places = first.by_gold_position if summary.shuffled else {}
    return rows + [(f"gold at {place}", [result.by_gold_position[place] for result in results]) for place in places]


def _paper(summary: Summary) -> list[list[str]]:
    """One table without groups, under the run's name, each row saying which tag it is of."""
    rows = [[Path(summary.run).name, "n", *(head for name in summary.scores for head in (name, "95 %"))]]
    rows.append(_row(_whole(summary), summary.n, list(summary.scores.values())))
    rows += [_row(name, rates[0].n, rates) for name, rates in _sampled(summary)]
    rows.append(["chance", "", *(part for name in summary.scores for part in (_percent(summary.chance[name]), ""))])
    unanswered = {"failed": summary.failed, "unread": summary.unparsed}
    rows += [[name, str(count), *[""] * (len(rows[0]) - 2)] for name, count in unanswered.items()]
    rows += [
        _row(f"{tag}: {value}", rates[0].n, rates) for tag, value, rates in _breakdown(summary) if value is not None
    ]
    return rows


def _row(name: str, n: int, rates: list[Rate] | list[ScorerResult]) -> list[str]:
    return [name, str(n), *(cell for rate in rates for cell in (_percent(rate.accuracy), _interval(rate)))]


def _machines(summary: Summary) -> list[list[str]]:
    """Unrounded shares, a row a value of a tag."""
    rows = [["run", "tag", "value", "n", *(f"{name}{end}" for name in summary.scores for end in ("", "_low", "_high"))]]
    rows.append([summary.run, "", "", str(summary.n), *_shares(list(summary.scores.values()))])
    rows += [[summary.run, name, "", str(rates[0].n), *_shares(rates)] for name, rates in _sampled(summary)]
    chance = [part for name in summary.scores for part in (repr(summary.chance[name]), "", "")]
    rows.append([summary.run, "chance", "", str(summary.n), *chance])
    unanswered = {"failed": summary.failed, "unread": summary.unparsed}
    rows += [[summary.run, name, "", str(count), *[""] * len(chance)] for name, count in unanswered.items()]
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


def _percent(share: float) -> str:
    return f"{100 * share:.2f}"


def _interval(rate: Rate | ScorerResult) -> str:
    return f"{100 * rate.ci95[0]:.1f}-{100 * rate.ci95[1]:.1f}"
