"""Benchmarks and files of questions as checked `Item`s.

Every module has `load(data, audio=…) -> Dataset`, `ABOUT`, and `where()`: the folder where its clips are on this
machine without `--data`, or None.
"""

from __future__ import annotations

from pathlib import Path

from cascade import plugins
from cascade.datasets import jsonl
from cascade.errors import UserError
from cascade.types import Dataset, Item


def load(name: str, data: Path | None = None, *, audio: bool = True) -> Dataset:
    """The dataset of that name, or of a JSONL file. `data` is the folder that clips' paths are relative to.

    Without `audio`, the clips need not be there, and are not fetched.

    Raises UnknownName for a name that is neither, DatasetError for a row that cannot be used.
    """
    if name.endswith(".jsonl") or "/" in name:
        return jsonl.load(Path(name).expanduser(), data)
    if name not in plugins.names("datasets") and Path(name).exists():
        what = "a folder" if Path(name).is_dir() else "no .jsonl"
        raise UserError(f"--dataset {name}: {what}; give FILE.jsonl, or a name that `cascade datasets` lists")
    dataset: Dataset = plugins.find("datasets", name).load(data, audio=audio)
    return dataset


def select(dataset: Dataset, only: dict[str, tuple[str, ...]], limit: int | None) -> tuple[Item, ...]:
    """The first `limit` items whose tags have one of the wanted values, for every tag that `only` names.

    Raises UserError where nothing is left, with the values that there are.
    """
    for tag, values in only.items():
        known = sorted({item.tags[tag] for item in dataset.items if tag in item.tags})
        if unknown := sorted(set(values) - set(known)):
            tags = ", ".join(sorted({name for item in dataset.items for name in item.tags})) or "none"
            shown = f"there is: {', '.join(known[:20])}" if known else f"no such tag; there is: {tags}"
            raise UserError(f"--only {tag}={unknown[0]}: no item of {dataset.name!r} has that ({shown})")
    chosen = tuple(item for item in dataset.items if all(item.tags.get(tag) in want for tag, want in only.items()))
    if not chosen[:limit]:
        raise UserError(f"no item of {dataset.name!r} is left to ask; loosen --only or --limit")
    return chosen[:limit]
