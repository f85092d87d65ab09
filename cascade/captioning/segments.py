"""Parts of clips as separate files: cut once in a process, named by the digest of the clip and the times."""

from __future__ import annotations

import math
import shutil
import time
import wave
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any

from cascade.errors import CacheError, ClipError
from cascade.io import audio, files
from cascade.io.digests import digest, digest_file
from cascade.io.encoding import AudioForm, check_wav_size, encode

_SHORTEST = 0.1  # seconds; a shorter sound cannot be recognised
_ABANDONED = 86_400.0  # seconds without a new part


def parts_folder(cache: Path) -> TemporaryDirectory[str]:
    """Make a temporary folder for the parts that a process cuts.

    It is in the cache, because the parts may need gigabytes. Folders of killed processes are removed: those in which
    nothing was cut for a day. A process that still runs cuts its parts again. Raises CacheError where no folder can be
    made.
    """
    scratch = cache / "scratch"
    try:
        scratch.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CacheError(f"{scratch}: cannot be made ({error.strerror}); give --cache another folder") from None
    for folder in scratch.glob("parts*"):
        with suppress(FileNotFoundError):  # another process may have removed it
            if time.time() - folder.stat().st_mtime > _ABANDONED:
                shutil.rmtree(folder, ignore_errors=True)
    return TemporaryDirectory(prefix="parts-", dir=scratch, ignore_cleanup_errors=True)


def cut(clip: Path, start: float | None, end: float | None, folder: Path) -> Path:
    """Return a WAV file in `folder` with the part of a clip between two times in seconds; the whole is the clip itself.

    The part has the clip's rate and channels, in 16 bits. Raises ClipError if the part is not in the clip.
    """
    if start is None and end is None:
        return clip
    start = start or 0.0
    if end is None:
        end = math.inf
    path = _place(folder, clip, start, str(end))
    if not path.exists():
        with files.replacing(path) as file:
            _write_part(file, clip, start, end)
    return path


def altered(clip: Path, form: AudioForm, folder: Path) -> Path:
    """Return a WAV file in `folder` with the audio that a control sends instead of a clip. Raises ClipError."""
    path = _place(folder, clip, form.content, form.rate, form.channels)
    if not path.exists():
        files.write_bytes(path, encode(clip, replace(form, format="wav"))[0])
    return path


def _place(folder: Path, clip: Path, *what: Any) -> Path:
    """Create the folder, and return the path of a file made from a clip, named by digest. Raises ClipError."""
    try:
        name = digest([digest_file(clip), *what]).removeprefix("b2:")
    except OSError as error:
        raise ClipError(f"{clip.name}: {error.strerror}") from None
    path = folder / f"{name}.wav"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _write_part(file: IO[bytes], clip: Path, start: float, end: float) -> None:
    import numpy as np

    blocks = audio.blocks(clip, None, 30.0, mono=False)
    rate, place, written = blocks.rate, 0, 0
    first, last = min(start * rate, 1e15), min(end * rate, 1e15)  # Infinity cannot be converted to an integer.
    with wave.open(file, "wb") as sound:
        sound.setparams((blocks.channels, 2, rate, 0, "NONE", ""))
        for block in blocks:
            part = block[max(0, round(first) - place) : max(0, round(last) - place)]
            place, written = place + len(block), written + len(part)
            check_wav_size(2 * blocks.channels * written)
            sound.writeframes(np.round(np.clip(part, -1, 1) * 32767).astype("<i2").tobytes())
            if place >= last:
                break
    if written < _SHORTEST * rate:
        wanted = f"{start:g} to {end:g} s".replace("inf s", "the end")
        raise ClipError(
            f"{wanted} is no part of the clip, which is {place / rate:.1f} s long; a part has {_SHORTEST} s or more"
        )
