"""Records and other values as lines of JSON on disk, read strictly and written so that a kill loses at most one line.

A line ends in a newline byte. The reader of a log skips an unfinished last line and refuses every other bad line. A
writer cuts the file back to its last newline when it opens it. The lines of a log may form a hash chain: each line ends
in a `digest` of its record and of the digest of the previous line.
"""

from __future__ import annotations

import errno
import json
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any, NoReturn, TypeVar, cast

import msgspec

from cascade.errors import RunError
from cascade.io.digests import digest
from cascade.io.files import write_text

T = TypeVar("T")
OMITTED = {"omitted": True}  # the metadata of a dataclass field that is left out of the JSON if its value is None
_TAIL = 1 << 16
_DEEPEST = 200
_CHAINED = re.compile(rb', "digest": "b2:[0-9a-f]{32}"\}\s*\Z')


def to_json(value: Any) -> Any:
    """Return a record, or a container of records, as JSON values; any other value is returned unchanged.

    A field of a record that is unset is left out.
    """
    if value is None or isinstance(value, str | int | float):
        return value  # Most values have one of these types, and the checks below take longer.
    if isinstance(value, msgspec.Struct):
        parts = ((name, getattr(value, name)) for name in value.__struct_fields__)
        plain = {name: to_json(part) for name, part in parts if part is not msgspec.UNSET}
        tag = value.__struct_config__.tag
        return plain if tag is None else {"type": tag, **plain}
    if is_dataclass(value) and not isinstance(value, type):
        plain = {field.name: to_json(getattr(value, field.name)) for field in fields(value)}
        omitted = {field.name for field in fields(value) if field.metadata == OMITTED and plain[field.name] is None}
        return {name: part for name, part in plain.items() if name not in omitted}
    if isinstance(value, Mapping):
        return {key: to_json(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(part) for part in value]
    if isinstance(value, Path):
        return str(value)
    return value


def from_json(kind: type[T], value: Any) -> T:
    """Return the record that a JSON value describes. Raises ValueError, naming the field, for an invalid value."""
    try:
        return msgspec.convert(value, kind)
    except ValueError as error:
        raise ValueError(f"{kind.__name__}: {error}") from error


class OutOfBounds(ValueError):
    """JSON that is nested too deeply, or contains a number that is too large."""


def flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    """Return the leaves of a JSON value by their dotted paths; an empty object or list is a leaf."""
    inner = dict(enumerate(value)) if isinstance(value, list | tuple) else value
    if not isinstance(inner, dict) or not inner:
        return {prefix: value}
    leaves: dict[str, Any] = {}
    for name, part in inner.items():
        leaves |= flatten(part, f"{prefix}.{name}".lstrip("."))
    return leaves


def loads(text: bytes | str, *, allow_nan: bool = False) -> Any:
    """Return the value of a JSON text. Raises ValueError for anything else, and for NaN unless it is allowed.

    Raises OutOfBounds for more than 200 levels and, unless NaN is allowed, for a number that is too large for a float.
    """
    try:
        value = msgspec.json.decode(text)
    except (ValueError, RecursionError):
        # `json` also reads half a surrogate pair, and has better error messages.
        try:
            if allow_nan:
                value = json.loads(text)
            else:
                value = json.loads(text, parse_constant=_refuse, parse_float=_finite)
        except OutOfBounds:
            raise
        except (ValueError, RecursionError) as error:
            raise ValueError(f"not JSON ({error})") from error
    if _may_be_deep(text):
        level, depth = [value], 0
        while level and depth < _DEEPEST:
            parts = chain.from_iterable(part.values() if type(part) is dict else part for part in level)
            level = [part for part in parts if type(part) is dict or type(part) is list]
            depth += 1
        if level:
            raise OutOfBounds(f"it is nested deeper than {_DEEPEST} levels")
    return value


def _may_be_deep(text: bytes | str) -> bool:
    """Return whether a JSON text has enough brackets to exceed the limit of levels, which protects the stack."""
    if isinstance(text, str):
        return text.count("[") + text.count("{") > _DEEPEST
    return text.count(b"[") + text.count(b"{") > _DEEPEST


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def _finite(text: str) -> float:
    if math.isinf(number := float(text)):
        raise OutOfBounds(f"{text[:40]} is larger than any number that can be stored")
    return number


def dumps(value: Any) -> str:
    """Return one line of JSON, without its newline, readable in any language. Raises ValueError for NaN."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        # Half a surrogate pair is legal in JSON and occurs in replies, but UTF-8 cannot encode it: escape the line.
        return json.dumps(value, allow_nan=False)
    return text


def as_unicode(value: Any) -> Any:
    """Return a JSON value with `?` for each half of a surrogate pair, which text in UTF-8 cannot have."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, Mapping):
        return {name: as_unicode(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [as_unicode(part) for part in value]
    return value


def read(path: Path, *, growing: bool = False) -> Iterator[Any]:
    """Yield each line's value. Raises RunError, with file and line, for a line that is not JSON.

    An unfinished last line of a `growing` file is skipped.
    """
    for number, line in lines(path, growing=growing):
        yield _value(path, number, line)


def _value(path: Path, number: int, line: bytes) -> Any:
    try:
        return loads(line)
    except ValueError as error:
        raise RunError(f"{path}:{number}: {error}; restore the file or delete that line") from error


def lines(path: Path, *, growing: bool = False) -> Iterator[tuple[int, bytes]]:
    """Yield each line of a file with its number, from 1; `growing` as in `read`. Raises OSError."""
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            if line.endswith(b"\n") or not growing:
                yield number, line


def records(kind: type[T], path: Path, *, growing: bool = False) -> Iterator[T]:
    """Yield each line's record. Raises RunError, with file and line, for an invalid line; `growing` as in `read`."""
    if not path.exists():
        raise RunError(f"{path.parent}: {path.name} is missing")
    for number, line in lines(path, growing=growing):
        yield record(kind, path, number, line)


def record(kind: type[T], path: Path, number: int, line: bytes) -> T:
    """Return the record of a line, without its digest. Raises RunError, with file and line, for an invalid line."""
    try:
        if not _may_be_deep(line):
            return cast(T, _decoder(cast(Any, kind)).decode(_CHAINED.sub(b"}", line)))
    except ValueError:
        pass  # The line is damaged, was written by hand, or has half a surrogate pair, which only `json` reads.
    value = without_digest(_value(path, number, line))
    try:
        return from_json(kind, value)
    except ValueError as error:
        raise RunError(f"{path}:{number}: {error}") from error


@cache
def _decoder(kind: type) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind)


def without_digest(value: Any) -> Any:
    """Return a line's value without its digest."""
    return {name: part for name, part in value.items() if name != "digest"} if isinstance(value, dict) else value


def text(values: Iterable[Any]) -> str:
    """Return the values as lines."""
    return "".join(dumps(value) + "\n" for value in values)


def write(path: Path, values: Iterable[Any]) -> None:
    """Replace the file by these lines, whole or not at all; raises as `files.replacing` does."""
    write_text(path, text(values))


def with_digest(record: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Return the record with a `digest` of it and of the previous line's digest, which reveals later changes."""
    return {**record, "digest": digest([before, dict(record)])}


def hash_chain(records: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield the records, each with a digest of it and of the previous record's digest."""
    before = ""
    for record in records:
        line = with_digest(record, before)
        before = line["digest"]
        yield line


def broken_links(lines: Iterable[Any]) -> Iterator[int]:
    """Yield the number of each line whose digest does not match its record and the previous line's digest."""
    before = ""
    for number, line in enumerate(lines, 1):
        if not _is_linked(line, before):
            yield number
        before = ""
        if isinstance(line, dict) and isinstance(line.get("digest"), str):
            before = line["digest"]


def _is_linked(line: Any, before: str) -> bool:
    """Return whether a line's digest matches its record and `before`, the digest of the previous line."""
    try:
        return isinstance(line, dict) and line.get("digest") == digest([before, without_digest(line)], parsed=True)
    except ValueError:  # A number that is too large for a float has no digest, so no log was written with it.
        return False


def check_chain(path: Path, hint: str = "") -> str:
    """Return the digest of a file's last line, `""` for an empty file; an unfinished last line is skipped.

    Raises RunError, with file, line and the hint, for a line that was changed after it was written.
    """
    before = ""
    for number, line in enumerate(read(path, growing=True), 1):
        if not _is_linked(line, before):
            raise RunError(
                f"{path}: it was changed after it was written, at line {number} or the one before; restore it{hint}"
            )
        before = line["digest"]
    return before


class RecordLog:
    """A file of records that grows by whole lines, as a hash chain; `appended` counts the results that were added.

    Only one process can have the log open. The first line also has the fields `first`, which name the run that the log
    belongs to. Raises RunError, with file and line, for a log that was changed after it was written, or that another
    process has open.
    """

    def __init__(self, path: Path, **first: str) -> None:
        self.appended = 0
        self._first = first
        self._file = open(path, "a+b", buffering=0)  # noqa: SIM115 - closed by __exit__
        try:
            _lock(self._file.fileno(), path)
            _cut_to_last_newline(self._file.fileno())
            self._before = check_chain(path)
        except BaseException:
            self._file.close()
            raise

    def append(self, record: Any, *, is_result: bool = True) -> None:
        """Write one record as a whole. Raises OSError, and writes nothing, if the disk is full.

        A record of an intermediate step, for which `is_result` is false, is not counted.
        """
        fields = {} if self._before else self._first
        line = with_digest({**to_json(record), **fields}, self._before)
        rest = memoryview((dumps(line) + "\n").encode())
        size = os.fstat(self._file.fileno()).st_size
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError:
            os.ftruncate(self._file.fileno(), size)
            raise
        self._before = line["digest"]
        self.appended += is_result

    def __enter__(self) -> RecordLog:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def _lock(handle: int, path: Path) -> None:
    try:
        import fcntl
    except ImportError:  # Windows has no flock, so the user must avoid a second writer there.
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
            raise RunError(
                f"{path.parent}: its disk keeps no locks ({error.strerror}), as some network disks do not; "
                "give --out a folder on another disk"
            ) from error
        raise RunError(f"{path.parent}: another process is writing this run; wait for it, or give --out") from error


def _cut_to_last_newline(handle: int) -> None:
    end = os.fstat(handle).st_size
    while end:
        start = max(0, end - _TAIL)
        cut = os.pread(handle, end - start, start).rfind(b"\n")
        if cut >= 0:
            os.ftruncate(handle, start + cut + 1)
            return
        end = start
    os.ftruncate(handle, 0)


def numbered_lines(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield each line that is not blank, with its number from 1; a byte order mark is removed."""
    for number, line in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        if line.strip():
            yield number, line


def parse_object(line: bytes) -> dict[str, Any]:
    """Return the JSON object of a line. Raises ValueError, with the reason, for anything else."""
    value = loads(line)
    if not isinstance(value, dict):
        raise ValueError(f"an object is needed, not {type(value).__name__}")
    return value
