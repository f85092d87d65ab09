"""Whole lines of JSON on disk: read strictly, written so that a kill loses at most the line being written.

A line ends in a newline byte. The reader of a log leaves out one unfinished last line and refuses every other bad one;
a writer cuts the file back to its last newline when it opens it.
"""

from __future__ import annotations

import errno
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from cascade.errors import RunError
from cascade.io.digests import digest

_TAIL = 1 << 16


def dumps(value: Any) -> str:
    """One line of JSON, without its newline, readable in any language; NaN is refused."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        # Half a surrogate pair is legal in JSON text and in a model's reply, but has no UTF-8 form: escape that line.
        return json.dumps(value, allow_nan=False)
    return text


def read(path: Path, *, growing: bool = False) -> Iterator[Any]:
    """Each line's value. Raises RunError, with file and line, for a line that is not JSON.

    The last line of a `growing` file may be unfinished, and is left out then.
    """
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            if line.endswith(b"\n") or not growing:
                yield _parse(line, path, number)


def _parse(line: bytes, path: Path, number: int) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise RunError(f"{path}:{number}: not JSON ({error}); restore the file or delete that line") from error


def text(values: Iterable[Any]) -> str:
    """The values as lines."""
    return "".join(dumps(value) + "\n" for value in values)


def write(path: Path, values: Iterable[Any]) -> None:
    """Replace the file by these lines, whole or not at all."""
    write_text(path, text(values))


def with_digest(record: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """The record with a `digest` of it and of the digest of the line before: what is changed or taken out shows."""
    return {**record, "digest": digest([before, dict(record)])}


def hash_chain(records: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """The records, each sealed to the one before."""
    before = ""
    for record in records:
        line = with_digest(record, before)
        before = line["digest"]
        yield line


def broken_links(lines: Iterable[Any]) -> Iterator[int]:
    """The numbers of lines that are not sealed to the line before as they stand."""
    before = ""
    for number, line in enumerate(lines, 1):
        record = dict(line) if isinstance(line, dict) else {}
        said = record.pop("digest", None)
        if not _matches(record, before, said):
            yield number
        before = said if isinstance(said, str) else ""


def _matches(record: Mapping[str, Any], before: str, said: Any) -> bool:
    try:
        return bool(said == with_digest(record, before)["digest"])
    except ValueError:  # NaN, which no line of ours has
        return False


def write_text(path: Path, text: str) -> None:
    """Replace the file by this text, whole or not at all: written beside it, flushed to disk, then renamed.

    Raises RunError, as `check_replaceable` does.
    """
    check_replaceable(path)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with open(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o666 & ~umask())
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


def check_replaceable(path: Path) -> None:
    """Raise RunError for what a renamed file would destroy: a device, a pipe, a link, a folder."""
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise RunError(f"{path} is a link or no plain file, and is not replaced; name another file")


def umask() -> int:
    """The permissions that new files of this process lack."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


class Appender:
    """A file that grows by whole lines. One process at a time: a second one is refused while the first has it open."""

    def __init__(self, path: Path) -> None:
        self._file = open(path, "a+b", buffering=0)  # noqa: SIM115 - closed by __exit__
        try:
            _lock(self._file.fileno(), path)
            _cut_to_last_newline(self._file.fileno())
        except BaseException:
            self._file.close()
            raise

    def append(self, value: Any) -> None:
        """Write one line, whole or, on a full disk, not at all: then raises OSError."""
        rest = memoryview((dumps(value) + "\n").encode())
        before = os.fstat(self._file.fileno()).st_size
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError:
            os.ftruncate(self._file.fileno(), before)
            raise

    def __enter__(self) -> Appender:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def _lock(handle: int, path: Path) -> None:
    try:
        import fcntl
    except ImportError:  # Windows has no flock; there a second writer is the user's to avoid.
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
    """Numbered lines that are not blank, without a byte order mark."""
    for number, line in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        if line.strip():
            yield number, line


def parse_object(line: bytes) -> dict[str, Any]:
    """The object that a line holds. Raises ValueError with the reason where it holds none."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not JSON ({error})") from error
    if not isinstance(found, dict):
        raise ValueError(f"an object is needed, not {type(found).__name__}")
    return found
