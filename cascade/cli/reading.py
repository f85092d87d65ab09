"""The commands that read: `score`, `compare`, `export`, `verify`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cascade.cli import options as o
from cascade.errors import UserError
from cascade.table import plain, words


def score(
    sources: Annotated[
        list[Path], typer.Argument(metavar="RUN|FILE…", help="Run directories, official prediction files.")
    ],
    form: o.Form = "table",
    by: o.By = None,
    extract: o.Extract = False,
    explain: Annotated[bool, typer.Option("--explain", help="List what was unread, ambiguous or failed.")] = False,
    dataset: o.Joined = None,
    data: o.Data = None,
) -> None:
    """Score runs and official prediction files.

    By the official matcher and by equality, with 95 % intervals and chance.
    """
    from cascade import marking, scoring
    from cascade.cli.scores import show

    o.known_format(form)
    if explain and form not in ("table", "json"):
        raise UserError(f"--explain goes with --format table or json, not with {form}")
    joined = o.questions(dataset, data)
    for place, source in enumerate(sources):
        if place and form not in ("json", "csv"):
            typer.echo()
        judged = marking.judged(source, joined, read_replies=extract)
        summary = scoring.summary(judged, by or ())
        show(summary, form, first=not place, unread=marking.unread(judged) if explain else None)
        if not summary.llm and summary.official_denominator is None:
            from cascade.predictions import KEYS

            o.note(f"{source}: no row carries a prediction; the field must be one of {', '.join(KEYS)}")


def compare(
    sources: Annotated[
        list[Path], typer.Argument(metavar="RUN|FILE…", help="Two run directories or prediction files; or more.")
    ],
    form: o.Form = "table",
    scorer: o.ScorerName = "mmar",
    by: o.By = None,
    flips: Annotated[bool, typer.Option("--flips", help="List the items that only one of the two gets right.")] = False,
    extract: o.Extract = False,
    dataset: o.Joined = None,
    data: o.Data = None,
    seed: o.Seed = 0,
) -> None:
    """Compare two runs item by item; more than two as a matrix.

    Exact McNemar tests, bootstrap intervals of the difference, Holm's correction within each tag.
    """
    from cascade import comparing, marking
    from cascade.cli import differences

    o.known_format(form)
    if len(sources) < 2:
        raise UserError(f"compare {sources[0]}: give another run or prediction file to compare it with")
    if len(sources) > 2 and (flips or by):
        raise UserError(f"compare: --flips and --by are for two, and {len(sources)} are given")
    joined = o.questions(dataset, data)
    judged = [marking.judged(source, joined, read_replies=extract) for source in sources]
    if len(judged) > 2:
        differences.show_matrix(comparing.matrix(judged, scorer=scorer), form)
    else:
        differences.show(comparing.compare(*judged, scorer=scorer, by=by or (), seed=seed), form, flips=flips)


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


def verify(run: Annotated[Path, typer.Argument(metavar="RUN", help="A run directory.")]) -> None:
    """Derive a run's digests, keys and prompts again.

    What does not match is named, and the exit code is 2.
    """
    from cascade import verifying

    verdict = verifying.verify(run)
    if verdict.checked:
        typer.echo(words(["file", "checked"], list(verdict.checked.items())))
    for line in verdict.unchecked:
        o.note(f"not checked: {plain(line)}")
    for line in verdict.problems:
        typer.echo(plain(line))
    if verdict.problems:
        count = len(verdict.problems)
        told = f"{count} things do not match" if count > 1 else "one thing does not match"
        o.note(f"{run}: {told}; the command that made the run mends what it can")
        raise typer.Exit(2)
    typer.echo(f"{run}: everything that was derived again matches")
