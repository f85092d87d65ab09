"""How far a stage is: a bar on stderr with rate and time left, and nothing where stderr is no terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

Tick = Callable[[], None]
Track = Callable[[str, int], AbstractContextManager[Tick]]


@contextmanager
def silent(what: str, total: int) -> Iterator[Tick]:
    """Yield a tick that shows nothing."""
    yield lambda: None


@contextmanager
def bars(what: str, total: int) -> Iterator[Tick]:
    """Show a stage of `total` steps under the name `what`; yields the tick that is called once a step."""
    if not sys.stderr.isatty() or not total:
        yield lambda: None
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

        def tick() -> None:
            speed = shown.tasks[0].speed
            shown.update(task, advance=1, rate=f"{speed:.1f}/s" if speed else "")

        yield tick
