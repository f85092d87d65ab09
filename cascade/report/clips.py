"""The clips of a report: where they are from the page, how they look, and small copies where the page carries them."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import quote

from cascade.errors import ClipError, MissingExtra
from cascade.io import audio
from cascade.types import Item

BINS = 240  # bars of a waveform picture
_LEVELS = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"  # a bar's height, a character
_BLOCK = 0.02  # seconds; the finest that a bar is made from
_DECODERS = ("numpy", "soundfile", "av", "soxr")


def clip_records(items: Sequence[Item], root: str, page: Path, *, embed: bool) -> dict[str, dict[str, Any]]:
    """By the items' `audio`: {name, src, peaks, seconds}, or {name, missing} with the reason.

    `src` is the path from the page's folder, percent-encoded; `data` an Opus copy (WebM, base64) where they are to be
    embedded. Raises MissingExtra where that cannot be done here.
    """
    lacking = next((name for name in _DECODERS if find_spec(name) is None), None)
    if embed and lacking:
        raise MissingExtra("--embed-audio", lacking, "pip install 'audio-cascade[local]'")
    names = list(dict.fromkeys(item.audio for item in items))
    one = partial(_tell, root=root, page=page, embed=embed, readable=lacking is None)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return dict(zip(names, pool.map(one, names), strict=True))


def _tell(name: str, root: str, page: Path, *, embed: bool, readable: bool) -> dict[str, Any]:
    path = Path(root) / name
    told: dict[str, Any] = {"name": name}
    if not root:
        return {**told, "missing": "the run does not say where its clips are"}
    try:
        if not path.is_file():
            return {**told, "missing": f"no such file: {path}"}
        told["src"] = address(path, page)
        if readable:
            told |= peaks(path)
        if embed:
            told["data"] = base64.b64encode(audio.opus(path)).decode()
    except (ClipError, OSError, ValueError) as error:
        told["damage"] = str(error)
    return told


def address(path: Path, page: Path) -> str:
    """The clip's address relative to the page's folder, or absolute where they are on different drives."""
    # As browsers do: without following links, behind which a clip may have a name without its ending.
    target = Path(os.path.abspath(path))
    try:
        relative = os.path.relpath(target, os.path.dirname(os.path.abspath(page)))
    except ValueError:
        return target.as_uri()
    return quote(os.fsencode(relative.replace(os.sep, "/")))


def peaks(path: Path) -> dict[str, Any]:
    """How loud the clip is along its length: {peaks: a character a bar, the loudest the last of them; seconds}.

    Raises ClipError. Holds a block of the clip at a time.
    """
    import numpy as np

    rate = audio.probe(path).sample_rate
    step = max(1, round(_BLOCK * rate))
    heights, frames = [], 0
    for block in audio.blocks(path, None, 10.0):
        frames += len(block)
        heights += [float(part) for part in np.maximum.reduceat(np.abs(block), range(0, len(block), step))]
    bars = list(_bars(heights))
    loudest = max(bars) or 1.0
    drawn = "".join(_LEVELS[round(bar / loudest * (len(_LEVELS) - 1))] for bar in bars)
    return {"peaks": drawn, "seconds": round(frames / rate, 3)}


def _bars(heights: Sequence[float]) -> Iterator[float]:
    count = min(BINS, len(heights))
    for bar in range(count):
        yield max(heights[bar * len(heights) // count : max((bar + 1) * len(heights) // count, 1)])


def unheard(clips: Mapping[str, Mapping[str, Any]]) -> int:
    """How many clips the page cannot play."""
    return sum("missing" in clip for clip in clips.values())
