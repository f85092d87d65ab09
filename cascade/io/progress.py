"""The progress of a stage on stderr: a bar on a terminal, and a line now and then in a file."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from cascade.io.terminal import note

Tick = Callable[[bool], None]  # called with whether the step succeeded
Track = Callable[[str, int], AbstractContextManager[Tick]]
_PARTS, _LONGEST, _SHORTEST = 20, 30.0, 5.0  # a line for each 20th part or each 30 s, but not two within 5 s


@contextmanager
def silent(what: str, total: int) -> Iterator[Tick]:
    """Track a stage without printing."""
    yield lambda _: None


@contextmanager
def bars(what: str, total: int) -> Iterator[Tick]:
    """Track a stage of `total` steps under the name `what`; the function that it yields is called once a step."""
    pace = Pace(total)
    if not total:
        yield pace.count
    elif not sys.stderr.isatty():
        with _lines(what, pace):
            yield pace.count
    else:
        from rich import progress
        from rich.console import Console

        texts = [progress.TextColumn(text, markup=False) for text in ("{task.description}", "{task.fields[pace]}")]
        columns = (texts[0], progress.BarColumn(20), texts[1])
        with progress.Progress(*columns, console=Console(stderr=True)) as bar:
            task = bar.add_task(what, total=total, pace=pace)

            def tick(succeeded: bool) -> None:
                pace.count(succeeded)
                bar.advance(task)

            yield tick


class Pace:
    """A count of steps. As text it is the count, the rate up to the last step, and the time that is left at it.

    Replies of calls that began together arrive together, so the rate is the mean since the start.
    """

    def __init__(self, total: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.total, self.done, self.clock = total, 0, clock
        self.began = self.last = clock()

    def count(self, _: bool) -> None:
        """Count a step that is done."""
        self.done, self.last = self.done + 1, self.clock()

    def __str__(self) -> str:
        steps, waited = f"{self.done}/{self.total}", self.clock() - self.began
        if not self.done:
            return f"{steps}, {_clock(waited)} so far"
        rate = self.done / max(self.last - self.began, 1e-3)
        speed = f"{rate:.1f}/s" if rate >= 1 else f"{60 * rate:.1f}/min"
        if self.done < self.total:
            return f"{steps}, {speed}, {_clock(max(0.0, self.total / rate - waited))} left"
        return f"{steps}, {speed}, in {_clock(self.last - self.began)}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}" if minutes >= 60 else f"{minutes}:{rest:02}"


@contextmanager
def _lines(what: str, pace: Pace) -> Iterator[None]:
    """Write lines about the pace while the context lasts, and one at its end unless it was short."""
    ended, written = threading.Event(), threading.Event()

    def write() -> None:
        last, done = pace.began, 0
        while not ended.wait(min(1.0, _SHORTEST)):
            part = (pace.done - done) * _PARTS >= pace.total and pace.clock() - last >= _SHORTEST
            if part or pace.clock() - last >= _LONGEST:
                last, done = pace.clock(), pace.done
                note(f"{what}: {pace}")
                written.set()

    writer = threading.Thread(target=write, name="progress", daemon=True)
    writer.start()
    try:
        yield
    finally:
        ended.set()
        writer.join()
        if written.is_set():
            note(f"{what}: {pace}")
