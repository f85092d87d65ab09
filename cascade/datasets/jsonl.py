"""A JSONL file of questions under the benchmark's field names, checked row by row.

Required: `id`, `audio_path`, `question`, `choices`, `answer`. What the benchmark says about the clip or the answer
(`cue`, `thinking`, `rubric`, `url`, …, and every list or object) goes to `Item.reference`, which no prompt sees; every
other field is a tag.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from os.path import normpath
from pathlib import Path
from typing import Any

from cascade.errors import DatasetError
from cascade.io.digests import digest_bytes
from cascade.io.jsonl import numbered_lines, parse_object
from cascade.types import Dataset, Item

_REQUIRED = ("id", "audio_path", "question", "choices", "answer")
_REFERENCE = frozenset({"cue", "thinking", "rubric", "url", "timestamp", "language", "source"})


def load(path: Path, data: Path | None = None) -> Dataset:
    """Return the file's items; clips are relative to `data`, or else to the file's folder.

    Raises DatasetError for a file that cannot be read, and for its first bad row with the number of further bad rows.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise DatasetError(
            f"{path}: no such file; give --dataset a JSONL file or a name that `cascade datasets` lists"
        ) from None
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror}); give --dataset a JSONL file") from error
    items: dict[str, Item] = {}
    problems: list[str] = []
    for number, line in numbered_lines(content):
        try:
            item = parse_item(parse_object(line))
            if item.id in items:
                raise ValueError(f"the id {item.id!r} stands twice")
            items[item.id] = item
        except ValueError as error:
            problems.append(f"{path}:{number}: {error}")
    if problems:
        more = f" (and {len(problems) - 1} more bad rows)" * (len(problems) > 1)
        raise DatasetError(problems[0] + more)
    if not items:
        raise DatasetError(f"{path}: holds no rows; one question per line is needed")
    root = (data or path.parent).resolve()
    return Dataset(name=path.stem, digest=digest_bytes(content), root=root, items=tuple(items.values()))


def parse_item(row: Mapping[str, Any], *, absolute: bool = True, gold_listed: bool = True) -> Item:
    """Return a row as an Item. Raises ValueError with the reason why it is none.

    `absolute` allows an absolute `audio_path`: in a file that the user wrote, not in a fetched one.
    `gold_listed` refuses an answer that is not one of the choices.
    """
    for field in _REQUIRED:
        if row.get(field) is None:
            problem = "null" if field in row else "missing"
            raise ValueError(f"{field!r} is {problem}")
    choices = row["choices"]
    if not isinstance(choices, list) or not all(isinstance(choice, str) for choice in choices):
        raise ValueError(f"'choices' must be a list of texts, not {choices!r}")
    if len(choices) < 2:
        raise ValueError(f"'choices' must hold two or more, not {choices!r}")
    tags: dict[str, str] = {}
    reference: dict[str, Any] = {}
    for field, value in row.items():
        if field in _REQUIRED or value is None:
            continue
        if field in _REFERENCE or not isinstance(value, (str, int, float)):
            reference[field] = value
        else:
            tags[field] = _valid(value) if isinstance(value, str) else json.dumps(value)
    path = _text(row, "audio_path")
    if "\0" in path or (path.startswith("/") and not absolute):
        raise ValueError(f"'audio_path' {path!r} must be relative to the data folder")
    # Links on the disk are not followed here: a user may link in a folder of clips from elsewhere.
    if normpath(path).split("/")[0] == "..":
        raise ValueError(f"'audio_path' {path!r} leaves the data folder")
    item = Item(
        id=_text(row, "id"),
        audio=normpath(path),
        question=_text(row, "question"),
        choices=tuple(map(_valid, choices)),
        answer=_text(row, "answer", blank=True),
        tags=tags,
        reference=reference,
    )
    if gold_listed and item.answer not in item.choices:
        raise ValueError(f"the answer {item.answer!r} is none of the choices {list(item.choices)}")
    return item


def _text(row: Mapping[str, Any], field: str, *, blank: bool = False) -> str:
    """Return a field that must be text, and must not be blank unless `blank` allows it."""
    value = row[field]
    if not isinstance(value, str) or not (blank or value.strip()):
        raise ValueError(f"{field!r} must be text, not {value!r}")
    return _valid(value)


def _valid(text: str) -> str:
    """Return the text as it is. Raises ValueError where it cannot be written as UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{text!r} is no valid Unicode (half of a surrogate pair)") from None
    return text
