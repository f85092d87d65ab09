"""What `signal` measures: levels in one pass over a clip's own samples, spectra in a second pass over its mono mix.

Both passes hold one block of samples; what grows with a clip are the curves, a few numbers for each 20 ms. Levels are
in dB relative to full scale, where a square wave at ±1 has 0 dB; times are in seconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from cascade import audio

Floats = npt.NDArray[np.float64]

RATE = 22_050  # Hz, of the spectra
HOP = 441  # samples: 50 frames a second
FPS = RATE // HOP  # frames a second
SHORT, LONG = 1024, 4096  # samples a frame: sharp in time for onsets, in frequency for pitch classes
SPARSE = 5  # every fifth frame goes to the long transform
BLOCK = 20.0  # seconds
STEP = 0.05  # seconds a frame of the level curve
BANDS = 40  # mel bands
LOWER = 26  # of them lie under 4 kHz, which the clip of lowest rate still has
FLOOR = -120.0  # dB, what digital silence counts as

# Krumhansl and Kessler's (1982) probe-tone ratings of the twelve pitch classes, from the tonic.
_MAJOR = np.array([6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88])
_MINOR = np.array([6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17])
_TONICS = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")


@dataclass(frozen=True, slots=True, kw_only=True)
class Levels:
    """From the first pass. `curve` is power by (frame of 50 ms, channel); `flat` the share of samples on flat tops."""

    rate: int
    channels: int
    duration: float
    rms_db: float
    peak_db: float
    flat: float
    alike: bool
    curve: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Spectra:
    """From the second pass, a value for each 20 ms except `chroma` (12 pitch classes from C, summed over the clip).

    `rise` is how much the mel bands rose, in dB; `power` in dB; `pitch` in Hz, nan where there is no single clear one.
    `flatness` is 0 (a tone) to 1 (white noise), `harmonic` the share of energy in steady partials: both of the clip.
    """

    rise: Floats
    power: Floats
    pitch: Floats
    chroma: Floats
    flatness: float
    harmonic: float


def decibels(power: Any) -> Any:
    """Power (mean square) in dB, no lower than the floor."""
    return 10 * np.log10(np.maximum(power, 10 ** (FLOOR / 10)))


def levels(path: Path) -> Levels:
    """The first pass. Raises ClipError."""
    rate = audio.probe(path).sample_rate
    size = round(rate * STEP)
    curves, total, peak, flat, count, alike, channels = [], 0.0, 0.0, 0, 0, True, 1
    for block in audio.blocks(path, None, BLOCK, mono=False):
        count, channels = count + len(block), block.shape[1]
        square = block.astype(np.float64) ** 2
        total += float(square.mean(axis=1).sum())
        peak = max(peak, float(np.abs(block).max()))
        flat += _flat_tops(block)
        alike = alike and bool((block == block[:, :1]).all())
        starts = np.arange(0, len(block), size)
        curves.append(np.add.reduceat(square, starts) / np.diff(starts, append=len(block))[:, None])
    return Levels(
        rate=rate,
        channels=channels,
        duration=count / rate,
        rms_db=float(decibels(total / count)),
        peak_db=float(decibels(peak**2)),
        flat=flat / (count * channels),
        alike=alike,
        curve=np.concatenate(curves),
    )


def _flat_tops(block: npt.NDArray[np.float32]) -> int:
    """How many samples lie in runs of three or more equal ones at the top of the block."""
    if len(block) < 3 or not block.any():
        return 0
    top = np.abs(block) >= 0.999 * np.abs(block).max()
    return int((top[1:-1] & (block[1:-1] == block[:-2]) & (block[1:-1] == block[2:])).sum())


def spectra(path: Path, loudest: float) -> Spectra:
    """The second pass, over the clip scaled so that its loudest sample is 1. `loudest` must be above 0."""
    mel, fold = _mel_bands(), _pitch_classes()
    bands, power, pitch, chroma, seen = [], [], [], np.zeros(12), 0
    for frames in _frames(path, loudest):
        wide = _spectrum(frames[:, (LONG - SHORT) // 2 : (LONG + SHORT) // 2])
        bands.append(wide @ mel)
        power.append(wide.sum(axis=1))
        pitch.append(_pitches(frames[:, LONG // 4 : -LONG // 4].astype(np.float64)))
        chroma += np.sqrt(_spectrum(frames[-seen % SPARSE :: SPARSE])).sum(axis=0) @ fold
        seen += len(frames)
    mels, loud = np.concatenate(bands), np.concatenate(power)
    level = decibels(loud)
    return Spectra(
        rise=_rise(mels),
        power=level,
        pitch=np.where(level > level.max() - 40, np.concatenate(pitch), np.nan),
        chroma=chroma,
        flatness=_flatness(mels[:, :LOWER]),
        harmonic=_harmonic(mels),
    )


def _frames(path: Path, loudest: float) -> Iterator[Any]:
    """Overlapping frames centred on every 20 ms of the clip, as if silence lay around it: shape (frames, LONG)."""
    held = np.zeros(LONG // 2, np.float32)
    for block in audio.blocks(path, RATE, BLOCK):
        held = np.concatenate([held, block / np.float32(loudest)])
        if len(held) >= LONG:
            frames = sliding_window_view(held, LONG)[::HOP]
            yield frames
            held = held[len(frames) * HOP :]
    held = np.concatenate([held, np.zeros(LONG // 2, np.float32)])
    if len(held) >= LONG:
        yield sliding_window_view(held, LONG)[::HOP]


def _spectrum(frames: Any) -> Floats:
    """Power by (frame, frequency), a full-scale sine summing to about 1."""
    window = np.hanning(frames.shape[1])
    return np.asarray(np.abs(np.fft.rfft(frames * window, axis=1)) ** 2 * (2 / window.sum()) ** 2)


def _mel_bands() -> Floats:
    """Triangles of unit area, evenly spaced in mel from 40 Hz to half the rate: shape (SHORT // 2 + 1, BANDS)."""
    frequencies = np.fft.rfftfreq(SHORT, 1 / RATE)
    low, high = (2595 * np.log10(1 + f / 700) for f in (40.0, RATE / 2))
    edges = 700 * (10 ** (np.linspace(low, high, BANDS + 2) / 2595) - 1)
    rising = (frequencies[:, None] - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - frequencies[:, None]) / (edges[2:] - edges[1:-1])
    bands = np.maximum(0, np.minimum(rising, falling))
    return np.asarray(bands / np.maximum(bands.sum(axis=0), 1e-9))


def _pitch_classes() -> Floats:
    """How much each frequency from 100 to 2000 Hz counts for each pitch class from C: shape (LONG // 2 + 1, 12)."""
    frequencies = np.maximum(np.fft.rfftfreq(LONG, 1 / RATE), 1)
    numbers = 69 + 12 * np.log2(frequencies / 440)
    apart = (numbers[:, None] - np.arange(12) + 6) % 12 - 6
    used = (frequencies > 100) & (frequencies < 2000)
    return np.asarray(np.exp(-0.5 * (apart / 0.35) ** 2) * used[:, None])


def _flatness(mels: Floats) -> float:
    """Geometric over arithmetic mean of the bands, averaged over the frames by their energy."""
    padded = mels + 1e-12
    flat = np.exp(np.log(padded).mean(axis=1)) / padded.mean(axis=1)
    return float(np.average(flat, weights=padded.sum(axis=1)))


def _rise(mels: Floats) -> Floats:
    """Mean rise of the mel bands' levels over two frames in dB; levels 60 dB under the clip's loudest count alike."""
    level = decibels(mels)
    level = np.maximum(level, level.max() - 60)
    before = np.concatenate([np.full((2, level.shape[1]), level.min()), level[:-2]])
    return np.asarray(np.maximum(0, level - before).mean(axis=1))


def _harmonic(mels: Floats) -> float:
    """The steady part's share of the energy, by median filtering (Fitzgerald 2010); of at most two minutes."""
    size = np.sqrt(mels[: 120 * FPS])
    steady, struck = _median(size, 17, 0) ** 2, _median(size, 9, 1) ** 2
    share = steady / (steady + struck + 1e-30)
    return float((share * size**2).sum() / ((size**2).sum() + 1e-30))


def _median(values: Floats, width: int, axis: int) -> Floats:
    """The running median along one axis, the edges repeated."""
    wide = np.pad(values, [(width // 2, width // 2) if a == axis else (0, 0) for a in (0, 1)], mode="edge")
    return np.asarray(np.median(sliding_window_view(wide, width, axis=axis), axis=-1))


def _pitches(frames: Floats) -> Floats:
    """The fundamental of each frame in Hz, nan where no period is clear, after McLeod and Wyvill (2005).

    A chord has the period of a fundamental that nobody plays, so the fundamental must also sound.
    """
    size = frames.shape[1]
    shortest, longest = RATE // 2000, RATE // 60
    auto = np.fft.irfft(np.abs(np.fft.rfft(frames, n=2 * size, axis=1)) ** 2, axis=1)[:, :longest]
    energy = np.cumsum(frames**2, axis=1)
    lags = np.arange(longest)
    both = energy[:, size - 1 - lags] + energy[:, -1:] - np.where(lags, energy[:, lags - 1], 0)
    clear = 2 * auto / (both + 1e-9)
    inner = clear[:, 1:-1]
    peaks = (inner > clear[:, :-2]) & (inner >= clear[:, 2:]) & (lags[1:-1] >= shortest)
    heights = np.where(peaks, inner, 0)
    best = heights.max(axis=1)
    pitch = RATE / _refined(clear, (heights >= 0.93 * best[:, None]).argmax(axis=1) + 1)
    return np.where((best > 0.9) & (energy[:, -1] > 1e-4) & _sounds(frames, pitch), pitch, np.nan)


def _sounds(frames: Floats, pitch: Floats) -> Any:
    """Whether a partial at each frame's pitch has at least a five-hundredth of the frame's energy."""
    size = frames.shape[1]
    waves = np.exp(-2j * np.pi * pitch[:, None] * np.arange(size) / RATE)
    partial = 2 * np.abs((frames * waves).sum(axis=1)) ** 2 / size
    return partial >= (frames**2).sum(axis=1) / 500


def _refined(curves: Floats, at: npt.NDArray[np.int64]) -> Floats:
    """The top of the parabola through each row's values around its index."""
    rows = np.arange(len(curves))
    a, b, c = curves[rows, at - 1], curves[rows, at], curves[rows, at + 1]
    bend = a - 2 * b + c
    shift = np.where(bend < 0, 0.5 * (a - c) / np.where(bend < 0, bend, 1), 0)
    return np.asarray(at + np.clip(shift, -0.5, 0.5))


def key(chroma: Floats) -> tuple[str, float, float, str] | None:
    """(key, its correlation, the lead over the next, the next) by the profiles; None under four clear pitch classes."""
    if np.ptp(chroma) < 1e-9 or int((chroma > 0.25 * chroma.max()).sum()) < 4:
        return None
    scores = sorted(
        (float(np.corrcoef(np.roll(profile, tonic), chroma)[0, 1]), f"{_TONICS[tonic]} {mode}")
        for tonic in range(12)
        for profile, mode in ((_MAJOR, "major"), (_MINOR, "minor"))
    )
    (second, rival), (best, name) = scores[-2:]
    return name, best, best - second, rival


def note(frequency: float) -> str:
    """The nearest note of equal temperament at A4 = 440 Hz, as in "F#3"."""
    number = round(69 + 12 * float(np.log2(frequency / 440)))
    return f"{_TONICS[number % 12]}{number // 12 - 1}"
