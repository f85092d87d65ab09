"""When things begin in a clip and whether they keep time, from the curves that `_measures` makes; times in seconds."""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from cascade.captioners._measures import FLOOR, FPS, Floats, Spectra


def onsets(found: Spectra) -> list[float]:
    """Times at which something clearly begins: the bands rise at a stroke, and the level does not fall with it."""
    rise, power = found.rise, found.power
    wide = np.pad(rise, 25, mode="reflect" if len(rise) > 25 else "constant")
    usual = np.median(sliding_window_view(wide, 51), axis=1)  # of the second around
    tops = sliding_window_view(np.pad(rise, 3), 7).max(axis=1)
    after, before = np.pad(power, (0, 3), mode="edge")[3:], np.pad(power, (3, 0), constant_values=FLOOR)[:-3]
    audible = np.maximum(power, after) > power.max() - 40
    picked = np.flatnonzero((rise == tops) & (rise > usual + np.clip(4 * usual, 2, 4)) & (after > before - 1) & audible)
    return [float(index) / FPS for index in picked]


def tempo(found: Spectra) -> tuple[float, float] | None:
    """(beats a minute, regularity from 0 to 1) of the onset curve, or None where nothing repeats.

    The best lag of the autocorrelation under a log-normal preference for 120, refined over its multiples.
    """
    rise = np.where(found.power > found.power.max() - 40, found.rise, 0)
    if len(rise) < 3 * FPS or not rise.any():
        return None
    auto = _autocorrelation(rise)
    lags = np.arange(60 * FPS // 240, min(60 * FPS // 40, len(rise) // 2) + 1)
    liking = np.exp(-0.5 * np.log2(60 * FPS / lags / 120) ** 2)
    best = int(lags[(auto[lags] * liking).argmax()])
    half = round(best / 2)
    if half >= 60 * FPS // 200 and auto[half - 1 : half + 2].max() > 0.8 * auto[best]:
        best = half - 1 + int(auto[half - 1 : half + 2].argmax())
    return 60 * FPS / _multiplied(auto, best), float(np.clip(auto[best], 0, 1))


def steadiness(times: list[float], beats: float) -> float:
    """How well onsets keep to a pulse, 0 to 1: the mean phase coherence of eight neighbours, as the tempo may drift."""
    phases = np.exp(2j * np.pi * np.array(times) * beats / 60)
    return float(np.abs(sliding_window_view(phases, min(8, len(phases))).mean(axis=1)).mean())


def _autocorrelation(curve: Floats) -> Floats:
    """Of what stands out from the two seconds around it, 1 at lag 0, not tapering with the lag, lightly smoothed."""
    sharp = curve - np.convolve(curve, np.ones(2 * FPS) / (2 * FPS), "same")
    auto = np.fft.irfft(np.abs(np.fft.rfft(sharp, 2 * len(sharp))) ** 2)[: len(sharp)]
    even = auto / (auto[0] or 1) * len(sharp) / (len(sharp) - 0.999 * np.arange(len(sharp)))
    return np.asarray(np.convolve(even, (0.5, 1, 0.5), "same") / 1.5)


def _multiplied(auto: Floats, best: int) -> float:
    """The lag in fractions of a frame, from the peaks near its multiples."""
    lag = float(best)
    for multiple in range(2, 17):
        if (near := round(lag * multiple)) + 3 > len(auto) * 0.75:
            break
        lag = (near - 2 + int(auto[near - 2 : near + 3].argmax())) / multiple
    return lag
