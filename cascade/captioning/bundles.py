"""Bundles: captions as one file to share and publish, each line with all that its key is made from.

The first line is the manifest: how many captions, by which captioners, of which dataset (with its licence), and the
checksum of all lines below it (`tail -n +2 FILE | b2sum -l 128` prints the same digits). Then a caption a line, sorted
by key, so that the same captions make the same file. A name that ends in `.zst` is compressed.

What is read comes from others: JSON only, lines of bounded length, every key and digest derived again, and nothing in
it names a file.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import IO, Any, NamedTuple

import msgspec

import cascade
from cascade.captioning.cache import CacheEntry, CaptionCache
from cascade.errors import CacheError, MissingExtra, UserError
from cascade.io import jsonl
from cascade.io.digests import canonical
from cascade.io.jsonl import from_json, loads, to_json
from cascade.types import Caption, CaptionerSpec, Record

LONGEST = 1 << 24  # bytes of a line: a caption with the times of every word of an hour is a tenth of that
_FORMAT = "cascade-bundle-1"
_SLOT = re.compile(r"[a-z][a-z0-9_-]*\Z")
_WINDOW = 1 << 27  # bytes that a compressed file may make its reader hold
_CHUNK = 1000  # captions a transaction


class Manifest(Record, frozen=True, kw_only=True):
    """The first line. `checksum` is of the bytes below it; `dataset` has `name`, `digest`, `version` and `licence`.

    `captioners` are those whose captions it holds; where they were asked for by name, in that order.
    """

    format: str
    captions: int
    checksum: str
    captioners: tuple[CaptionerSpec, ...]
    cascade: str
    dataset: Mapping[str, str] = msgspec.field(default_factory=dict)


class Conflict(NamedTuple):
    """One key with two captions that say different things."""

    key: str
    here: Caption
    there: Caption


@dataclass(slots=True, kw_only=True)
class ImportReport:
    """What became of captions that were taken in: how many are new, and how many were here and say the same."""

    new: int = 0
    same: int = 0
    conflicts: list[Conflict] = field(default_factory=list)


# Writing


def export_bundle(
    path: Path,
    entries: Iterable[CacheEntry],
    dataset: Mapping[str, str] | None = None,
    captioners: Sequence[CaptionerSpec] = (),
) -> Manifest:
    """Write a bundle, whole or not at all, of entries that come sorted by key.

    `captioners` says in which order the manifest names those that it holds.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=path.parent) as body:
        count, state, found = 0, blake2b(digest_size=16), dict.fromkeys(map(_identity, captioners), 0)
        for entry in entries:
            line = (jsonl.dumps({"key": entry.key(), **to_json(entry)}) + "\n").encode()
            state.update(line)
            body.write(line)
            count += 1
            found[_identity(entry.spec)] = found.get(_identity(entry.spec), 0) + 1
        named = [name for name, number in found.items() if number]
        manifest = Manifest(
            format=_FORMAT,
            captions=count,
            checksum=f"b2:{state.hexdigest()}",
            captioners=tuple(from_json(CaptionerSpec, loads(name)) for name in named),
            cascade=cascade.__version__,
            dataset=dataset or {},
        )
        body.seek(0)
        _replace(path, (jsonl.dumps(jsonl.with_digest(to_json(manifest))) + "\n").encode(), body)
    return manifest


def _identity(spec: CaptionerSpec) -> str:
    return canonical(to_json(spec))


def _replace(path: Path, first: bytes, body: IO[bytes]) -> None:
    jsonl.check_replaceable(path)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with open(handle, "wb") as file, _compressed(path, file) as out:
            out.write(first)
            shutil.copyfileobj(body, out, 1 << 20)
        os.chmod(name, 0o666 & ~jsonl.umask())
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


@contextmanager
def _compressed(path: Path, file: IO[bytes]) -> Iterator[IO[bytes]]:
    if path.suffix != ".zst":
        yield file
        return
    with _zstandard(path).ZstdCompressor(level=10).stream_writer(file, closefd=False) as out:
        yield out


def _zstandard(path: Path) -> Any:
    try:
        import zstandard
    except ImportError:
        raise MissingExtra(
            f"{path.name} ends in .zst and", "zstandard", "pip install 'audio-cascade[bundles]'"
        ) from None
    return zstandard


# Reading


def read_manifest(path: Path) -> Manifest:
    """The first line of a bundle. Raises CacheError for a file that is none."""
    with _lines(path) as lines:
        return _manifest(path, lines)


def entries(path: Path) -> Iterator[CacheEntry]:
    """Every caption of a bundle, each key and digest derived again.

    Raises CacheError, with file and line, for whatever does not match; the checksum is known only after the last one.
    """
    with _lines(path) as lines:
        said, count, state = _manifest(path, lines), 0, blake2b(digest_size=16)
        specs, before = set(map(_identity, said.captioners)), ""
        for count, line in enumerate(lines, 1):
            state.update(line)
            entry = _entry(path, count + 1, line, specs)
            # Sorted, so that no key comes twice: two texts of one key would be read as either.
            if (key := entry.key()) <= before:
                raise CacheError(f"{path}:{count + 1}: {key} stands twice or out of order; fetch it again")
            before = key
            yield entry
    if (count, f"b2:{state.hexdigest()}") != (said.captions, said.checksum):
        raise CacheError(
            f"{path}: holds {count} captions, and the manifest names {said.captions} and another checksum; "
            "it was cut short or altered: fetch it again"
        )


