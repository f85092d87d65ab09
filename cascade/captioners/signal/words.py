"""The measurements of a clip in words: its levels, its sides, and its spectra."""

from __future__ import annotations

import time
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np

from cascade.captioners.signal import measures
from cascade.captioners.signal.engine import Params
from cascade.captioners.signal.measures import FPS, STEP, Floats, Levels, Spectra, decibels, note
from cascade.types import Caption

FITTING, CLOSE = 0.7, 0.06  # correlation with a key's profile; a lead over the next key that is no lead
VOICED = 0.2  # share of audible frames with one clear pitch from which on a pitch range is stated
COURSES = ("falling", "rising")
SIDE = 3.0  # dB between the channels from which on a sound is on one side

_Finding = tuple[str, dict[str, Any]]  # a sentence, or "", and its facts in `meta`


def caption(params: Params, about: dict[str, str], clip: Path) -> Caption:
    """Return the caption of a clip, with what it was measured by (`about`) in `meta`."""
    began = time.perf_counter()
    levels = measures.levels(clip)
    curve = decibels(levels.curve.mean(axis=1))
    if curve.max() < params.silence_db:
        text = f"The whole clip is silent: nothing in it is louder than {params.silence_db:g} dBFS."
        facts: dict[str, Any] = {"silences": [[0.0, round(levels.duration, 2)]], "onsets": 0, **levels.decoding}
    else:
        text, facts = _describe(params, clip, levels, curve)
    channels = {1: "mono", 2: "stereo"}.get(levels.channels, f"{levels.channels} channels")
    length = "under 0.01"
    if levels.duration >= 0.01:
        length = f"{levels.duration:.1f}" if levels.duration >= 1 else f"{levels.duration:.2f}"
    meta = {
        "duration_s": round(levels.duration, 4),
        "sample_rate": levels.rate,
        "channels": levels.channels,
        "rms_db": round(levels.rms_db, 2),
        "peak_db": round(levels.peak_db, 2),
        "flat_tops": round(levels.flat, 5),
        "tempo_bpm": None,
        "key": None,
        **facts,
        "seconds": round(time.perf_counter() - began, 3),
        **about,
    }
    return Caption(text=f"The clip lasts {length} s ({channels}, {levels.rate} Hz). {text}", meta=meta)


def _describe(params: Params, clip: Path, levels: Levels, curve: Floats) -> _Finding:
    """Return a line about levels, a line about spectra, and the facts of both."""
    distortion = ""
    # A slow sine of 16 bits has a few equal samples at its crests, so a share under 2 % counts at full scale only.
    if levels.flat >= 0.02 or (levels.flat >= 0.001 and levels.peak_db >= -0.2):
        distortion = f"{100 * levels.flat:.2g} % of the samples lie on flat tops (clipping or square waves)."
    spectra = measures.spectra(clip, 10 ** (levels.peak_db / 20))
    cancelled = ""
    if spectra.decoding.get("decoding", {}).get("cancelled_s", 0) > levels.duration / 2:
        cancelled = "The channels cancel each other when mixed."
    first: list[_Finding] = [
        (_loudness(levels, curve), {}),
        (distortion, {}),
        _silences(params, levels, curve),
        _sides(levels, curve),
        (cancelled, spectra.decoding),
    ]
    second: list[_Finding] = []
    if spectra.power.max() >= -60:
        second = [_onsets(params, spectra), _character(spectra), _key(spectra), _pitch(spectra)]
    lines: list[str] = []
    facts: dict[str, Any] = {}
    for findings in (first, second):
        lines.append(" ".join(text for text, _ in findings if text))
        for _, more in findings:
            facts |= more
    return "\n".join(lines).strip(), facts


def _loudness(levels: Levels, curve: Floats) -> str:
    """Return the level, and its course over the clip by its tenths and thirds."""
    text = f"Its level is {levels.rms_db:.0f} dBFS (peak {levels.peak_db:.0f})"
    if len(curve) < 20:
        return f"{text}."
    tenths, thirds = _part_levels(curve, 10), _part_levels(curve, 3)
    low, high = float(tenths.min()), float(tenths.max())
    if high - low <= 3:
        return f"{text} and steady."
    trend = float(np.corrcoef(np.arange(10), tenths)[0, 1])
    if abs(trend) > 0.8:
        return f"{text}, {COURSES[trend > 0]} from {tenths[0]:.0f} to {tenths[-1]:.0f}."
    if thirds.max() - np.median(thirds) >= 3:
        return f"{text}, loudest {('at the beginning', 'in the middle', 'at the end')[int(thirds.argmax())]}."
    return f"{text}, varying from {low:.0f} to {high:.0f}."


def _part_levels(curve: Floats, count: int) -> Floats:
    """Return the level of each of `count` equal parts, none lower than 40 dB under the loudest."""
    parts: Floats = np.array([decibels((10 ** (part / 10)).mean()) for part in np.array_split(curve, count)])
    return np.maximum(parts, parts.max() - 40)


