"""Measured facts about a clip in words: length, level, silences, onsets, pulse, key, pitch, channels, distortion.

It states measurements and leaves out what it cannot measure clearly: no tempo without regularity, no key without
several pitch classes that fit a key's profile, no pitch where several notes sound at once. Tempo is the pulse of
onsets, and half or double of it may be what a listener taps; a key and its relative share their notes. Levels are in
dBFS, 0 for a square wave at full scale. A clip with nothing above `silence_db` is said to be silent.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cascade.types import Caption, Captioner, Host

if TYPE_CHECKING:
    from cascade.captioners.signal.measures import Floats, Levels, Spectra

VERSION = "1"
SLOT = "music"
NEEDS = dict.fromkeys(("numpy", "soundfile", "av", "soxr", "librosa"), "pip install 'audio-cascade[local]'")

FITTING, CLOSE = 0.7, 0.06  # correlation with a key's profile; a lead over the next key that is no lead
VOICED = 0.2  # share of audible frames with one clear pitch from which on a pitch range is stated


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    """What may change the words.

    `silence_db`: -70 dBFS, under which a listener at a usual setting hears nothing; within a clip, what lies 40 dB
    under its loud parts is silence too. `shortest_silence`: 0.3 s, longer than the stops within words.
    `listed`: 20, the most onsets whose times are given one by one.
    """

    silence_db: float = -70.0
    shortest_silence: float = 0.3
    listed: int = 20


def make(params: Params, host: Host) -> Captioner:
    """The measurer. It runs on the processor, whatever `host.device` says."""
    about = {name: version(name) for name in ("librosa", "numpy", "soxr")} | {"device": "cpu"}

    def caption(clips: Sequence[Path]) -> list[Caption]:
        return [_measured(params, about, clip) for clip in clips]

    return caption


def _measured(params: Params, about: dict[str, str], clip: Path) -> Caption:
    from cascade.captioners.signal import measures

    began = time.perf_counter()
    levels = measures.levels(clip)
    curve = measures.decibels(levels.curve.mean(axis=1))
    silent = curve.max() < params.silence_db
    text, facts = _silent(params, levels) if silent else _audible(params, clip, levels, curve)
    meta = {**_common(levels), **facts, "seconds": round(time.perf_counter() - began, 3), **about}
    return Caption(text=text, meta=meta)


def _common(levels: Levels) -> dict[str, Any]:
    return {
        "duration_s": round(levels.duration, 4),
        "sample_rate": levels.rate,
        "channels": levels.channels,
        "rms_db": round(levels.rms_db, 2),
        "peak_db": round(levels.peak_db, 2),
        "flat_tops": round(levels.flat, 5),
        "tempo_bpm": None,
        "key": None,
    }


def _silent(params: Params, levels: Levels) -> tuple[str, dict[str, Any]]:
    text = f"{_opening(levels)} The whole clip is silent: nothing in it is louder than {params.silence_db:g} dBFS."
    return text, {"silences": [[0.0, round(levels.duration, 2)]], "onsets": 0}


def _audible(params: Params, clip: Path, levels: Levels, curve: Floats) -> tuple[str, dict[str, Any]]:
    from cascade.captioners.signal import measures, stereo

    quiet = _silences(params, levels, curve)
    sides, facts = stereo.sides(levels, curve)
    first = [_opening(levels), _loudness(levels, curve), _distortion(levels), _pauses(quiet), sides]
    found = measures.spectra(clip, 10 ** (levels.peak_db / 20))
    said: list[tuple[str, dict[str, Any]]] = [("The channels cancel each other when mixed.", {})]
    if found.power.max() >= -60:
        said = [_onsets(params, found), _character(found), _key(found), _pitch(found)]
    facts = {"silences": quiet, **facts} | {name: value for _, more in said for name, value in more.items()}
    return "\n".join(" ".join(filter(None, part)) for part in (first, [text for text, _ in said])).strip(), facts


def _opening(levels: Levels) -> str:
    channels = {1: "mono", 2: "stereo"}.get(levels.channels, f"{levels.channels} channels")
    length = f"{levels.duration:.{1 if levels.duration >= 1 else 2}f}" if levels.duration >= 0.01 else "under 0.01"
    return f"The clip lasts {length} s ({channels}, {levels.rate} Hz)."


def _loudness(levels: Levels, curve: Floats) -> str:
    level = f"Its level is {levels.rms_db:.0f} dBFS (peak {levels.peak_db:.0f})"
    return f"{level}{_course(curve)}." if len(curve) >= 20 else f"{level}."


def _course(curve: Floats) -> str:
    """How the level goes over the clip, from its tenths and thirds."""
    import numpy as np

    parts = _parts(curve, 10)
    low, high = float(parts.min()), float(parts.max())
    if high - low <= 3:
        return " and steady"
    trend = float(np.corrcoef(np.arange(10), parts)[0, 1])
    if abs(trend) > 0.8:
        return f", {'rising' if trend > 0 else 'falling'} from {parts[0]:.0f} to {parts[-1]:.0f}"
    thirds = _parts(curve, 3)
    if thirds.max() - np.median(thirds) >= 3:
        return f", loudest {('at the beginning', 'in the middle', 'at the end')[int(thirds.argmax())]}"
    return f", varying from {low:.0f} to {high:.0f}"


def _parts(curve: Floats, count: int) -> Floats:
    """The level of each of `count` equal parts, none lower than 40 dB under the loudest."""
    import numpy as np

    from cascade.captioners.signal.measures import decibels

    parts: Floats = np.array([decibels((10 ** (part / 10)).mean()) for part in np.array_split(curve, count)])
    return np.maximum(parts, parts.max() - 40)


def _distortion(levels: Levels) -> str:
    # A slow sine of 16 bits has a few equal samples at its crests, so a share under 2 % counts at full scale only.
    if levels.flat < 0.001 or (levels.peak_db < -0.2 and levels.flat < 0.02):
        return ""
    return f"{100 * levels.flat:.2g} % of the samples lie on flat tops (clipping or square waves)."


def _silences(params: Params, levels: Levels, curve: Floats) -> list[list[float]]:
    """[start, end] of each stretch of silence, in seconds; librosa would split a clip that is held as a whole."""
    import numpy as np

    from cascade.captioners.signal.measures import STEP

    loud = float(np.percentile(curve[curve >= params.silence_db], 95))
    quiet = np.pad(curve < max(params.silence_db, loud - 40), 1)
    spans = np.flatnonzero(quiet[1:] != quiet[:-1]).reshape(-1, 2) * STEP
    ends = [[round(start, 2), round(min(end, levels.duration), 2)] for start, end in spans.tolist()]
    return [span for span in ends if span[1] - span[0] >= params.shortest_silence]


def _pauses(silences: list[list[float]]) -> str:
    if not silences:
        return ""
    if len(silences) > 6:
        total = sum(end - start for start, end in silences)
        return f"It is silent {len(silences)} times, {total:.1f} s in all."
    return f"It is silent from {', '.join(f'{start:.1f} to {end:.1f} s' for start, end in silences)}."


def _onsets(params: Params, found: Spectra) -> tuple[str, dict[str, Any]]:
    from cascade.captioners.signal import measures

    times = measures.onsets(found)
    facts: dict[str, Any] = {"onsets": len(times), "onset_times": [round(time, 2) for time in times[: params.listed]]}
    if not times or (len(times) == 1 and times[0] < 0.1):
        return "Nothing begins distinctly after the start.", facts
    text = "There is 1 distinct onset" if len(times) == 1 else f"There are {len(times)} distinct onsets"
    if len(times) > params.listed:
        text += f", {len(times) * measures.FPS / len(found.rise):.1f} a second."
    else:
        text += f", at {', '.join(f'{time:.1f}' for time in times)} s."
    if pulse := measures.tempo(found, times):
        text += f" They follow a regular pulse of about {pulse[0]:.0f} a minute."
        facts |= {"tempo_bpm": round(pulse[0], 1), "tempo_regularity": round(pulse[1], 3)}
    return text, facts


def _character(found: Spectra) -> tuple[str, dict[str, Any]]:
    facts = {"flatness": round(found.flatness, 4), "harmonic": round(found.harmonic, 4)}
    if len(found.rise) < 10:
        return "", facts
    if found.harmonic < 0.2:
        return f"The sound is percussive{' and noise-like' if found.flatness > 0.4 else ''}.", facts
    if found.flatness > 0.2:
        return f"The sound is {'noise-like' if found.flatness > 0.4 else 'partly noise-like'}.", facts
    return f"The sound is {'tonal' if found.harmonic > 0.45 else 'part tonal, part percussive'}.", facts


def _key(found: Spectra) -> tuple[str, dict[str, Any]]:
    from cascade.captioners.signal import measures

    fit = measures.key(found.chroma)
    if fit is None or fit[1] < FITTING:
        return "", {}
    name, correlation, lead, rival = fit
    facts = {"key": name, "key_correlation": round(correlation, 3), "key_lead": round(lead, 3)}
    return f"The notes fit {name} best{f', {rival} almost as well' if lead < CLOSE else ''}.", facts


def _pitch(found: Spectra) -> tuple[str, dict[str, Any]]:
    import numpy as np

    from cascade.captioners.signal.measures import note

    pitch = found.pitch[~np.isnan(found.pitch)]
    share = len(pitch) / max(1, int((found.power > found.power.max() - 40).sum()))
    facts: dict[str, Any] = {"pitched": round(share, 3), "pitch_hz": None}
    if len(pitch) < 5 or share < VOICED:
        return "", facts
    low, high = (float(value) for value in np.percentile(pitch, [3, 97]))
    facts["pitch_hz"] = [round(low, 1), round(high, 1)]
    if high / low < 2 ** (0.7 / 12):
        return f"One steady pitch sounds, {note((low + high) / 2)} ({(low + high) / 2:.0f} Hz).", facts
    ends = f"from {note(low)} ({low:.0f} Hz) to {note(high)} ({high:.0f} Hz)"
    trend = float(np.corrcoef(np.arange(len(pitch)), np.log(pitch))[0, 1])
    way = ("rising" if trend > 0 else "falling") if abs(trend) > 0.85 else "moving up and down"
    return f"A single clear pitch sounds in {share:.0%} of it, {ends}, {way}.", facts
