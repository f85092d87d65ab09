"""The clip itself in the place of a caption: what will be sent of it, for a model that hears.

The text says in words what is sent; `meta["audio"]` holds the digest of the clip's bytes with the form of what is sent.
The bytes are made anew for each request (`io/encoding.py`), so that a run holds no clips.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cascade.errors import UserError
from cascade.io import encoding
from cascade.io.digests import digest_file
from cascade.types import SENT_AUDIO, Caption, Captioner, Failure, Host

VERSION = "1"
SLOT = SENT_AUDIO
NEEDS = dict.fromkeys(("soundfile", "av", "soxr"), "pip install 'audio-cascade[local]'")
Params = encoding.AudioForm


def spelled(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters with what does not apply replaced. Raises UnknownName or UserError for a bad value."""
    params = {name: str(value).lower() for name, value in given.items()}
    if unknown := params.keys() - asdict(Params()).keys():
        return {name: given[name] for name in unknown}  # The caller names it in its error.
    try:
        seconds = float(params.get("max_seconds", Params().max_seconds))
    except ValueError:
        raise UserError(f"audio(max_seconds={params['max_seconds']}): give a number of seconds") from None
    form = encoding.AudioForm(**{**asdict(Params()), **params, "max_seconds": seconds})
    return asdict(encoding.check_form(form))


def make(params: encoding.AudioForm, host: Host) -> Captioner:
    """Return the function that says what is sent of each clip; `host` changes nothing."""

    def describe(clip: Path) -> Caption:
        about = encoding.describe(clip, params)
        return Caption(text=in_words(about), meta={"audio": {"clip": digest_file(clip), **about}})

    def caption(clips: Sequence[Path]) -> list[Caption | Failure]:
        return [describe(clip) for clip in clips]

    return caption


def in_words(about: Mapping[str, Any]) -> str:
    """Return what is sent, as people read it."""
    channels = {1: "mono", 2: "stereo"}.get(about["channels"], f"{about['channels']} channels")
    content = {"silence": "silence in its place, ", "reversed": "reversed, "}.get(about.get("content", ""), "")
    return f"{content}sent as {about['format']}, {about['rate'] / 1000:g} kHz, {channels}, {about['seconds']:.1f} s"
