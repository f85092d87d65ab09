"""The command `verify`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cascade.analysis import verify as verification
from cascade.io.tables import format_words
from cascade.io.terminal import note, plain


def verify(run: Annotated[Path, typer.Argument(metavar="RUN", help="A run directory.")]) -> None:
    """Derive a run's digests, keys and prompts again.

    What does not match is named, and the exit code is 2.
    """
    verdict = verification.verify(run)
    if verdict.checked:
        typer.echo(format_words(["file", "checked"], list(verdict.checked.items())))
    for line in verdict.unchecked:
        note(f"not checked: {plain(line)}")
    for line in verdict.problems:
        typer.echo(plain(line))
    if verdict.problems:
        count = len(verdict.problems)
        problems = {1: "one thing does not match"}.get(count, f"{count} things do not match")
        note(f"{run}: {problems}; the command that made the run goes on once that is restored")
        raise typer.Exit(2)
    typer.echo(f"{run}: everything that was derived again matches")
