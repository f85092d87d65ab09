"""The windows of 7 s that the CLAP engines take, several at a time.

Clips are decoded by us, mixed to mono and resampled to 44.1 kHz, and read in consecutive windows of 7 s from the start;
msclap takes one random 7 s of the channels laid end to end. A last window that is shorter is repeated to fill 7 s, as
msclap does; shorter than half a second, after others, it is left out.

What is computed together never depends on the batch neighbours: on a processor the windows of one clip, up to eight, by
one thread; on a GPU the windows of all clips, always sixteen, the last one repeated where there are fewer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby, islice
from operator import itemgetter
from pathlib import Path
from typing import Any

from cascade.captioners import torch_device
from cascade.captioners.clap.model import Clap
from cascade.errors import ClipError
from cascade.io import audio
from cascade.types import Caption, Failure

RATE = 44_100  # Hz
WINDOW = 7 * RATE  # samples
SHORTEST = RATE // 2  # samples
TOGETHER = 8  # windows of a clip on a processor, at most
ROWS = 16  # windows on a GPU, always

_Window = tuple[int, float, float, "audio.Samples"]  # the clip's number, start and end in seconds, samples
Results = Sequence[tuple[float, float, Any]]  # start and end in seconds of each window, and what the model returned


@dataclass(slots=True)
class _ClipResult:
    """The results of a clip's windows; `seconds` is the time they took.

    `decoding` is the part of `meta` that says what is not as in the file.
    """

    windows: list[tuple[float, float, Any]] = field(default_factory=list)
    seconds: float = 0.0
    decoding: dict[str, Any] = field(default_factory=dict)
    failure: Failure | None = None


def caption_windows(
    clips: Sequence[Path],
    clap: Clap,
    model: Callable[[audio.Samples], Sequence[Any]],
    describe: Callable[[Results], tuple[str, dict[str, Any]]],
) -> list[Caption | Failure]:
    """Return a caption of each clip from what `model` returns for samples of shape (windows, `WINDOW`).

    `describe` returns the text of a clip and fields of its `meta`. If the shape must stay fixed (`clap.fixed`), `model`
    gets `ROWS` windows of several clips at once; otherwise it gets the windows of one clip.
    """
    import numpy as np

    results = [_ClipResult() for _ in clips]
    groups = _groups(_read(clips, results), across_clips=clap.fixed)
    if clap.fixed:
        groups = torch_device.prefetch(groups, 2)
    began = time.perf_counter()
    for group in groups:
        samples = [samples for _, _, _, samples in group]
        if clap.fixed:
            samples += samples[-1:] * (ROWS - len(samples))
        for (number, start, end, _), value in zip(group, model(np.stack(samples)), strict=False):
            results[number].windows.append((start, end, value))
            results[number].seconds += (time.perf_counter() - began) / len(group)
        began = time.perf_counter()
    captions: list[Caption | Failure] = []
    for result in results:
        if result.failure:
            captions.append(result.failure)
            continue
        text, facts = describe(result.windows)
        meta = {"duration_s": round(result.windows[-1][1], 3), **facts, "seconds": round(result.seconds, 3)}
        captions.append(Caption(text=text, meta={**meta, **clap.about, **result.decoding}))
    return captions


def _read(clips: Sequence[Path], results: list[_ClipResult]) -> Iterator[_Window]:
    """Yield the windows of all clips; write the failures of bad clips to `results`."""
    for number, clip in enumerate(clips):
        try:
            blocks = audio.blocks(clip, RATE, WINDOW / RATE)
            for window in windows(blocks):
                yield number, *window
            results[number].decoding = blocks.meta
        except ClipError as error:
            results[number].failure = error.failure()


def _groups(read: Iterator[_Window], *, across_clips: bool) -> Iterator[list[_Window]]:
    """Yield the windows that are computed together."""
    if across_clips:
        while group := list(islice(read, ROWS)):
            yield group
    for _, windows_of_clip in groupby(read, key=itemgetter(0)):
        while group := list(islice(windows_of_clip, TOGETHER)):
            yield group


def windows(blocks: Iterator[audio.Samples]) -> Iterator[tuple[float, float, audio.Samples]]:
    """Yield (start, end, samples) of each window, times in seconds, always `WINDOW` samples. Raises ClipError."""
    import numpy as np

    at = 0
    for block in blocks:
        if at and len(block) < SHORTEST:
            return
        yield at / RATE, (at + len(block)) / RATE, np.resize(block, WINDOW)
        at += len(block)
