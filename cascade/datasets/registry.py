"""Benchmarks and files of questions as checked `Item`s.

Every dataset module has `load(data, audio=…) -> Dataset`, `ABOUT`, and `where()`: the folder on this machine that holds
its clips without `--data`, or None.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from cascade import plugins
from cascade.datasets import jsonl
from cascade.errors import UserError
from cascade.io.digests import digest
from cascade.types import Dataset, Item, Shard, tag_names


def load(name: str, data: Path | None = None, *, audio: bool = True) -> Dataset:
    """Return the dataset of that name, or of a JSONL file. `data` is the folder that clips' paths are relative to.

    Without `audio`, clips are not fetched. Raises UnknownName, or DatasetError for a row that cannot be used.
    """
    if name.endswith(".jsonl") or "/" in name:
        return jsonl.load(Path(name).expanduser(), data)
    if name not in plugins.names("datasets") and Path(name).exists():
        problem = "a folder" if Path(name).is_dir() else "no .jsonl"
        raise UserError(f"--dataset {name}: {problem}; give FILE.jsonl, or a name that `cascade datasets` lists")
    dataset: Dataset = plugins.find("datasets", name).load(data, audio=audio)
    return dataset


def load_questions(dataset: Dataset | str | Path | None, data: str | Path | None = None) -> Dataset | None:
    """Return the dataset with the questions of prediction files that have only ids, or None; no clip is fetched."""
    if not dataset:
        return None
    if isinstance(dataset, Dataset):
        return dataset
    return load(str(dataset), Path(data) if data else None, audio=False)


def select(dataset: Dataset, only: dict[str, tuple[str, ...]], limit: int | None) -> tuple[Item, ...]:
    """Return the first `limit` items that have, for every tag in `only`, one of its values.

    Raises UserError for a value that no item has, with the values that there are, and where no item is left.
    """
    chosen = dataset.items
    for tag, values in only.items():
        known = {value for item in dataset.items if (value := item.tag(tag)) is not None}
        if unknown := sorted(set(values) - known):
            hint = f"no such tag; there is: {', '.join(tag_names(dataset.items)) or 'none'}"
            if known:
                hint = f"there is: {', '.join(sorted(known)[:20])}"
            raise UserError(f"--only {tag}={unknown[0]}: no item of {dataset.name!r} has that ({hint})")
        chosen = tuple(item for item in chosen if item.tag(tag) in values)
    if not chosen[:limit]:
        raise UserError(f"no item of {dataset.name!r} is left to ask; loosen --only or --limit")
    return chosen[:limit]


def split_shard(text: str, items: Sequence[Item]) -> tuple[Shard, tuple[Item, ...]]:
    """Return the shard `i/n` (i from 1 to n) and its items in their order, so that a job array can divide the items.

    The digest of the clip's path determines the shard: questions about one clip stay together, and an item keeps its
    shard when the dataset grows. Raises UserError for any other text.
    """
    number = count = 0
    if match := re.fullmatch(r"(\d{1,6})/(\d{1,6})", text):
        number, count = int(match[1]), int(match[2])
    if not 1 <= number <= count:
        raise UserError(f"--shard {text}: write i/n with i from 1 to n, as in --shard 1/4")
    chosen: list[Item] = []
    steps: list[int] = []
    last = 0
    for place, item in enumerate(items):
        if int(digest(item.audio).removeprefix("b2:"), 16) % count == number - 1:
            chosen.append(item)
            steps.append(place - last)
            last = place
    return Shard(shard=f"{number}/{count}", places=" ".join(map(str, steps)), total=len(items)), tuple(chosen)
