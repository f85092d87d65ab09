"""`cascade merge`: the runs of shards as one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cascade.cli import options as o


def merge(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN…", help="Run directories of one identity: shards, say.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The run directory to write.")],
) -> None:
    """Make one run of the runs of shards.

    Items stand in the dataset's order. One that is in several runs is taken from the run that answered most of its
    samples; of equals, from the one named first.
    """
    from cascade import judgements, merging
    from cascade.cli.requests import complain

    done = merging.merge(runs, out)
    typer.echo(f"{out}: {done.items} items of {len(runs)} runs")
    if done.shared:
        o.note(f"{done.shared} items were in several runs, {done.conflicts} of them with different answers")
    if judged := sum((run / judgements.FILE).exists() for run in runs):
        o.note(
            f"{judged} of these runs were judged, and {judgements.FILE} is not merged: `cascade judge {out}` asks anew"
        )
    if complain(done.run):
        raise typer.Exit(3)
