"""MMAR: 1000 questions over speech, sound, music and their mixes (arXiv 2505.13032).

The metadata have two versions with the same ids: `MMAR-meta.json` of May 2025, which lies on the hub beside the audio,
and `MMAR-meta.jsonl` of February 2026, with cues, thinking and rubrics. Either works; both are joined on id.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from cascade.datasets import metadata
from cascade.types import Dataset

ABOUT = {
    "description": "1000 questions over speech, sound, music and their mixes; 5.4 hours",
    "version": "2025-05 or 2026-02",
    "licence": "CC BY-NC 4.0",
}
_MISSING = "unpack mmar-audio.tar.gz of the hub dataset BoJack/MMAR beside its MMAR-meta.json and give --data DIR"


def load(data: Path | None = None) -> Dataset:
    """The benchmark from a folder that holds its metadata and its `audio/`."""
    dataset = metadata.load("mmar", data, "*meta*.json*", _MISSING, lambda row: row)
    version = "2026-02" if any("rubric" in item.reference for item in dataset.items) else "2025-05"
    return replace(dataset, version=version, licence=ABOUT["licence"])
