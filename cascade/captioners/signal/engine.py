"""Measured facts about a clip in words: length, level, silences, onsets, pulse, key, pitch, channels, distortion.

It states measurements and leaves out what it cannot measure clearly: no tempo without regularity, no key without
several pitch classes that fit a key's profile, no pitch where several notes sound together. Tempo is the pulse of
onsets, and a listener may tap half or double of it; a key and its relative share their notes. Levels are in dBFS, 0 for
a square wave at full scale. A clip with nothing above `silence_db` is said to be silent.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version

from cascade.types import Captioner, Host

VERSION = "1"
SLOT = "music"
HEADING = "Measurements"
NEEDS = dict.fromkeys(("numpy", "soundfile", "av", "soxr", "librosa"), "pip install 'audio-cascade[local]'")


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
    """Return the captioner. It runs on the processor, whatever `host.device` says."""
    from cascade.captioners.signal import words

    about = {name: version(name) for name in ("librosa", "numpy", "soxr")} | {"device": "cpu"}
    return lambda clips: [words.caption(params, about, clip) for clip in clips]
