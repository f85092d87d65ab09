"""A benchmark's metadata files in a folder of the user's: selected by name, several versions joined on id."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from cascade.datasets.jsonl import parse_item
from cascade.errors import DatasetError
from cascade.io.digests import canonical, digest, digest_file
from cascade.io.jsonl import loads, numbered_lines
from cascade.types import Dataset, Item

Row = Mapping[str, Any]


def read_rows(
    path: Path, hint: str = "a JSON array or lines of JSON are needed", *, finite: bool = False
) -> dict[str, Row]:
    """Return the rows of a `.json` array or a `.jsonl` file by their ids.

    Raises DatasetError for another kind of file, with the `hint`, for a file without rows, and for a row that is no
    object, has no id, or repeats one. With `finite` a row must not hold NaN or infinity, in any depth.
    """
    try:
        content = path.read_bytes().removeprefix(b"\xef\xbb\xbf")
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror}); {hint}") from error
    if content.lstrip().startswith(b"["):
        array = _parse(content, f"{path}", hint)
        values = [(f"{path}: row {number}", value) for number, value in enumerate(array, 1)]
    else:
        lines = [(f"{path}:{number}", line) for number, line in numbered_lines(content)]
        values = [(place, _parse(line, place, hint)) for place, line in lines]
    rows: dict[str, Row] = {}
    for place, value in values:
        if not isinstance(value, dict) or not isinstance(value.get("id"), str):
            raise DatasetError(f"{place}: an object with a text 'id' is needed")
        if value["id"] in rows:
            raise DatasetError(f"{place}: the id {value['id']!r} stands twice")
        if finite:
            try:
                canonical(value)
            except ValueError:
                raise DatasetError(f"{place}: holds NaN or infinity; write null where there is no number") from None
        rows[value["id"]] = value
    if not rows:
        raise DatasetError(f"{path}: holds no rows")
    return rows


def _parse(content: bytes, place: str, hint: str) -> Any:
    try:
        # Tools for tables write NaN where a cell is empty: it is no text, and so no prediction.
        return loads(content.decode(), allow_nan=True)
    except UnicodeDecodeError as error:
        raise DatasetError(f"{place}: not JSON ({error}); {hint}") from error
    except ValueError as error:
        raise DatasetError(f"{place}: {error}; {hint}") from error


def load(name: str, folder: Path | None, pattern: str, missing: str, adapt: Callable[[Row], Row]) -> Dataset:
    """Return the dataset whose metadata match the pattern in a folder, which holds the clips too.

    Where several versions lie there, each item comes from the version with the most fields. `missing` tells the user
    what to download; `adapt` gives a row the field names of a dataset file. Raises DatasetError.
    """
    if folder is None:
        raise DatasetError(f"{name}: there is no --data folder: {missing}")
    files = sorted(folder.glob(pattern))
    if not files:
        raise DatasetError(f"{name}: {folder} holds no metadata ({pattern}): {missing}")
    versions = [read_rows(file, finite=True) for file in files]
    # The version with the most fields comes first, and sets the order of the dataset.
    versions.sort(key=lambda version: -max(map(len, version.values())))
    rows: dict[str, Row] = {}
    for version in versions:
        for key, row in version.items():
            rows.setdefault(key, row)
    items: list[Item] = []
    for key, row in rows.items():
        try:
            # Fetched files may not name clips elsewhere; in some versions an answer is not among the choices.
            items.append(parse_item(adapt(row), absolute=False, gold_listed=False))
        except ValueError as error:
            raise DatasetError(f"{files[0]}: {key!r}: {error}") from error
    digests = sorted(map(digest_file, files))
    named = digests[0] if len(digests) == 1 else digest(digests)
    return Dataset(name=name, digest=named, root=folder.resolve(), items=tuple(items))
