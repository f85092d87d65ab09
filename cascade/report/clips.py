"""The clips of a report: their address from the page, their waveform, and small copies where the page embeds them."""

from __future__ import annotations

import base64
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from cascade.errors import ClipError, MissingExtra
from cascade.io import audio
from cascade.plugins import is_installed
from cascade.types import Item

BINS = 240  # bars of a waveform picture
_LEVELS = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"  # a bar's height, a character
_BLOCK = 0.02  # seconds; the finest that a bar is made from
_DECODERS = ("numpy", "soundfile", "av", "soxr")


def clip_records(items: Sequence[Item], root: str, page: Path, *, embed: bool) -> dict[str, dict[str, Any]]:
    """Return, by the items' `audio`: {name, src, peaks, seconds}, or {name, missing} with the reason.

    `src` is the path from the page's folder, percent-encoded; `data` an Opus copy (WebM, base64) where they are
    embedded. A clip that cannot be decoded has `damage`, with the reason. Raises MissingExtra where clips are to be
    embedded and the packages for it are not installed.
    """
    lacking = next((name for name in _DECODERS if not is_installed(name)), None)
    if embed and lacking:
        raise MissingExtra("--embed-audio", lacking, "pip install 'audio-cascade[local]'")
    names = list(dict.fromkeys(item.audio for item in items))
    describe = partial(_clip_record, root=root, page=page, embed=embed, decode=lacking is None)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return dict(zip(names, pool.map(describe, names), strict=True))


def _clip_record(name: str, root: str, page: Path, *, embed: bool, decode: bool) -> dict[str, Any]:
    path = Path(root) / name
    record: dict[str, Any] = {"name": name}
    if not root:
        return {**record, "missing": "the run does not say where its clips are"}
    try:
        if not path.is_file():
            return {**record, "missing": f"no such file: {path}"}
        record["src"] = address(path, page)
        if decode:
            record |= peaks(path)
        if embed:
            record["data"] = base64.b64encode(audio.opus(path)).decode()
    except (ClipError, OSError, ValueError) as error:
        record["damage"] = str(error)
    return record


def address(path: Path, page: Path) -> str:
    """Return the clip's address relative to the page's folder, or absolute where they are on different drives."""
    # Links are not followed, as in browsers: behind one a clip may have a name without its ending.
    target = Path(os.path.abspath(path))
    try:
        relative = os.path.relpath(target, os.path.dirname(os.path.abspath(page)))
    except ValueError:
        return target.as_uri()
    return quote(os.fsencode(relative.replace(os.sep, "/")))


def peaks(path: Path) -> dict[str, Any]:
    """Return the clip's waveform: {peaks: a character a bar, relative to the loudest; seconds}.

    Holds one block of the clip at a time. Raises ClipError.
    """
    import numpy as np

    blocks = audio.blocks(path, None, 10.0)
    step = max(1, round(_BLOCK * blocks.rate))
    heights, frames = [], 0
    for block in blocks:
        frames += len(block)
        heights += [float(part) for part in np.maximum.reduceat(np.abs(block), range(0, len(block), step))]
    count = min(BINS, len(heights))
    bars = []
    for bar in range(count):
        start, end = bar * len(heights) // count, (bar + 1) * len(heights) // count
        bars.append(max(heights[start : max(end, 1)]))
    loudest = max(bars) or 1.0
    drawn = "".join(_LEVELS[round(bar / loudest * (len(_LEVELS) - 1))] for bar in bars)
    return {"peaks": drawn, "seconds": round(frames / blocks.rate, 3)}
