"""Arrays that were computed once, kept in a folder, and believed only as they were written: a digest is in the name."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from cascade.io.digests import digest_bytes


def load(folder: Path, name: str, count: int) -> Any:
    """The array under that name, of `count` rows; None where there is none, or it was altered or cut short."""
    for file in folder.glob(f"{name}-*.npy"):
        try:
            content = file.read_bytes()
            if digest_bytes(content).removeprefix("b2:") == file.stem.rpartition("-")[2]:
                found = np.load(file, allow_pickle=False)
                if len(found) == count:
                    return np.asarray(found)
        except (OSError, ValueError, EOFError):
            continue
    return None


def save(folder: Path, name: str, found: Any) -> None:
    """Keep an array. A folder that cannot be written costs time at the next start, and nothing else."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle, made = tempfile.mkstemp(dir=folder, suffix=".tmp")
        with open(handle, "wb") as file:
            np.save(file, found, allow_pickle=False)
        content = Path(made).read_bytes()
        os.replace(made, folder / f"{name}-{digest_bytes(content).removeprefix('b2:')}.npy")
    except OSError:
        return
