"""Files of predictions as the benchmarks exchange them: rows with an `id` and one of three prediction keys.

The key was `model_prediction` in MMAR until February 2026 and is `answer_prediction` since; MMAU's code reads
`model_output`. A row may carry the whole question or its id only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cascade.datasets import metadata
from cascade.datasets.jsonl import parse_item
from cascade.errors import DatasetError
from cascade.types import Item

KEYS = ("answer_prediction", "model_prediction", "model_output")
_THOUGHT = "thinking_prediction"


@dataclass(frozen=True, slots=True, kw_only=True)
class Predictions:
    """A file's items, what was predicted for each (None where nothing was), and which rows carry a prediction key.

    `thought` has the rows' `thinking_prediction`, where that is text.
    """

    items: tuple[Item, ...]
    said: Mapping[str, str | None]
    carried: frozenset[str]
    thought: Mapping[str, str] = field(default_factory=dict)


def read(path: Path, items: Sequence[Item] | None = None) -> Predictions:
    """A `.json` (array) or `.jsonl` file of predictions; `items`, where given, are joined on id.

    Raises DatasetError, with the place, for a row without an id, an id twice or unknown, and for a file of ids alone
    without `items`.
    """
    rows = metadata.read_rows(path, "give a run directory or a file of predictions")
    if items is None:
        items = [_item(row, f"{path}: {name!r}") for name, row in rows.items()]
    elif strange := sorted(rows.keys() - {item.id for item in items}):
        raise DatasetError(f"{path}: the id {strange[0]!r} is not in the dataset (nor are {len(strange) - 1} others)")
    return Predictions(
        items=tuple(items),
        said={name: _said(row) for name, row in rows.items()},
        carried=frozenset(name for name, row in rows.items() if any(key in row for key in KEYS)),
        thought={name: row[_THOUGHT] for name, row in rows.items() if isinstance(row.get(_THOUGHT), str)},
    )


def _item(row: Mapping[str, Any], place: str) -> Item:
    question = {key: value for key, value in row.items() if key not in (*KEYS, _THOUGHT)}
    try:
        # The older metadata have answers that are not among their choices: they are scored as they stand.
        return parse_item({"audio_path": "-", **question}, gold_listed=False)
    except ValueError as error:
        hint = "; join it with its questions: --dataset mmar --data DIR, or --dataset FILE.jsonl"
        raise DatasetError(f"{place}: {error}{hint if 'choices' not in row else ''}") from error


def _said(row: Mapping[str, Any]) -> str | None:
    """The first prediction that is text; null, a missing key and anything that is not text are no prediction."""
    return next((row[key] for key in KEYS if isinstance(row.get(key), str)), None)
