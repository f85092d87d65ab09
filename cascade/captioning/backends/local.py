"""Captioners in this process: a batch at a time, or clip by clip in lanes, each a thread of its own.

A batch that fails is halved and tried again, down to single clips: a bad clip costs one failure, and what was too much
for the memory at once is not too much in parts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from queue import SimpleQueue
from threading import Event, Thread

from cascade.captioners import registry
from cascade.errors import ItemError, UserError
from cascade.io.digests import canonical
from cascade.io.jsonl import to_json
from cascade.types import Caption, Captioner, CaptionerSpec, Failure, Host

_Result = tuple[Path, Caption | Failure]


def run(spec: CaptionerSpec, host: Host, clips: Sequence[Path]) -> Iterator[_Result]:
    """Each clip with its caption, or with what went wrong with it."""
    captioner = registry.build(spec, host)
    try:
        yield from caption_clips(captioner, clips, host.batch, registry.lanes(spec, host))
    finally:
        getattr(captioner, "close", lambda: None)()


def caption_clips(captioner: Captioner, clips: Sequence[Path], batch: int, lanes: int) -> Iterator[_Result]:
    """Each clip with its caption, or with what went wrong: a batch at a time, or with `lanes` so many side by side."""
    if lanes:
        yield from _side_by_side(captioner, clips, lanes)
    else:
        for start in range(0, len(clips), batch):
            yield from _batch(captioner, clips[start : start + batch])


def _side_by_side(captioner: Captioner, clips: Sequence[Path], lanes: int) -> Iterator[_Result]:
    """Each clip by a call of its own, as it is done; what is in flight when the caller leaves is left behind."""
    coming, done, left = iter(clips), SimpleQueue[_Result | BaseException](), Event()

    def lane() -> None:
        try:
            for clip in coming:  # a list's iterator hands each clip to one thread
                if left.is_set():
                    return
                for result in _batch(captioner, [clip]):
                    done.put(result)
        except BaseException as error:  # noqa: BLE001 - whoever waits for this lane's clips would wait for ever
            done.put(error)

    # Daemons: a call that waits for a server must not hold the process when its user wants to leave.
    for number in range(min(lanes, len(clips))):
        Thread(target=lane, name=f"lane-{number}", daemon=True).start()
    try:
        for _ in clips:
            result = done.get()
            if isinstance(result, BaseException):
                raise result
            yield result
    finally:
        left.set()


def _batch(captioner: Captioner, clips: Sequence[Path]) -> Iterator[_Result]:
    captions = _attempt(captioner, clips)
    if captions is not None:
        yield from zip(clips, captions, strict=True)
        return
    # Not where the error is caught: until that is left, it holds whatever the batch had on the GPU.
    half = len(clips) // 2
    for part in (clips[:half], clips[half:]):
        yield from _batch(captioner, part)


def _attempt(captioner: Captioner, clips: Sequence[Path]) -> Sequence[Caption | Failure] | None:
    """The clips' captions; None where several failed together, of which none need be to blame."""
    try:
        return _whole(captioner(clips), len(clips))
    except UserError:
        raise
    except Exception as error:  # noqa: BLE001 - an engine may raise anything; a bad clip costs one failure, not the run
        return [_failure(error, clips[0])] if len(clips) == 1 else None


def _whole(captions: Iterable[object], count: int) -> list[Caption | Failure]:
    """One caption a clip, each fit to be kept. Raises ValueError or TypeError where an engine gave anything else."""
    found: list[Caption | Failure] = []
    for one in captions:
        if not isinstance(one, Failure) and not (isinstance(one, Caption) and isinstance(one.text, str)):
            raise TypeError(f"a caption with a text is needed, not {str(one)[:60]!r}")
        canonical(to_json(one))
        found.append(one)
    if len(found) != count:
        raise ValueError(f"{len(found)} captions for {count} clip{'s' * (count > 1)}")
    return found


def _failure(error: Exception, clip: Path) -> Failure:
    if isinstance(error, ItemError):
        return error.failure()
    return Failure(kind="engine", message=f"{clip.name}: {type(error).__name__}: {error}")
