"""Files of predictions as the benchmarks exchange them: rows with an `id` and one of three prediction keys.

The key was `model_prediction` in MMAR until February 2026 and is `answer_prediction` since; MMAU's code reads
`model_output`. A row may hold the whole question or its id only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cascade.datasets import metadata
from cascade.datasets.jsonl import parse_item
from cascade.errors import DatasetError
from cascade.types import Dataset, Item

KEYS = ("answer_prediction", "model_prediction", "model_output")
_THINKING = "thinking_prediction"
_NO_QUESTION = frozenset((*KEYS, _THINKING))


@dataclass(frozen=True, slots=True, kw_only=True)
class Predictions:
    """The items of a file, and by their ids the predictions; `carried` are the ids of rows with a prediction key.

    `thinking` has the rows' `thinking_prediction`, where that is text.
    """

    items: tuple[Item, ...]
    texts: Mapping[str, str]
    carried: frozenset[str]
    thinking: Mapping[str, str]


def read_predictions(path: Path, dataset: Dataset | None = None) -> Predictions:
    """Read a `.json` (array) or `.jsonl` file of predictions; the items of `dataset`, if given, are joined on id.

    Null and anything else that is no text is no prediction. Raises DatasetError, with the place, for a row without an
    id, an id that is repeated or unknown, and for a file of ids alone without a dataset.
    """
    rows = metadata.read_rows(path, "give a run directory or a file of predictions")
    items = list(dataset.items) if dataset else []
    if dataset and (unknown := sorted(rows.keys() - {item.id for item in items})):
        raise DatasetError(f"{path}: the id {unknown[0]!r} is not in the dataset (nor are {len(unknown) - 1} others)")
    texts: dict[str, str] = {}
    carried, thinking = set(), {}
    for name, row in rows.items():
        if dataset is None:
            question = {key: value for key, value in row.items() if key not in _NO_QUESTION}
            try:
                # The older metadata have answers that are not among their choices: they are scored unchanged.
                items.append(parse_item({"audio_path": "-", **question}, gold_listed=False))
            except ValueError as error:
                hint = ""
                if "choices" not in row:
                    hint = "; join it with its questions: --dataset mmar --data DIR, or --dataset FILE.jsonl"
                raise DatasetError(f"{path}: {name!r}: {error}{hint}") from error
        for key in KEYS:
            if key in row:
                carried.add(name)
            if isinstance(row.get(key), str):
                texts.setdefault(name, row[key])
        if isinstance(row.get(_THINKING), str):
            thinking[name] = row[_THINKING]
    return Predictions(items=tuple(items), texts=texts, carried=frozenset(carried), thinking=thinking)
