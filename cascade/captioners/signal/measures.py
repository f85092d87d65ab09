"""What `signal` measures, by librosa: levels of a clip's own samples, then spectra of its mono mix.

Both passes hold one block of samples; what grows with a clip are the curves, a few numbers for each 20 ms. Levels are
in dB relative to full scale, where a square wave at ±1 has 0 dB; times are in seconds.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cascade.io import audio

Floats = npt.NDArray[np.float64]

RATE = 22_050  # Hz, of the spectra
HOP = 441  # samples: 50 frames a second
FPS = RATE // HOP
SHORT, MIDDLE, LONG = 1024, 2048, 4096  # samples a frame: for onsets, for pitch, for pitch classes
BLOCK = 20.0  # seconds
STEP = 0.05  # seconds a frame of the level curve
CLEAR = 0.88  # correlation with the next period, from which on a pitch is one
REGULAR = 0.45  # the pulse of music reached more in every trial, that of speech did not
LOWER = 26  # of 40 mel bands lie under 4 kHz, which the clip of lowest rate still has

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
    """Power (mean square) in dB; digital silence counts as -120."""
    return 10 * np.log10(np.maximum(power, 1e-12))


def levels(path: Path) -> Levels:
    """The first pass. Raises ClipError."""
    rate = audio.probe(path).sample_rate
    curves, total, peak, flat, count, alike, channels = [], 0.0, 0.0, 0, 0, True, 1
    for block in audio.blocks(path, None, BLOCK, mono=False):
        count, channels = count + len(block), block.shape[1]
        square = block.astype(np.float64) ** 2
        total += float(square.mean(axis=1).sum())
        peak = max(peak, float(np.abs(block).max()))
        flat += _flat_tops(block)
        alike = alike and bool((block == block[:, :1]).all())
        starts = np.arange(0, len(block), rate * STEP).astype(int)
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
    with warnings.catch_warnings():
        # librosa 0.10 opens its table of intervals in a way that Python has deprecated.
        warnings.filterwarnings("ignore", "path is deprecated", DeprecationWarning)
        import librosa.core.intervals
    mels, power, pitch, tones = [], [], [], np.zeros(LONG // 2 + 1)
    for samples in _stretches(path, loudest):
        short = _spectrum(samples, SHORT)
        mels.append(librosa.feature.melspectrogram(S=short, sr=RATE, n_mels=40, fmin=40, htk=True))
        power.append(short.sum(axis=0))
        pitch.append(_pitch(samples))
        tones += np.sqrt(_spectrum(samples, LONG)).sum(axis=1)
    bands, level = np.concatenate(mels, axis=1), decibels(np.concatenate(power))
    return Spectra(
        rise=_rise(bands),
        power=level,
        pitch=np.where(level > level.max() - 40, np.concatenate(pitch), np.nan),
        chroma=_chroma(tones),
        flatness=_flatness(bands[:LOWER]),
        harmonic=_harmonic(bands),
    )


def _stretches(path: Path, loudest: float) -> Iterator[Any]:
    """Samples of which frames are centred on every 20 ms of the clip, as if silence lay around it."""
    held = rest = np.zeros(LONG // 2, np.float32)
    for block in chain(audio.blocks(path, RATE, BLOCK), [rest]):
        held = np.concatenate([held, block / np.float32(loudest)])
        if (frames := (len(held) - LONG) // HOP + 1) > 0:
            yield held[: LONG + (frames - 1) * HOP]
            held = held[frames * HOP :]


def _cut(samples: Any, size: int) -> Any:
    return samples[(LONG - size) // 2 : len(samples) - (LONG - size) // 2]


def _spectrum(samples: Any, size: int) -> Any:
    """Power by (frequency, frame), a full-scale sine summing to about 1."""
    import librosa

    return np.abs(librosa.stft(_cut(samples, size), n_fft=size, hop_length=HOP, center=False) * (4 / size)) ** 2


def _pitch(samples: Any) -> Any:
    """The fundamental of each frame in Hz, nan where the sound does not repeat with it, which yin leaves unsaid.

    A chord repeats with a fundamental that nobody plays, so it must be a peak of the spectrum, from which it is also
    read over 500 Hz, where yin is inexact. Square roots of amplitudes peak like the parabola that piptrack fits.
    """
    import librosa

    samples, power = _cut(samples, MIDDLE), _spectrum(samples, MIDDLE)
    pitch = librosa.yin(samples, fmin=60, fmax=2000, sr=RATE, frame_length=MIDDLE, hop_length=HOP, center=False)
    frames = librosa.util.frame(samples, frame_length=MIDDLE, hop_length=HOP)
    first = frames[: MIDDLE - RATE // 50]
    later = np.take_along_axis(frames, np.rint(RATE / pitch).astype(int) + np.arange(len(first))[:, None], axis=0)
    energy = (first**2 + later**2).sum(axis=0)
    peaks, _ = librosa.piptrack(S=power**0.25, sr=RATE, fmin=50, fmax=2200, threshold=0.18)
    peak = np.take_along_axis(peaks, np.abs(peaks / pitch - 1).argmin(axis=0)[None], axis=0)[0]
    repeats = (2 * (first * later).sum(axis=0) > CLEAR * energy) & (energy > 1e-4)
    return np.where(repeats & (np.abs(peak / pitch - 1) < 0.03), np.where(pitch > 500, peak, pitch), np.nan)


def _chroma(tones: Floats) -> Floats:
    """The pitch classes of a spectrum from 100 to 2000 Hz, where the notes' clearest partials are."""
    import librosa

    frequencies = librosa.fft_frequencies(sr=RATE, n_fft=LONG)
    within = (frequencies > 100) & (frequencies < 2000)
    return np.asarray(librosa.filters.chroma(sr=RATE, n_fft=LONG, tuning=0, octwidth=None) @ (tones * within))


