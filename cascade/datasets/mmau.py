"""MMAU test-mini: 1000 questions over speech, sound and music, by task and difficulty (arXiv 2410.19168).

About a quarter of the items were revised in v05.15.25, so scores of different versions do not compare: the digest of
the file is part of every run.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from cascade.datasets import metadata
from cascade.types import Dataset

ABOUT = {
    "description": "test-mini: 1000 questions over speech, sound and music",
    "items": 1000,
    "size": "-",
    "version": "as in the file",
    "licence": "Apache-2.0",
}
_MISSING = (
    "download mmau-test-mini.json from github.com/Sakshi113/MMAU and the clips from huggingface.co/datasets/"
    "gamma-lab-umd/MMAU-test-mini, put them into one folder as the metadata's paths say, and give --data DIR"
)


def load(data: Path | None = None, *, audio: bool = True) -> Dataset:
    """Return the benchmark, from a folder that holds its metadata and its clips; `audio_id` is the clip's path."""

    def adapt(row: metadata.Row) -> metadata.Row:
        return {"audio_path": row.get("audio_id"), **row, "audio_id": None}

    dataset = metadata.load("mmau", data, "mmau-test-mini*.json*", _MISSING, adapt)
    return replace(dataset, licence=str(ABOUT["licence"]))


def where() -> Path | None:
    """Return None: this benchmark is not fetched."""
    return None