def _silences(params: Params, levels: Levels, curve: Floats) -> _Finding:
    """Return the silences; their [start, end] are in seconds. librosa would need the whole clip in memory."""
    loud = float(np.percentile(curve[curve >= params.silence_db], 95))
    quiet = np.pad(curve < max(params.silence_db, loud - 40), 1)
    edges = np.flatnonzero(quiet[1:] != quiet[:-1]).reshape(-1, 2) * STEP
    spans = [[round(start, 2), round(min(end, levels.duration), 2)] for start, end in edges.tolist()]
    silences = [span for span in spans if span[1] - span[0] >= params.shortest_silence]
    facts = {"silences": silences}
    if not silences:
        return "", facts
    if len(silences) > 6:
        total = sum(end - start for start, end in silences)
        return f"It is silent {len(silences)} times, {total:.1f} s in all.", facts
    return f"It is silent from {', '.join(f'{start:.1f} to {end:.1f} s' for start, end in silences)}.", facts


def _onsets(params: Params, spectra: Spectra) -> _Finding:
    times = measures.onsets(spectra)
    facts: dict[str, Any] = {"onsets": len(times), "onset_times": [round(onset, 2) for onset in times[: params.listed]]}
    if not times or (len(times) == 1 and times[0] < 0.1):
        return "Nothing begins distinctly after the start.", facts
    text = "There is 1 distinct onset" if len(times) == 1 else f"There are {len(times)} distinct onsets"
    if len(times) > params.listed:
        text += f", {len(times) * FPS / len(spectra.rise):.1f} a second."
    else:
        text += f", at {', '.join(f'{onset:.1f}' for onset in times)} s."
    if pulse := measures.tempo(spectra, times):
        beats, regularity = pulse
        text += f" They follow a regular pulse of about {beats:.0f} a minute."
        facts |= {"tempo_bpm": round(beats, 1), "tempo_regularity": round(regularity, 3)}
    return text, facts


def _character(spectra: Spectra) -> _Finding:
    facts = {"flatness": round(spectra.flatness, 4), "harmonic": round(spectra.harmonic, 4)}
    if len(spectra.rise) < 10:
        return "", facts
    noisy = spectra.flatness > 0.4
    if spectra.harmonic < 0.2:
        sound = "percussive and noise-like" if noisy else "percussive"
    elif spectra.flatness > 0.2:
        sound = "noise-like" if noisy else "partly noise-like"
    else:
        sound = "tonal" if spectra.harmonic > 0.45 else "part tonal, part percussive"
    return f"The sound is {sound}.", facts


def _key(spectra: Spectra) -> _Finding:
    fit = measures.key(spectra.chroma)
    if fit is None or fit[1] < FITTING:
        return "", {}
    name, correlation, lead, rival = fit
    text = f"The notes fit {name} best"
    if lead < CLOSE:
        text += f", {rival} almost as well"
    return f"{text}.", {"key": name, "key_correlation": round(correlation, 3), "key_lead": round(lead, 3)}


def _pitch(spectra: Spectra) -> _Finding:
    pitch = spectra.pitch[~np.isnan(spectra.pitch)]
    share = len(pitch) / max(1, int((spectra.power > spectra.power.max() - 40).sum()))
    facts: dict[str, Any] = {"pitched": round(share, 3), "pitch_hz": None}
    if len(pitch) < 5 or share < VOICED:
        return "", facts
    low, high = (float(value) for value in np.percentile(pitch, [3, 97]))
    facts["pitch_hz"] = [round(low, 1), round(high, 1)]
    if high / low < 2 ** (0.7 / 12):
        return f"One steady pitch sounds, {note((low + high) / 2)} ({(low + high) / 2:.0f} Hz).", facts
    ends = f"from {note(low)} ({low:.0f} Hz) to {note(high)} ({high:.0f} Hz)"
    trend = float(np.corrcoef(np.arange(len(pitch)), np.log(pitch))[0, 1])
    course = "moving up and down"
    if abs(trend) > 0.85:
        course = COURSES[trend > 0]
    return f"A single clear pitch sounds in {share:.0%} of it, {ends}, {course}.", facts


def _sides(levels: Levels, curve: Floats) -> _Finding:
    """Return where the sound of a stereo clip is and when it moves, and the facts for `meta`."""
    if levels.channels != 2:
        return "", {}
    left, right = (float(value) for value in decibels(levels.curve.mean(axis=0)))
    facts = {"left_minus_right_db": round(left - right, 2), "channels_alike": levels.alike}
    if levels.alike:
        return "Both channels are the same.", facts
    places = []  # every half second that is audible
    for start in range(0, len(curve), 10):
        power = levels.curve[start : start + 10].mean(axis=0)
        if decibels(power.mean()) > curve.max() - 40:
            places.append((start, _place(*decibels(power))))
    spans = []
    for place, run in groupby(places, key=itemgetter(1)):
        starts = [start for start, _ in run]
        spans.append((starts[0] * STEP, min((starts[-1] + 10) * STEP, levels.duration), place))
    if len({place for _, _, place in spans}) > 1:
        if len(spans) > 6:
            return f"The sound changes sides {len(spans) - 1} times.", facts
        moves = ", ".join(f"{place} {start:.1f}-{end:.1f} s" for start, end, place in spans)
        return f"The sound moves: {moves}.", facts
    place = _place(left, right)
    if place == "centre":
        return "Left and right are equally loud throughout.", facts
    if abs(left - right) > 30:
        return f"The sound is only on the {place}.", facts
    return f"It is {abs(left - right):.0f} dB louder on the {place}.", facts


def _place(left: float, right: float) -> str:
    if abs(left - right) < SIDE:
        return "centre"
    return "left" if left > right else "right"
