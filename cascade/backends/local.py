"""Captioners in this process: a batch at a time, or clip by clip in lanes, each a thread of its own.

A batch that fails is tried again clip by clip.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from queue import SimpleQueue
from threading import Event, Thread

from cascade import captioners
from cascade.errors import ItemError, UserError
from cascade.types import Caption, Captioner, CaptionerSpec, Failure, Host

_Result = tuple[Path, Caption | Failure]


def run(spec: CaptionerSpec, host: Host, clips: Sequence[Path]) -> Iterator[_Result]:
    """Each clip with its caption, or with what went wrong with it."""
    captioner = captioners.build(spec, host)
    lanes = captioners.lanes(spec, host)
    try:
        if lanes:
            yield from _side_by_side(captioner, clips, lanes)
        else:
            for start in range(0, len(clips), host.batch):
                yield from _batch(captioner, clips[start : start + host.batch])
    finally:
        getattr(captioner, "close", lambda: None)()


def _side_by_side(captioner: Captioner, clips: Sequence[Path], lanes: int) -> Iterator[_Result]:
    """Each clip by a call of its own, as it is done; what is in flight when the caller leaves is left behind."""
    coming, done, left = iter(clips), SimpleQueue[_Result | UserError](), Event()

    def lane() -> None:
        try:
            for clip in coming:  # a list's iterator hands each clip to one thread
                if left.is_set():
                    return
                for result in _batch(captioner, [clip]):
                    done.put(result)
        except UserError as error:
            done.put(error)

    # Daemons: a call that waits for a server must not hold the process when its user wants to leave.
    for number in range(min(lanes, len(clips))):
        Thread(target=lane, name=f"lane-{number}", daemon=True).start()
    try:
        for _ in clips:
            result = done.get()
            if isinstance(result, UserError):
                raise result
            yield result
    finally:
        left.set()


def _batch(captioner: Captioner, clips: Sequence[Path]) -> Iterator[_Result]:
    try:
        captions = captioner(clips)
    except UserError:
        raise
    except Exception as error:  # noqa: BLE001 - an engine may raise anything; a bad clip costs one failure, not the run
        if len(clips) > 1:
            for clip in clips:
                yield from _batch(captioner, [clip])
            return
        captions = [_failure(error, clips[0])]
    yield from zip(clips, captions, strict=True)


def _failure(error: Exception, clip: Path) -> Failure:
    if isinstance(error, ItemError):
        return error.failure()
    return Failure(kind="engine", message=f"{clip.name}: {type(error).__name__}: {error}")
