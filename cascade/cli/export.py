"""The command `export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cascade.cli.output import note_unfinished
from cascade.runs.directory import read_run
from cascade.scoring import export as predictions
from cascade.scoring import outcomes
from cascade.scoring.summary import summarize


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run directory.")],
    benchmark: Annotated[
        str | None, typer.Option("--benchmark", metavar="mmar|mmau", help="Whose file (else the run's dataset's).")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="The file (else predictions.jsonl or .json in RUN); - is stdout."),
    ] = None,
) -> None:
    """Write the official prediction file of a run.

    Every item is in it, with its choice verbatim or nothing.
    """
    if str(out) == "-":
        typer.echo(predictions.prediction_file(read_run(run), benchmark)[1], nl=False)
    else:
        typer.echo(predictions.export(run, benchmark, out))
    summary = summarize(outcomes.score_source(run))
    note_unfinished(summary.run, summary.not_asked, summary.n * summary.samples, "without a prediction in the file")
