"""The command `merge`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cascade.cli import options as o
from cascade.io.terminal import note, plain, quantity
from cascade.pipeline.jobs import report_failures
from cascade.runs import directory
from cascade.runs import merge as merging
from cascade.runs.call_log import JUDGE, READER, CallLog
from cascade.runs.served import count_served, served_text


def merge(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN…", help="Run directories of one identity: shards, say.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The run directory to write.")],
    same_model: o.SameModel = False,
) -> None:
    """Merge the runs of shards into one run.

    Items stand in the dataset's order. One that is in several runs is taken from the run that answered most of its
    samples; of equals, from the one named first.
    """
    merged = merging.merge(runs, out, same_model=same_model)
    typer.echo(f"{out}: {quantity(merged.items, 'item')} of {quantity(len(runs), 'run')}")
    if servers := count_served(directory.last_answers(out).values()):
        typer.echo(plain(f"answers: {served_text(servers)}"))
    if merged.shared:
        note(
            f"{quantity(merged.shared, 'item')} in several runs; {quantity(merged.conflicts, 'answer')} to them differ"
        )
    for role, command, done in ((JUDGE, "judge", "judged"), (READER, "read", "read by a model")):
        if count := sum(CallLog(run, role).exists() for run in runs):
            again = f"`cascade {command} {out} --{role} MODEL` asks anew"
            note(f"{count} of these runs were {done}, and {role}.jsonl is not merged: {again}")
    if report_failures(merged.run, again="the commands of the shards try the failed ones again; then merge once more"):
        raise typer.Exit(3)
