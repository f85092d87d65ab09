"""The command `merge`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cascade.io.terminal import note
from cascade.pipeline.jobs import report_failures
from cascade.runs import judge_log
from cascade.runs import merge as merging


def merge(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN…", help="Run directories of one identity: shards, say.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The run directory to write.")],
) -> None:
    """Merge the runs of shards into one run.

    Items stand in the dataset's order. One that is in several runs is taken from the run that answered most of its
    samples; of equals, from the one named first.
    """
    merged = merging.merge(runs, out)
    typer.echo(f"{out}: {merged.items} items of {len(runs)} runs")
    if merged.shared:
        note(f"{merged.shared} items were in several runs, {merged.conflicts} of them with different answers")
    if judged := sum((run / judge_log.FILE).exists() for run in runs):
        note(f"{judged} of these runs were judged, and {judge_log.FILE} is not merged: `cascade judge {out}` asks anew")
    if report_failures(merged.run):
        raise typer.Exit(3)
