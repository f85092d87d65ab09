"""The command `export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cascade.scoring import export as predictions


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
    typer.echo(predictions.export(run, benchmark, out))