def _rise(bands: Floats) -> Floats:
    """Mean rise of the mel bands' levels over two frames in dB; levels 60 dB under the clip's loudest count alike."""
    import librosa

    level = librosa.power_to_db(bands, amin=1e-12, top_db=60)
    before = np.pad(level, ((0, 0), (2, 0)), constant_values=level.min())
    return np.asarray(librosa.onset.onset_strength(S=before, sr=RATE, lag=2, center=False)[2:])


def _flatness(bands: Floats) -> float:
    """The mean over the frames by their energy."""
    import librosa

    flat = librosa.feature.spectral_flatness(S=bands, power=1.0, amin=1e-12)[0]
    return float(np.average(flat, weights=bands.sum(axis=0) + 1e-12))


def _harmonic(bands: Floats) -> float:
    """The steady part's share of the energy; of at most two minutes."""
    import librosa

    # With the edges repeated, as a drum may fill the lowest band alone.
    size = np.pad(np.sqrt(bands[:, : 120 * FPS]), ((4, 4), (0, 0)), mode="edge")
    steady, _ = librosa.decompose.hpss(size, kernel_size=(17, 9), mask=True)
    return float(np.average(steady[4:-4], weights=size[4:-4] ** 2 + 1e-30))


def onsets(found: Spectra) -> list[float]:
    """Times at which something clearly begins: the bands rise at a stroke, and the level does not fall with it."""
    import librosa

    power = np.pad(found.power, 3, mode="edge")
    after, before = power[6:], power[:-6]
    before[:3] = -120
    picked = librosa.util.peak_pick(found.rise, pre_max=3, post_max=4, pre_avg=25, post_avg=26, delta=2.5, wait=2)
    audible = np.maximum(found.power, after) > found.power.max() - 40
    return [float(index) / FPS for index in picked if audible[index] and after[index] > before[index] - 1]


def tempo(found: Spectra, times: list[float]) -> tuple[float, float] | None:
    """(beats a minute, regularity from 0 to 1) of the onset curve, or None where these onsets keep no pulse.

    From the autocorrelation of the whole curve, as a tempogram would hold hundreds of numbers for each 20 ms.
    """
    import librosa

    rise = np.where(found.power > found.power.max() - 40, found.rise, 0)
    if len(times) < 5 or len(rise) < 3 * FPS or not rise.any():
        return None
    sharp = np.convolve(rise - np.convolve(rise, np.ones(2 * FPS) / (2 * FPS), "same"), (0.5, 1, 0.5), "same")
    auto = librosa.autocorrelate(sharp, max_size=60 * FPS // 40 + 2)
    auto = np.clip(auto / auto[0] / (1 - np.arange(len(auto)) / len(rise)), 0, 1)
    about = float(librosa.feature.tempo(tg=auto[:, None], sr=RATE, hop_length=HOP, start_bpm=130, max_tempo=240)[0])
    # Lags are whole frames; the onsets tell the rest. With enough of them, some may lie between the beats.
    kept, beats = max((_kept(times, beats), beats) for beats in about * np.linspace(0.96, 1.04, 161))
    regularity = float(auto[round(60 * FPS / about)])
    return (float(beats), regularity) if regularity > REGULAR and kept > (0.6 if len(times) >= 8 else 0.95) else None


def _kept(times: list[float], beats: float) -> float:
    """How well onsets keep to a pulse, 0 to 1: the mean phase coherence of eight neighbours, as the tempo may drift."""
    count = min(8, len(times))
    phases = (np.exp(2j * np.pi * np.array(times) * beats / 60 * part) for part in ((1, 2) if count == 8 else (1,)))
    return max(float(np.abs(np.convolve(phase, np.ones(count) / count, "valid")).mean()) for phase in phases)


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
