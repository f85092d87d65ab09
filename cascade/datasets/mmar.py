"""MMAR: 1000 questions over speech, sound, music and their mixes (arXiv 2505.13032).

The metadata have two versions with the same ids: `MMAR-meta.json` of May 2025, which lies on the hub beside the audio,
and `MMAR-meta.jsonl` of February 2026, with cues, thinking and rubrics. Either works; two in one folder
are joined on id.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from cascade.datasets import hub, metadata
from cascade.types import Dataset

ABOUT = {
    "description": "1000 questions over speech, sound, music and their mixes; 5.4 hours",
    "items": 1000,
    "size": "3.0 GB",
    "version": "2025-05 or 2026-02",
    "licence": "CC BY-NC 4.0",
}
SOURCE = hub.Source(
    name="mmar",
    repository="BoJack/MMAR",
    revision="3bd051123480e80d273ae9e8e9f1653f49010ac7",
    metadata="MMAR-meta.json",
    archive="mmar-audio.tar.gz",
    size="3.0 GB",
)


def load(data: Path | None = None, *, audio: bool = True) -> Dataset:
    """Return the benchmark, from a folder that holds its metadata and its `audio/`, or else fetched from the hub."""
    folder = data or hub.fetch(SOURCE, audio=audio)
    dataset = metadata.load("mmar", folder, "*meta*.json*", SOURCE.advice(), lambda row: row)
    version = "2026-02" if any("rubric" in item.reference for item in dataset.items) else "2025-05"
    return replace(dataset, version=version, licence=str(ABOUT["licence"]))


def where() -> Path | None:
    """Return the fetched folder, or None before it is complete."""
    return SOURCE.folder if SOURCE.complete else None
