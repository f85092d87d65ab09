"""Files of predictions as the benchmarks exchange them: rows with an `id` and one of three prediction keys.

The key was `model_prediction` in MMAR until February 2026 and is `answer_prediction` since; MMAU's code reads
`model_output`. A row may carry the whole question or its id only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cascade.datasets.jsonl import item_of
from cascade.errors import DatasetError
from cascade.types import Item

KEYS = ("answer_prediction", "model_prediction", "model_output")


@dataclass(frozen=True, slots=True, kw_only=True)
class Predictions:
    """A file's items, what was predicted for each (None where nothing was), and which rows carry a prediction key."""

    items: tuple[Item, ...]
    said: Mapping[str, str | None]
    carried: frozenset[str]


def read(path: Path, items: Sequence[Item] | None = None) -> Predictions:
    """A `.json` (array) or `.jsonl` file of predictions; `items`, where given, are joined on id.

    Raises DatasetError, with the place, for a row without an id, an id twice or unknown, and for a file of ids alone
    without `items`.
    """
    rows = _by_id(_rows(path), path)
    if items is None:
        items = [_item(row, f"{path}: {name!r}") for name, row in rows.items()]
    elif strange := sorted(rows.keys() - {item.id for item in items}):
        raise DatasetError(f"{path}: the id {strange[0]!r} is not in the dataset (nor are {len(strange) - 1} others)")
    return Predictions(
        items=tuple(items),
        said={name: _said(row) for name, row in rows.items()},
        carried=frozenset(name for name, row in rows.items() if any(key in row for key in KEYS)),
    )


def _rows(path: Path) -> list[tuple[str, Any]]:
    """(place, value) of each row."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(
            f"{path}: cannot be read ({error}); give a run directory or a file of predictions"
        ) from error
    if text.lstrip().startswith("["):
        return [(f"{path}: row {number}", row) for number, row in enumerate(_parsed(text, str(path)), 1)]
    lines = [(f"{path}:{number}", line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    return [(place, _parsed(line, place)) for place, line in lines]


def _parsed(text: str, place: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{place}: not JSON ({error})") from error


def _by_id(rows: Sequence[tuple[str, Any]], path: Path) -> dict[str, Mapping[str, Any]]:
    found: dict[str, Mapping[str, Any]] = {}
    for place, row in rows:
        if not isinstance(row, dict) or not isinstance(row.get("id"), str):
            raise DatasetError(f"{place}: an object with a text 'id' is needed")
        if row["id"] in found:
            raise DatasetError(f"{place}: the id {row['id']!r} stands twice")
        found[row["id"]] = row
    if not found:
        raise DatasetError(f"{path}: holds no rows")
    return found


def _item(row: Mapping[str, Any], place: str) -> Item:
    question = {key: value for key, value in row.items() if key not in (*KEYS, "thinking_prediction")}
    try:
        # The older metadata have answers that are not among their choices: they are scored as they stand.
        return item_of({"audio_path": "-", **question}, gold_listed=False)
    except ValueError as error:
        hint = "; join it with its questions: --dataset mmar --data DIR, or --dataset FILE.jsonl"
        raise DatasetError(f"{place}: {error}{hint if 'choices' not in row else ''}") from error


def _said(row: Mapping[str, Any]) -> str | None:
    """The first prediction that is text; null, a missing key and anything that is not text are no prediction."""
    return next((row[key] for key in KEYS if isinstance(row.get(key), str)), None)
