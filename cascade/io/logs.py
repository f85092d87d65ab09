"""Logs of records: a sealed line each, written as they come and read back as what they were."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

from cascade.errors import RunError
from cascade.io import jsonl
from cascade.io.codec import from_json, to_json

T = TypeVar("T")


class RecordLog:
    """A log while it grows, each record sealed to the one before."""

    def __init__(self, lines: jsonl.Appender, path: Path) -> None:
        self._lines = lines
        last = None
        for last in jsonl.read(path):  # noqa: B007 - the last one is wanted
            pass
        self._before = str(last.get("digest", "")) if isinstance(last, dict) else ""

    def append(self, record: Any) -> None:
        """Write one record, whole or, on a full disk, not at all: then raises OSError."""
        line = jsonl.with_digest(to_json(record), self._before)
        self._lines.append(line)
        self._before = line["digest"]


def records(kind: type[T], file: Path, *, growing: bool = False) -> Iterator[T]:
    """Each line's record. Raises RunError, with file and line, for one that is none; `growing` as in `jsonl.read`."""
    if not file.exists():
        raise RunError(f"{file.parent}: {file.name} is missing")
    for number, value in enumerate(jsonl.read(file, growing=growing), 1):
        yield record(kind, file, number, value)


def record(kind: type[T], file: Path, number: int, value: Any) -> T:
    """The record that a line of a file holds, sealed or not. Raises RunError, with the place, where it holds none."""
    try:
        return from_json(kind, without_digest(value))
    except ValueError as error:
        raise RunError(f"{file}:{number}: {error}") from error


def without_digest(value: Any) -> Any:
    """A line's value without its seal."""
    return {name: part for name, part in value.items() if name != "digest"} if isinstance(value, dict) else value
