"""Captioners in this process: batch after batch, or clip by clip in several threads.

A batch that fails is halved and tried again, down to single clips: a bad clip costs one failure, and a batch that needs
too much memory succeeds in smaller parts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from queue import SimpleQueue
from threading import Event, Thread
from typing import Any

from cascade.captioners.registry import Engine
from cascade.errors import ItemError, UserError
from cascade.io.digests import canonical
from cascade.io.jsonl import to_json
from cascade.types import Caption, Captioner, CaptionerSpec, Failure, Host

_Result = tuple[Any, Caption | Failure]  # a clip, or a `CaptionInput`


def run(spec: CaptionerSpec, host: Host, clips: Sequence[Any]) -> Iterator[_Result]:
    """Yield each clip with its caption or failure."""
    engine = Engine(spec.name)
    captioner = engine.build(spec, host)
    try:
        yield from caption_clips(captioner, clips, host.batch, engine.workers(spec, host))
    finally:
        getattr(captioner, "close", lambda: None)()


def caption_clips(captioner: Captioner, clips: Sequence[Any], batch: int, threads: int) -> Iterator[_Result]:
    """Yield each clip with its caption or failure: `batch` clips a call, or with `threads` one clip a call in each."""
    if threads:
        yield from caption_in_threads(captioner, clips, threads)
    else:
        for start in range(0, len(clips), batch):
            yield from _caption_batch(captioner, clips[start : start + batch])


def caption_in_threads(captioner: Captioner, clips: Sequence[Any], threads: int) -> Iterator[_Result]:
    """Yield each clip with its caption or failure as it is done; abandon calls in flight when the caller stops."""
    remaining, results, stopped = iter(clips), SimpleQueue[_Result | BaseException](), Event()

    def work() -> None:
        try:
            for clip in remaining:  # a list's iterator gives each clip to one thread
                if stopped.is_set():
                    return
                for result in _caption_batch(captioner, [clip]):
                    results.put(result)
        except BaseException as error:  # noqa: BLE001 - without it the caller would wait for this clip for ever
            results.put(error)

    # Daemon threads: a call that waits for a server must not keep the process from exiting.
    for number in range(min(threads, len(clips))):
        Thread(target=work, name=f"captioner-{number}", daemon=True).start()
    try:
        for _ in clips:
            result = results.get()
            if isinstance(result, BaseException):
                raise result
            yield result
    finally:
        stopped.set()


def _caption_batch(captioner: Captioner, clips: Sequence[Any]) -> Iterator[_Result]:
    """Yield each clip with its caption or failure; clips that fail together are halved and tried again."""
    captions = _attempt(captioner, clips)
    if captions is not None:
        yield from zip(clips, captions, strict=True)
        return
    # The retry is outside the except block: while an error is handled, its traceback keeps the batch's GPU memory.
    half = len(clips) // 2
    for part in (clips[:half], clips[half:]):
        yield from _caption_batch(captioner, part)


def _attempt(captioner: Captioner, clips: Sequence[Any]) -> Sequence[Caption | Failure] | None:
    """Return a result for each clip, fit to be stored; None where several clips failed together."""
    try:
        captions: list[Caption | Failure] = []
        for caption in captioner(clips):
            has_text = isinstance(caption, Caption) and isinstance(caption.text, str)
            if not has_text and not isinstance(caption, Failure):
                raise TypeError(f"a caption with a text is needed, not {str(caption)[:60]!r}")
            canonical(to_json(caption))  # raises TypeError or ValueError for what is not JSON
            captions.append(caption)
        if len(captions) != len(clips):
            raise ValueError(f"{len(captions)} captions for {len(clips)} clip{'s' * (len(clips) > 1)}")
        return captions
    except UserError:
        raise
    except Exception as error:  # noqa: BLE001 - an engine may raise anything; a bad clip costs one failure, not the run
        if len(clips) > 1:
            return None
        if isinstance(error, ItemError):
            return [error.failure()]
        return [Failure(kind="engine", message=f"{clips[0].name}: {type(error).__name__}: {error}")]
