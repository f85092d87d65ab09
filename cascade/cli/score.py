"""The command `score`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cascade.cli import options as o
from cascade.cli import output
from cascade.cli._scores import show
from cascade.io.terminal import note
from cascade.scoring import outcomes
from cascade.scoring.predictions import KEYS
from cascade.scoring.summary import summarize


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
    output.check_format(form)
    output.check_explain(explain, form)
    questions = o.load_questions(dataset, data)
    for place, source in enumerate(sources):
        if place and form not in ("json", "csv"):
            typer.echo()
        scored = outcomes.score_source(source, questions, read_replies=extract)
        summary = summarize(scored, by or ())
        show(summary, form, first=not place, unread=outcomes.unread_items(scored) if explain else None)
        if not summary.llm and summary.official_denominator is None:
            note(f"{source}: no row carries a prediction; the field must be one of {', '.join(KEYS)}")
