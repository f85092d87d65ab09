"""The commands that read: `score`, `compare`, `export`, `verify`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cascade.cli import options as o
from cascade.cli import output
from cascade.io.terminal import note


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
    from cascade.cli._scores import show
    from cascade.scoring import outcomes
    from cascade.scoring.summary import summarize

    output.check_format(form)
    output.check_explain(explain, form)
    joined = o.load_questions(dataset, data)
    for place, source in enumerate(sources):
        if place and form not in ("json", "csv"):
            typer.echo()
        judged = outcomes.score_source(source, joined, read_replies=extract)
        summary = summarize(judged, by or ())
        show(summary, form, first=not place, unread=outcomes.unread_items(judged) if explain else None)
        if not summary.llm and summary.official_denominator is None:
            from cascade.scoring.predictions import KEYS

            note(f"{source}: no row carries a prediction; the field must be one of {', '.join(KEYS)}")
