"""Voices for the clips of the demo set, by flite: `slt` is a woman, `rms` a man, `awb` a man from Scotland."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

import soundfile
from sounds import Sound, level, then

VOICE_LEVEL = -20.0  # dB
BEHIND = -36.0  # dB, of what lies under a voice


def say(voice: str, text: str) -> Sound:
    """The text as one of flite's voices speaks it."""
    with tempfile.TemporaryDirectory() as folder:
        spoken = Path(folder) / "spoken.wav"
        subprocess.run(["flite", "-voice", voice, "-t", text, "-o", str(spoken)], check=True, capture_output=True)
        samples, _ = soundfile.read(spoken, dtype="float64")
    return level(samples, VOICE_LEVEL)


def talk(*turns: tuple[str, str]) -> Sound:
    """Voices that speak in turn."""
    return then(*(say(voice, text) for voice, text in turns), pause=0.35)
