"""Arrays that were computed before, kept in a folder. A file's name ends in the digest of its content."""

from __future__ import annotations

import io
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from cascade.io.digests import digest_bytes


def load(folder: Path, name: str, count: int) -> Any:
    """Return the array of `count` rows under that name; None where there is none, or it was altered or cut short."""
    for file in folder.glob(f"{name}-*.npy"):
        try:
            if file.name != _file_name(name, file.read_bytes()):
                continue
            array = np.load(file, allow_pickle=False)
        except (OSError, ValueError, EOFError):
            continue
        if len(array) == count:
            return np.asarray(array)
    return None


def save(folder: Path, name: str, array: Any) -> None:
    """Keep an array. Where the folder cannot be written, the next start computes it again."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    content = buffer.getvalue()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle, path = tempfile.mkstemp(dir=folder, suffix=".tmp")
        with open(handle, "wb") as file:
            file.write(content)
        os.replace(path, folder / _file_name(name, content))
    except OSError:
        return


def _file_name(name: str, content: bytes) -> str:
    return f"{name}-{digest_bytes(content).removeprefix('b2:')}.npy"
