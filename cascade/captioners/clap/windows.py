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
from pathlib import Path
from typing import Any

import numpy as np

from cascade.captioners import torch_device
from cascade.errors import ClipError
from cascade.io import audio
from cascade.types import Failure

RATE = 44_100  # Hz
WINDOW = 7 * RATE  # samples
SHORTEST = RATE // 2  # samples
TOGETHER = 8  # windows of a clip on a processor, at most
ROWS = 16  # windows on a GPU, always

_Window = tuple[int, float, float, "audio.Samples"]  # the clip's number, start and end in seconds, samples


@dataclass(slots=True)
class ClipResult:
    """(start, end, result) of each window of a clip, times in seconds; `seconds` is the time they took.

    `decoding` is the part of `meta` that says what is not as in the file.
    """

    windows: list[tuple[float, float, Any]] = field(default_factory=list)
    seconds: float = 0.0
    decoding: dict[str, Any] = field(default_factory=dict)
    failure: Failure | None = None


def run_windows(
    clips: Sequence[Path], model: Callable[[audio.Samples], Sequence[Any]], *, fixed: bool
) -> list[ClipResult]:
    """Return what the model returns for every window of every clip. It gets samples of shape (windows, `WINDOW`).

    With `fixed` these are always `ROWS` windows, of all clips; otherwise they are of one clip.
    """
    results = [ClipResult() for _ in clips]
    groups = _groups(clips, results, across=fixed)
    if fixed:
        groups = torch_device.prefetch(groups, 2)
    began = time.perf_counter()
    for group in groups:
        samples = [samples for _, _, _, samples in group]
        if fixed:
            samples += samples[-1:] * (ROWS - len(samples))
        for (number, start, end, _), result in zip(group, model(np.stack(samples)), strict=False):
            results[number].windows.append((start, end, result))
            results[number].seconds += (time.perf_counter() - began) / len(group)
        began = time.perf_counter()
    return results


def _groups(clips: Sequence[Path], results: list[ClipResult], *, across: bool) -> Iterator[list[_Window]]:
    """Yield the windows that are computed together, of one clip or `across` clips; write failures to `results`."""
    size = {True: ROWS, False: TOGETHER}[across]
    group: list[_Window] = []
    for number, clip in enumerate(clips):
        try:
            blocks = audio.blocks(clip, RATE, WINDOW / RATE)
            for window in windows(blocks):
                group.append((number, *window))
                if len(group) == size:
                    yield group
                    group = []
            results[number].decoding = blocks.meta
        except ClipError as error:
            results[number].failure = error.failure()
            group = [window for window in group if window[0] != number]
        if group and not across:
            yield group
            group = []
    if group:
        yield group


def windows(blocks: Iterator[audio.Samples]) -> Iterator[tuple[float, float, audio.Samples]]:
    """Yield (start, end, samples) of each window, times in seconds, always `WINDOW` samples. Raises ClipError."""
    at = 0
    for block in blocks:
        if at and len(block) < SHORTEST:
            return
        yield at / RATE, (at + len(block)) / RATE, np.resize(block, WINDOW)
        at += len(block)
