"""A benchmark's own metadata files in a folder of the user's: found by name, several versions joined on id."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from cascade.datasets.jsonl import parse_item
from cascade.errors import DatasetError
from cascade.io.digests import digest, digest_file
from cascade.io.jsonl import loads
from cascade.types import Dataset, Item

Row = Mapping[str, Any]


def rows(path: Path, hint: str = "a JSON array or lines of JSON are needed") -> list[tuple[str, Any]]:
    """(place, value) of each row of a `.json` array or a `.jsonl` file. Raises DatasetError where it is neither."""
    try:
        content = path.read_bytes().removeprefix(b"\xef\xbb\xbf")
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror}); {hint}") from error
    if re.match(rb"\s*\[", content):
        return [(f"{path}: row {number}", row) for number, row in enumerate(_parsed(content, f"{path}", hint), 1)]
    lines = [(f"{path}:{number}", line) for number, line in enumerate(content.split(b"\n"), 1) if line.strip()]
    return [(place, _parsed(line, place, hint)) for place, line in lines]


def _parsed(content: bytes, place: str, hint: str) -> Any:
    try:
        return loads(content)
    except ValueError as error:
        raise DatasetError(f"{place}: {error}; {hint}") from error


def by_id(found: list[tuple[str, Any]], path: Path) -> dict[str, Row]:
    """Rows by their id. Raises DatasetError for a row that is no object, has no id, or repeats one; and for no rows."""
    named: dict[str, Row] = {}
    for place, row in found:
        if not isinstance(row, dict) or not isinstance(row.get("id"), str):
            raise DatasetError(f"{place}: an object with a text 'id' is needed")
        if row["id"] in named:
            raise DatasetError(f"{place}: the id {row['id']!r} stands twice")
        named[row["id"]] = row
    if not named:
        raise DatasetError(f"{path}: holds no rows")
    return named


def load(name: str, folder: Path | None, pattern: str, missing: str, adapt: Callable[[Row], Row]) -> Dataset:
    """The dataset whose metadata match the pattern in a folder, in which the clips are too.

    Where several versions lie there, an item is what the one that says most about it says. `missing` tells the user
    what to download; `adapt` gives a row the field names of a dataset file. Raises DatasetError.
    """
    found = sorted(file for file in folder.iterdir() if file.match(pattern)) if folder and folder.is_dir() else []
    if not folder or not found:
        where = f"{folder} holds no metadata ({pattern})" if folder else "there is no --data folder"
        raise DatasetError(f"{name}: {where}: {missing}")
    versions = [by_id(rows(file), file) for file in found]
    # The richest version first: its order is the dataset's.
    versions.sort(key=lambda version: -max(map(len, version.values())))
    joined = {name: row for version in reversed(versions) for name, row in version.items()}
    digests = [digest_file(file) for file in found]
    return Dataset(
        name=name,
        digest=digests[0] if len(digests) == 1 else digest(sorted(digests)),
        root=folder.resolve(),
        items=tuple(_item(adapt(joined[key]), found[0]) for key in dict.fromkeys([*versions[0], *joined])),
    )


def _item(row: Row, file: Path) -> Item:
    try:
        # Fetched files may not name clips elsewhere; some versions have answers that are not among the choices.
        return parse_item(row, absolute=False, gold_listed=False)
    except ValueError as error:
        raise DatasetError(f"{file}: {row.get('id')!r}: {error}") from error
