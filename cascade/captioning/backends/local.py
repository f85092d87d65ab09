"""Captioners in this process: batch after batch, or clip by clip in several threads.

A batch that fails is halved and tried again, down to single clips: a bad clip costs one failure, and a batch that needs
too much memory succeeds in smaller parts.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from queue import SimpleQueue
from threading import Event, Thread
from typing import Any

from cascade.captioners.registry import Engine
from cascade.errors import ItemError, UserError
from cascade.io.digests import canonical, digest_path
from cascade.io.jsonl import to_json
from cascade.types import Caption, Captioner, CaptionerSpec, Failure, Host
from cascade.version import __version__

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
    captions: list[Caption | Failure] = []
    try:
        for caption in captioner(clips):
            has_text = isinstance(caption, Caption) and isinstance(caption.text, str)
            if not has_text and not isinstance(caption, Failure):
                raise TypeError(f"a caption with a text is needed, not {str(caption)[:60]!r}")
            canonical(to_json(caption))  # raises TypeError or ValueError for what is not JSON
            captions.append(caption)
        if len(captions) != len(clips):
            raise ValueError(f"{len(captions)} captions for {len(clips)} clip{'s' * (len(clips) > 1)}")
    except UserError:
        raise
    except Exception as error:  # noqa: BLE001 - an engine may raise anything; a bad clip costs one failure, not the run
        captions = []
        if isinstance(error, ItemError):
            captions = [error.failure()]
        elif len(clips) == 1:
            captions = [Failure(kind="engine", message=f"{clips[0].name}: {type(error).__name__}: {error}")]
    if len(captions) == len(clips):
        yield from zip(clips, captions, strict=True)
        return
    # The retry is outside the except block: while an error is handled, its traceback keeps the batch's GPU memory.
    half = len(clips) // 2
    for part in (clips[:half], clips[half:]):
        yield from _caption_batch(captioner, part)


# Captioners in a process of their own, on any node: what a worker of the `ray` backend does


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """A clip as it is sent to a worker: its path, size and modification time on the driver's disk, or its bytes too."""

    path: Path
    size: int
    modified_ns: int
    content: bytes | None = None

    def is_here(self) -> bool:
        """Return whether the driver's file is on this machine's disk, too."""
        try:
            status = self.path.stat()
        except OSError:
            return False
        return (status.st_size, status.st_mtime_ns) == (self.size, self.modified_ns)


class Worker:
    """An engine, built once in a process of its own.

    A fault that the user must mend is returned as text, so that the driver need not have the exception's class.
    """

    _captioner: Captioner

    def build(self, spec: CaptionerSpec, host: Host, version: str) -> str:
        """Build the engine; return what prevents it, or `""`."""
        # Ray sets it to 1 for a worker of one CPU: libraries then compute other sums than in the driver's process.
        os.environ.pop("OMP_NUM_THREADS", None)
        if __version__ != version:
            return f"has cascade {__version__}, and {version} is asking: install the same there"
        try:
            host = replace(host, files=_locate_files(spec, host))
            engine = Engine(spec.name)
            self._captioner = engine.build(spec, host)
            self._threads, self._batch = engine.workers(spec, host), host.batch
        except UserError as error:
            return str(error)
        return ""

    def caption(self, clips: Sequence[Clip]) -> Sequence[Caption | Failure] | str | None:
        """Return a result for each clip, the user's mistake as text, or None where the clips' bytes are needed."""
        with tempfile.TemporaryDirectory(prefix="cascade-") as folder:
            paths: list[Path] = []
            for number, clip in enumerate(clips):
                path = clip.path
                if clip.content is not None:
                    path = Path(folder, str(number), clip.path.name)
                    path.parent.mkdir()
                    path.write_bytes(clip.content)
                elif not clip.is_here():
                    return None
                paths.append(path)
            try:
                results = dict(caption_clips(self._captioner, paths, self._batch, self._threads))
            except UserError as error:
                return str(error)
        return [results[path] for path in paths]


def _locate_files(spec: CaptionerSpec, host: Host) -> dict[str, Path]:
    """Return where the files that a spec names are on this machine, by digest.

    Raises UserError for a file that is not on this machine, or has another digest.
    """
    shipped = Engine(spec.name).files
    files: dict[str, Path] = {}
    for key in shipped:
        digest = str(spec.params.get(key))
        if digest not in host.files:
            continue
        for path in (host.files[digest], shipped[key]):
            if path and path.exists() and digest_path(path) == digest:
                files[digest] = path
                break
        else:
            raise UserError(f"{spec.slot}.{key}: {host.files[digest]} is not there, or is another file")
    return files
