"""Parts of clips as files of their own: cut once, named by the digest of the clip and the times."""

from __future__ import annotations

import io
import math
import wave
from pathlib import Path

from cascade.errors import ClipError
from cascade.io import audio, files
from cascade.io.digests import digest, digest_file

_SHORTEST = 0.1  # seconds; less is no sound that could be recognised


def cut(clip: Path, start: float | None, end: float | None, folder: Path) -> Path:
    """Return a WAV file in `folder` with the part of a clip between two times in seconds, or the clip for the whole.

    The part has the clip's rate and channels, in 16 bits. Raises ClipError where the part is not in the clip.
    """
    if start is None and end is None:
        return clip
    start, end = start or 0.0, math.inf if end is None else end
    try:
        name = digest([digest_file(clip), start, str(end)]).removeprefix("b2:")
    except OSError as error:
        raise ClipError(f"{clip.name}: {error.strerror}") from None
    path = folder / "parts" / f"{name}.wav"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_bytes(path, _wav(clip, start, end))
    return path


def _wav(clip: Path, start: float, end: float) -> bytes:
    import numpy as np

    rate = audio.probe(clip).sample_rate
    first, last = start * rate, end * rate
    parts: list[audio.Samples] = []
    place = 0
    for block in audio.blocks(clip, rate, 30.0, mono=False):
        parts.append(block[max(0, round(first) - place) : round(max(0, min(last - place, len(block))))])
        place += len(block)
        if place >= last:
            break
    samples = np.concatenate(parts)  # A clip has one block at least.
    if len(samples) < _SHORTEST * rate:
        wanted = f"{start:g} to {end:g} s".replace("inf s", "the end")
        raise ClipError(
            f"{wanted} is no part of the clip, which is {place / rate:.1f} s long; a part has {_SHORTEST} s or more"
        )
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setparams((samples.shape[1], 2, rate, len(samples), "NONE", ""))
        file.writeframes(np.round(np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
    return buffer.getvalue()
