"""Clips as windows of 7 s, heard several together: what the CLAP engines do with a clip.

Clips are decoded by us, mixed to mono and resampled to 44.1 kHz, and heard in consecutive windows of 7 s from the
start; msclap takes one random 7 s of the channels laid end to end. A last window that is shorter is repeated to fill
7 s, as msclap does; shorter than half a second, after others, it is left out: it would be an echo of nothing.

What is computed together never depends on the company: on a processor the windows of one clip, up to eight, by one
thread; on a GPU the windows of all clips, always sixteen, the last one repeated where there are fewer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cascade.captioners import torch_device
from cascade.errors import ClipError
from cascade.io import audio
from cascade.types import Failure

if TYPE_CHECKING:
    from cascade.io.audio import Samples

RATE = 44_100  # Hz
WINDOW = 7 * RATE  # samples
LEAST = RATE // 2
TOGETHER = 8  # windows of a clip on a processor, at most
ROWS = 16  # windows on a GPU, always


@dataclass(slots=True)
class WindowResult:
    """What became of a clip: (start, end, found) of each window, times in seconds; `seconds` is the time it took."""

    windows: list[tuple[float, float, Any]] = field(default_factory=list)
    seconds: float = 0.0
    failure: Failure | None = None


def caption_windows(
    clips: Sequence[Path], found: Callable[[Samples], Sequence[Any]], *, fixed: bool
) -> list[WindowResult]:
    """Every clip's windows with what was `found` in them; `found` is given several, of shape (windows, `WINDOW`).

    With `fixed` they are always `ROWS`, of all clips; otherwise they are of one clip.
    """
    heard = [WindowResult() for _ in clips]
    groups = _groups(clips, heard, ROWS if fixed else TOGETHER, across=fixed)
    began = time.perf_counter()
    for group in torch_device.prefetch(groups, 2) if fixed else groups:
        samples = [samples for _, _, _, samples in group]
        if fixed:
            samples += samples[-1:] * (ROWS - len(samples))
        for (number, start, end, _), one in zip(group, found(np.stack(samples)), strict=False):
            heard[number].windows.append((start, end, one))
            heard[number].seconds += (time.perf_counter() - began) / len(group)
        began = time.perf_counter()
    return heard


_Window = tuple[int, float, float, "Samples"]


def _groups(clips: Sequence[Path], heard: list[WindowResult], size: int, *, across: bool) -> Iterator[list[_Window]]:
    """Up to `size` windows at a time, of one clip or `across` clips; a clip that is bad says so in `heard`."""
    group: list[_Window] = []
    for number, clip in enumerate(clips):
        try:
            for window in windows(clip):
                group.append((number, *window))
                if len(group) == size:
                    yield group
                    group = []
        except ClipError as error:
            heard[number].failure = error.failure()
            group = [window for window in group if window[0] != number]
        if group and not across:
            yield group
            group = []
    if group:
        yield group


def windows(clip: Path) -> Iterator[tuple[float, float, Samples]]:
    """(start, end, samples) of each window of a clip; times in seconds, always `WINDOW` samples. Raises ClipError."""
    at = 0
    for block in audio.blocks(clip, RATE, WINDOW / RATE):
        if at and len(block) < LEAST:
            return
        yield at / RATE, (at + len(block)) / RATE, np.resize(block, WINDOW)
        at += len(block)
