"""The clip itself instead of a caption, for a model that hears: a description of the audio that will be sent.

The text says in words what is sent; `meta["audio"]` holds the digest of the clip's bytes with the form of what is sent.
The audio is encoded when a question is asked (`io/encoding.py`), so that a run keeps the last few clips in memory.
"""

from __future__ import annotations

from pathlib import Path

from cascade.io import encoding
from cascade.io.digests import digest_file
from cascade.types import SENT_AUDIO, Caption, Captioner, Host

VERSION = "1"
SLOT = SENT_AUDIO
NEEDS = dict.fromkeys(("soundfile", "av", "soxr"), "pip install 'audio-cascade[local]'")
Params = encoding.AudioForm


def make(params: encoding.AudioForm, host: Host) -> Captioner:
    """Return the function that says what is sent of each clip; `host` is not used."""

    def describe(clip: Path) -> Caption:
        about, notes = encoding.describe(clip, params)
        channels = {1: "mono", 2: "stereo"}.get(about["channels"], f"{about['channels']} channels")
        content = {"silence": "silence in its place, ", "reversed": "reversed, "}.get(about.get("content", ""), "")
        sent = f"sent as {about['format']}, {about['rate'] / 1000:g} kHz, {channels}, {about['seconds']:.1f} s"
        return Caption(text=content + sent, meta={"audio": {"clip": digest_file(clip), **about}, **notes})

    return lambda clips: list(map(describe, clips))
