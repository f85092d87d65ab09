"""The demo set: questions of our own over synthesised speech, sound, music and their mixes, shipped in the package.

It shows that the whole path works; its scores measure nothing. `scripts/demo/make.py` makes it again.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from cascade.datasets import jsonl
from cascade.types import Dataset

ABOUT = {
    "description": "synthesised clips over all seven modalities, shipped in the package",
    "items": 38,
    "size": "3 MB",
    "version": "1",
    "licence": "MIT",
}
_FOLDER = Path(__file__).parent / "demo_set"


def load(data: Path | None = None, *, audio: bool = True) -> Dataset:
    """Return the demo set; its clips are in the package, unless `data` names another folder."""
    dataset = jsonl.load(_FOLDER / "questions.jsonl", data)
    return replace(dataset, name="demo", version=str(ABOUT["version"]), licence=str(ABOUT["licence"]))


def where() -> Path:
    """Return the folder in the package."""
    return _FOLDER
