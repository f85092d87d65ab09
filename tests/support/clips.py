"""Clips made of nothing: tones, notes, clicks and noise as arrays in [-1, 1], and a way to write them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.float64]
RATE = 16_000


def silence(seconds: float) -> Samples:
    return np.zeros(round(seconds * RATE))


def tone(hertz: float, seconds: float, level: float = 0.3) -> Samples:
    return np.asarray(level * np.sin(2 * np.pi * hertz * np.arange(round(seconds * RATE)) / RATE))


def glide(first: float, last: float, seconds: float) -> Samples:
    hertz = np.linspace(first, last, round(seconds * RATE))
    return np.asarray(0.3 * np.sin(2 * np.pi * np.cumsum(hertz) / RATE))


def noise(seconds: float, level: float = 0.1, seed: int = 0) -> Samples:
    return np.asarray(level * np.random.default_rng(seed).standard_normal(round(seconds * RATE)))


def note(midi: float, seconds: float) -> Samples:
    """A plucked note of four partials."""
    time = np.arange(round(seconds * RATE)) / RATE
    fade = np.minimum(1, time / 0.01) * np.exp(-2 * time) * np.minimum(1, (seconds - time) / 0.01)
    hertz = 440 * 2 ** ((midi - 69) / 12)
    return np.asarray(0.2 * fade * sum(np.sin(2 * np.pi * hertz * k * time) / k for k in (1, 2, 3, 4)))


def melody(notes: Sequence[int], seconds: float = 0.5) -> Samples:
    return np.concatenate([note(midi, seconds) for midi in notes])


def chords(groups: Sequence[Sequence[int]], seconds: float = 0.5) -> Samples:
    return np.concatenate([sum((note(midi, seconds) / 2 for midi in group), silence(seconds)) for group in groups])


def beeps(count: int, every: float = 0.8) -> Samples:
    return np.tile(np.concatenate([tone(1000, 0.2, 0.4), silence(every - 0.2)]), count)


def clicks(beats: float, seconds: float) -> Samples:
    """Short clicks, `beats` a minute, the first after 0.3 s."""
    made, click = silence(seconds), tone(2000, 0.02, 0.8) * np.exp(-np.arange(320) / 60)
    for time in np.arange(0.3, seconds - 0.1, 60 / beats):
        made[round(time * RATE) : round(time * RATE) + 320] += click
    return made


def write_cut(path: Path) -> Path:
    """A WAV file of a second whose header claims two."""
    path.write_bytes(write(path, tone(440, 2)).read_bytes()[: 44 + 2 * RATE])
    return path


def write(path: Path, samples: Any, rate: int = RATE, subtype: str = "PCM_16") -> Path:
    """One row a channel, or one row in all."""
    import soundfile

    soundfile.write(path, np.asarray(samples).T, rate, subtype=subtype)
    return path
