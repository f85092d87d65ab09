"""The progress of a stage: a bar on stderr with rate and time left, and nothing where stderr is no terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

Tick = Callable[[bool], None]  # called with whether the step succeeded
Track = Callable[[str, int], AbstractContextManager[Tick]]


@contextmanager
def silent(what: str, total: int) -> Iterator[Tick]:
    """Track a stage without printing."""
    yield lambda _: None


@contextmanager
def bars(what: str, total: int) -> Iterator[Tick]:
    """Track a stage of `total` steps under the name `what`; the function that it yields is called once a step."""
    if not sys.stderr.isatty() or not total:
        yield lambda _: None
        return
    from rich import progress
    from rich.console import Console

    columns = (
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TextColumn("{task.fields[rate]}"),
        progress.TimeRemainingColumn(elapsed_when_finished=True),
    )
    with progress.Progress(*columns, console=Console(stderr=True)) as shown:
        task = shown.add_task(what, total=total, rate="")

        def tick(_: bool) -> None:
            rate = ""
            if speed := shown.tasks[0].speed:
                rate = f"{speed:.1f}/s"
            shown.update(task, advance=1, rate=rate)

        yield tick
