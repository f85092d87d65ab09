"""The measurements of `signal`, by librosa: levels of a clip's own samples, then spectra of its mono mix.

Both passes hold one block of samples in memory; what grows with a clip are the curves, a few numbers for each 20 ms.
Levels are in dB relative to full scale, where a square wave at ±1 has 0 dB; times are in seconds.
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
    """The first pass. `curve` is power by (frame of 50 ms, channel); `flat` the share of samples on flat tops.

    `alike` says whether all channels are the same; `decoding` is what `meta` says about damage in the file.
    """

    rate: int
    channels: int
    duration: float
    rms_db: float
    peak_db: float
    flat: float
    alike: bool
    curve: Floats
    decoding: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Spectra:
    """The second pass, a value for each 20 ms except `chroma` (12 pitch classes from C, summed over the clip).

    `rise` is how much the mel bands rose, in dB; `power` in dB; `pitch` in Hz, nan where there is no single clear one.
    `flatness` is 0 (a tone) to 1 (white noise), `harmonic` the share of energy in steady partials: both of the clip.
    `decoding` is that of `Levels`, with the seconds in which the channels cancel each other.
    """

    rise: Floats
    power: Floats
    pitch: Floats
    chroma: Floats
    flatness: float
    harmonic: float
    decoding: dict[str, Any]


def decibels(power: Any) -> Any:
    """Return power (mean square) in dB; digital silence is -120."""
    return 10 * np.log10(np.maximum(power, 1e-12))


def levels(path: Path) -> Levels:
    """Measure the levels of a clip. Raises ClipError."""
    blocks = audio.blocks(path, None, BLOCK, mono=False)
    rate = blocks.rate
    curves, total, peak, flat, count, alike = [], 0.0, 0.0, 0, 0, True
    for block in blocks:
        count += len(block)
        square = block.astype(np.float64) ** 2
        total += float(square.mean(axis=1).sum())
        peak = max(peak, float(np.abs(block).max()))
        # Samples on flat tops lie in runs of three or more equal ones at the top of the block.
        if len(block) > 2 and block.any():
            at_top = np.abs(block) >= 0.999 * np.abs(block).max()
            flat += int((at_top[1:-1] & (block[1:-1] == block[:-2]) & (block[1:-1] == block[2:])).sum())
        alike = alike and bool((block == block[:, :1]).all())
        starts = np.arange(0, len(block), rate * STEP).astype(int)
        curves.append(np.add.reduceat(square, starts) / np.diff(starts, append=len(block))[:, None])
    return Levels(
        rate=rate,
        channels=blocks.channels,
        duration=count / rate,
        rms_db=float(decibels(total / count)),
        peak_db=float(decibels(peak**2)),
        flat=flat / (count * blocks.channels),
        alike=alike,
        curve=np.concatenate(curves),
        decoding=blocks.meta,
    )


def spectra(path: Path, loudest: float) -> Spectra:
    """Measure the spectra of a clip, scaled so that its loudest sample is 1. `loudest` must be above 0."""
    with warnings.catch_warnings():
        # librosa 0.10 opens its table of intervals in a way that Python has deprecated.
        warnings.filterwarnings("ignore", "path is deprecated", DeprecationWarning)
        import librosa.core.intervals
    mels, powers, pitches, tones = [], [], [], np.zeros(LONG // 2 + 1)
    blocks = audio.blocks(path, RATE, BLOCK)
    for samples in _padded_blocks(blocks, loudest):
        short = _spectrum(samples, SHORT)
        mels.append(librosa.feature.melspectrogram(S=short, sr=RATE, n_mels=40, fmin=40, htk=True))
        powers.append(short.sum(axis=0))
        pitches.append(_pitch(samples))
        tones += np.sqrt(_spectrum(samples, LONG)).sum(axis=1)
    bands, power = np.concatenate(mels, axis=1), decibels(np.concatenate(powers))
    # Pitch classes from 100 to 2000 Hz, where the notes' clearest partials are.
    frequencies = librosa.fft_frequencies(sr=RATE, n_fft=LONG)
    classes = librosa.filters.chroma(sr=RATE, n_fft=LONG, tuning=0, octwidth=None)
    flat = librosa.feature.spectral_flatness(S=bands[:LOWER], power=1.0, amin=1e-12)[0]
    # The mean rise of the bands over two frames; levels 60 dB under the clip's loudest count alike.
    level = librosa.power_to_db(bands, amin=1e-12, top_db=60)
    before = np.pad(level, ((0, 0), (2, 0)), constant_values=level.min())
    # The steady part's share of the energy, of at most two minutes. The edges are repeated, as a drum may fill the
    # lowest band alone.
    size = np.pad(np.sqrt(bands[:, : 120 * FPS]), ((4, 4), (0, 0)), mode="edge")
    steady, _ = librosa.decompose.hpss(size, kernel_size=(17, 9), mask=True)
    return Spectra(
        rise=np.asarray(librosa.onset.onset_strength(S=before, sr=RATE, lag=2, center=False)[2:]),
        power=power,
        pitch=np.where(power > power.max() - 40, np.concatenate(pitches), np.nan),
        chroma=np.asarray(classes @ (tones * ((frequencies > 100) & (frequencies < 2000)))),
        flatness=float(np.average(flat, weights=bands[:LOWER].sum(axis=0) + 1e-12)),
        harmonic=float(np.average(steady[4:-4], weights=size[4:-4] ** 2 + 1e-30)),
        decoding=blocks.meta,
    )


def _padded_blocks(blocks: Iterator[Any], loudest: float) -> Iterator[Any]:
    """Yield samples whose frames are centred on every 20 ms of the clip, as if silence lay around it."""
    pending = padding = np.zeros(LONG // 2, np.float32)
    for block in chain(blocks, [padding]):
        pending = np.concatenate([pending, block / np.float32(loudest)])
        frames = (len(pending) - LONG) // HOP + 1
        if frames > 0:
            yield pending[: LONG + (frames - 1) * HOP]
            pending = pending[frames * HOP :]


def _centred(samples: Any, size: int) -> Any:
    """Return the samples of the same frames where a frame has `size` samples instead of `LONG`."""
    margin = (LONG - size) // 2
    return samples[margin : len(samples) - margin]


def _spectrum(samples: Any, size: int) -> Any:
    """Return power by (frequency, frame); a full-scale sine sums to about 1."""
    import librosa

    return np.abs(librosa.stft(_centred(samples, size), n_fft=size, hop_length=HOP, center=False) * (4 / size)) ** 2


def _pitch(samples: Any) -> Any:
    """Return the fundamental of each frame in Hz, nan where the sound does not repeat with it (yin names one anyway).

    A chord repeats with a fundamental that nobody plays, so it must be a peak of the spectrum, from which it is also
    read over 500 Hz, where yin is inexact. Square roots of amplitudes peak like the parabola that piptrack fits.
    """
    import librosa

    samples, power = _centred(samples, MIDDLE), _spectrum(samples, MIDDLE)
    pitch = librosa.yin(samples, fmin=60, fmax=2000, sr=RATE, frame_length=MIDDLE, hop_length=HOP, center=False)
    frames = librosa.util.frame(samples, frame_length=MIDDLE, hop_length=HOP)
    first = frames[: MIDDLE - RATE // 50]
    later = np.take_along_axis(frames, np.rint(RATE / pitch).astype(int) + np.arange(len(first))[:, None], axis=0)
    energy = (first**2 + later**2).sum(axis=0)
    peaks, _ = librosa.piptrack(S=power**0.25, sr=RATE, fmin=50, fmax=2200, threshold=0.18)
    peak = np.take_along_axis(peaks, np.abs(peaks / pitch - 1).argmin(axis=0)[None], axis=0)[0]
    repeats = (2 * (first * later).sum(axis=0) > CLEAR * energy) & (energy > 1e-4)
    return np.where(repeats & (np.abs(peak / pitch - 1) < 0.03), np.where(pitch > 500, peak, pitch), np.nan)


def onsets(spectra: Spectra) -> list[float]:
    """Return the times at which something clearly begins: the bands rise suddenly, and the level does not fall."""
    import librosa

    power = np.pad(spectra.power, 3, mode="edge")
    after, before = power[6:], power[:-6]
    before[:3] = -120
    picked = librosa.util.peak_pick(spectra.rise, pre_max=3, post_max=4, pre_avg=25, post_avg=26, delta=2.5, wait=2)
    audible = np.maximum(spectra.power, after) > spectra.power.max() - 40
    return [float(index) / FPS for index in picked if audible[index] and after[index] > before[index] - 1]


def tempo(spectra: Spectra, times: list[float]) -> tuple[float, float] | None:
    """Return (beats a minute, regularity from 0 to 1) of the onset curve, or None where the onsets keep no pulse.

    It comes from the autocorrelation of the whole curve: a tempogram would hold hundreds of numbers for each 20 ms.
    """
    import librosa

    rise = np.where(spectra.power > spectra.power.max() - 40, spectra.rise, 0)
    if len(times) < 5 or len(rise) < 3 * FPS or not rise.any():
        return None
    sharp = np.convolve(rise - np.convolve(rise, np.ones(2 * FPS) / (2 * FPS), "same"), (0.5, 1, 0.5), "same")
    correlation = librosa.autocorrelate(sharp, max_size=60 * FPS // 40 + 2)
    correlation = np.clip(correlation / correlation[0] / (1 - np.arange(len(correlation)) / len(rise)), 0, 1)
    rough = librosa.feature.tempo(tg=correlation[:, None], sr=RATE, hop_length=HOP, start_bpm=130, max_tempo=240)
    about = float(rough[0])
    regularity = float(correlation[round(60 * FPS / about)])
    # Lags are whole frames; the onsets give the fraction.
    coherence, beats = max((_coherence(times, beats), beats) for beats in about * np.linspace(0.96, 1.04, 161))
    # With enough onsets, some may lie between the beats.
    least = 0.6 if len(times) >= 8 else 0.95
    if regularity <= REGULAR or coherence <= least:
        return None
    return float(beats), regularity


def _coherence(times: list[float], beats: float) -> float:
    """Return how well onsets keep to a pulse, 0 to 1: the mean phase coherence of eight neighbours.

    The coherence is of neighbours, as the tempo may drift. With eight onsets, half beats count as beats.
    """
    count = min(8, len(times))
    coherences = []
    for part in (1, 2) if count == 8 else (1,):
        phase = np.exp(2j * np.pi * np.array(times) * beats / 60 * part)
        coherences.append(float(np.abs(np.convolve(phase, np.ones(count) / count, "valid")).mean()))
    return max(coherences)


def key(chroma: Floats) -> tuple[str, float, float, str] | None:
    """Return (key, its correlation, its lead over the next, the next key); None under four clear pitch classes."""
    if np.ptp(chroma) < 1e-9 or int((chroma > 0.25 * chroma.max()).sum()) < 4:
        return None
    scores = []
    for tonic, name in enumerate(_TONICS):
        for profile, mode in ((_MAJOR, "major"), (_MINOR, "minor")):
            scores.append((float(np.corrcoef(np.roll(profile, tonic), chroma)[0, 1]), f"{name} {mode}"))
    (second, rival), (best, name) = sorted(scores)[-2:]
    return name, best, best - second, rival


def note(frequency: float) -> str:
    """Return the nearest note of equal temperament at A4 = 440 Hz, as in "F#3"."""
    number = round(69 + 12 * float(np.log2(frequency / 440)))
    return f"{_TONICS[number % 12]}{number // 12 - 1}"