def find_captions(path: Path, keys: Collection[str]) -> dict[str, Caption]:
    """The captions of a bundle under these keys; the whole file is checked on the way. Raises as `entries` does."""
    return {entry.key(): entry.caption for entry in entries(path) if entry.key() in keys}


@contextmanager
def _lines(path: Path) -> Iterator[Iterator[bytes]]:
    """The lines of a file, none longer than it may be. Raises CacheError for any fault of the file."""
    faults: tuple[type[Exception], ...] = (OSError,)
    if path.suffix == ".zst":
        faults = (OSError, _zstandard(path).ZstdError)
    try:
        with open(path, "rb") as file:
            yield _bounded(path, _plain(path, file))
    except faults as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise CacheError(f"{path}: cannot be read as a bundle ({reason})") from error


def _plain(path: Path, file: IO[bytes]) -> io.BufferedReader:
    if path.suffix != ".zst":
        assert isinstance(file, io.BufferedReader)
        return file
    reader = _zstandard(path).ZstdDecompressor(max_window_size=_WINDOW).stream_reader(file, read_across_frames=True)
    return io.BufferedReader(reader, 1 << 20)


def _bounded(path: Path, file: io.BufferedReader) -> Iterator[bytes]:
    number = 0
    while line := file.readline(LONGEST + 1):
        number += 1
        if not line.endswith(b"\n"):
            raise CacheError(f"{path}:{number}: the line is longer than {LONGEST} bytes, or cut short: fetch it again")
        yield line


def _manifest(path: Path, lines: Iterator[bytes]) -> Manifest:
    first = next(lines, b"")
    try:
        if not first:
            raise ValueError("it is empty, or cut short")
        content = loads(first)
        if not isinstance(content, dict) or content.get("format") != _FORMAT:
            raise ValueError(f"its first line does not say {_FORMAT}")
        if list(jsonl.broken_links([content])):
            raise ValueError("its first line was altered")
        found = from_json(Manifest, {name: part for name, part in content.items() if name != "digest"})
        if odd := [spec.slot for spec in found.captioners if not _SLOT.match(spec.slot)]:
            raise ValueError(f"{odd[0]!r} is no slot")
        return found
    except (TypeError, ValueError) as error:
        raise CacheError(f"{path} is no bundle ({error}); `cascade cache export FILE` writes one") from error


def _entry(path: Path, number: int, line: bytes, specs: Collection[str]) -> CacheEntry:
    try:
        value = loads(line)
        if not isinstance(value, dict):
            raise ValueError(f"an object is needed, not {type(value).__name__}")
        key = value.pop("key", None)
        found = from_json(CacheEntry, value)
        if damage := found.damage(str(key)):
            raise ValueError(damage)
        if _identity(found.spec) not in specs:
            raise ValueError("it is by a captioner that the manifest does not name")
        return found
    except (TypeError, ValueError) as error:
        raise CacheError(f"{path}:{number}: {error}; nothing of this file is taken: fetch it again") from error


# Taking in


def import_file(cache: CaptionCache, path: Path, *, replace: bool = False) -> ImportReport:
    """Take a bundle's captions into a cache: nothing of one that does not verify. What is there stays.

    With `replace` the bundle's caption stands where the two say different things; both are in the report.
    """
    return _take(cache, lambda: entries(path), replace)


def import_folder(cache: CaptionCache, folder: Path, *, replace: bool = False) -> ImportReport:
    """Take another cache's captions into a cache, as `take_file` takes a bundle's."""
    if folder.resolve() == cache.folder.resolve():
        raise UserError(f"{folder} is the cache itself; name another folder, or give --cache the one to fill")
    other = CaptionCache.existing(folder)
    try:
        return _take(cache, other.entries, replace)
    finally:
        other.close()


def _take(cache: CaptionCache, source: Callable[[], Iterator[CacheEntry]], replace: bool) -> ImportReport:
    for _ in source():  # the whole of it is good before anything is kept
        pass
    report, coming = ImportReport(), source()
    while chunk := list(islice(coming, _CHUNK)):
        with cache.together():
            for entry in chunk:
                _take_one(cache, entry, replace, report)
    return report


def _take_one(cache: CaptionCache, entry: CacheEntry, replace: bool, report: ImportReport) -> None:
    here = cache.add(entry)
    if here is None:
        report.new += 1
    elif _said(here.caption) == _said(entry.caption):
        report.same += 1
    else:
        report.conflicts.append(Conflict(entry.key(), here.caption, entry.caption))
        if replace:
            cache.replace(entry)


def _said(caption: Caption) -> tuple[Any, ...]:
    """What a prompt may show: how long it took, and where, makes no other caption."""
    windows = caption.meta.get("windows")
    known = [window for window in windows if isinstance(window, dict)] if isinstance(windows, list | tuple) else []
    return caption.text, [window.get("text") for window in known]
