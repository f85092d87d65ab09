"""Bundles: captions as one file to share and publish, each line with all that its key is made from.

The first line is the manifest: how many captions, by which captioners, of which dataset (with its licence), and the
checksum of all lines below it (`tail -n +2 FILE | b2sum -l 128` prints the same digits). Then follows a caption a line,
sorted by key, so that the same captions make the same file. A file whose name ends in `.zst` is compressed.

A bundle may come from anybody. The reader accepts JSON only, bounds the length of a line, derives every key and digest
again, and opens no file that the bundle names.
"""

from __future__ import annotations

import io
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import IO, Any, NamedTuple

import msgspec

from cascade.captioning.cache import CacheEntry, CaptionCache
from cascade.errors import CacheError, MissingExtra, UserError
from cascade.io import files, jsonl
from cascade.io.digests import canonical
from cascade.io.jsonl import from_json, loads, to_json, without_digest
from cascade.types import Caption, CaptionerSpec, Record
from cascade.version import __version__

LONGEST = 1 << 24  # bytes of a line: a caption with the times of every word of an hour is a tenth of that
_FORMAT = "cascade-bundle-1"
_SLOT = re.compile(r"[a-z][a-z0-9_-]*\Z")
_ZSTD_WINDOW = 1 << 27  # bytes of memory that a compressed file may make its reader allocate
_CHUNK = 1000  # captions a transaction


class Manifest(Record, frozen=True, kw_only=True):
    """The first line of a bundle. `checksum` is of the bytes below it.

    `captioners` are those whose captions the bundle holds; `dataset` has `name`, `digest`, `version` and `licence`.
    """

    format: str
    captions: int
    checksum: str
    captioners: tuple[CaptionerSpec, ...]
    cascade: str
    dataset: Mapping[str, str] = msgspec.field(default_factory=dict)


class Conflict(NamedTuple):
    """A key with one caption in the cache (`here`) and another one in the source (`there`)."""

    key: str
    here: Caption
    there: Caption


@dataclass(slots=True, kw_only=True)
class ImportReport:
    """How many captions of an import were new, how many the cache had already, and which were in conflict."""

    new: int = 0
    same: int = 0
    conflicts: list[Conflict] = field(default_factory=list)


def export_bundle(
    path: Path,
    entries: Iterable[CacheEntry],
    dataset: Mapping[str, str] | None = None,
    captioners: Sequence[CaptionerSpec] = (),
) -> Manifest:
    """Write a bundle, whole or not at all, of entries that are sorted by key; return its manifest.

    The manifest names the captioners of the entries in the order of `captioners`, then those that are not in it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    specs = {_identity(spec): spec for spec in captioners}
    counts = Counter[str]()
    checksum = blake2b(digest_size=16)
    with tempfile.TemporaryFile(dir=path.parent) as body:
        for entry in entries:
            line = (jsonl.dumps({"key": entry.key(), **to_json(entry)}) + "\n").encode()
            checksum.update(line)
            body.write(line)
            identity = _identity(entry.spec)
            specs.setdefault(identity, entry.spec)
            counts[identity] += 1
        manifest = Manifest(
            format=_FORMAT,
            captions=counts.total(),
            checksum=f"b2:{checksum.hexdigest()}",
            captioners=tuple(spec for identity, spec in specs.items() if counts[identity]),
            cascade=__version__,
            dataset=dataset or {},
        )
        body.seek(0)
        with ExitStack() as stack:
            out: IO[bytes] = stack.enter_context(files.replacing(path))
            if path.suffix == ".zst":
                compressor = _zstandard(path).ZstdCompressor(level=10)
                out = stack.enter_context(compressor.stream_writer(out, closefd=False))
            out.write((jsonl.dumps(jsonl.with_digest(to_json(manifest))) + "\n").encode())
            shutil.copyfileobj(body, out, 1 << 20)
    return manifest


def _identity(spec: CaptionerSpec) -> str:
    return canonical(to_json(spec))


def _zstandard(path: Path) -> Any:
    """Return the module. Raises MissingExtra where it is not installed."""
    try:
        import zstandard
    except ImportError:
        what, command = f"{path.name} ends in .zst and", "pip install 'audio-cascade[bundles]'"
        raise MissingExtra(what, "zstandard", command) from None
    return zstandard


def read_manifest(path: Path) -> Manifest:
    """Return the manifest of a bundle. Raises CacheError for a file that is none."""
    return _manifest(path, next(_lines(path), b""))


def entries(path: Path) -> Iterator[CacheEntry]:
    """Yield every caption of a bundle, with its key and digest derived again.

    Raises CacheError, with file and line, for any mismatch; the checksum is compared only after the last line.
    """
    lines = _lines(path)
    manifest = _manifest(path, next(lines, b""))
    specs = set(map(_identity, manifest.captioners))
    count, checksum, previous = 0, blake2b(digest_size=16), ""
    for count, line in enumerate(lines, 1):
        checksum.update(line)
        try:
            value = jsonl.parse_object(line)
            key = str(value.pop("key", None))
            entry = from_json(CacheEntry, value)
            if damage := entry.damage(key):
                raise ValueError(damage)
            if _identity(entry.spec) not in specs:
                raise ValueError("it is by a captioner that the manifest does not name")
            if key <= previous:  # a key that occurs twice could have two different texts
                raise ValueError(f"{key} stands twice or out of order")
        except (TypeError, ValueError) as error:
            problem = f"{path}:{count + 1}: {error}; nothing of this file is taken: fetch it again"
            raise CacheError(problem) from error
        previous = key
        yield entry
    if (count, f"b2:{checksum.hexdigest()}") != (manifest.captions, manifest.checksum):
        raise CacheError(
            f"{path}: holds {count} captions, and the manifest names {manifest.captions} and another checksum; "
            "it was cut short or altered: fetch it again"
        )


def find_captions(path: Path, keys: Collection[str]) -> dict[str, Caption]:
    """Return the captions under these keys, after a check of the whole bundle. Raises as `entries` does."""
    captions = ((entry.key(), entry.caption) for entry in entries(path))
    return {key: caption for key, caption in captions if key in keys}


def _lines(path: Path) -> Iterator[bytes]:
    """Yield the lines of a file, decompressed. Raises CacheError where it cannot be read or a line is too long."""
    faults: tuple[type[Exception], ...] = (OSError,)
    decompressor = None
    if path.suffix == ".zst":
        zstandard = _zstandard(path)
        faults = (OSError, zstandard.ZstdError)
        decompressor = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW)
    try:
        with open(path, "rb") as file:
            if decompressor:
                file = io.BufferedReader(decompressor.stream_reader(file, read_across_frames=True), 1 << 20)
            number = 0
            while line := file.readline(LONGEST + 1):
                number += 1
                if not line.endswith(b"\n"):
                    raise CacheError(
                        f"{path}:{number}: the line is longer than {LONGEST} bytes, or cut short: fetch it again"
                    )
                yield line
    except faults as error:
        reason = getattr(error, "strerror", None) or error
        raise CacheError(f"{path}: cannot be read as a bundle ({reason})") from error


def _manifest(path: Path, line: bytes) -> Manifest:
    """Return the manifest that the first line holds. Raises CacheError where it holds none, or was altered."""
    try:
        if not line:
            raise ValueError("it is empty, or cut short")
        content = loads(line)
        if not isinstance(content, dict) or content.get("format") != _FORMAT:
            raise ValueError(f"its first line does not say {_FORMAT}")
        if list(jsonl.broken_links([content])):
            raise ValueError("its first line was altered")
        manifest = from_json(Manifest, without_digest(content))
        for spec in manifest.captioners:
            if not _SLOT.match(spec.slot):
                raise ValueError(f"{spec.slot!r} is no slot")
        return manifest
    except (TypeError, ValueError) as error:
        raise CacheError(f"{path} is no bundle ({error}); `cascade cache export FILE` writes one") from error


def import_file(cache: CaptionCache, path: Path, *, replace: bool = False) -> ImportReport:
    """Import a bundle's captions into a cache: all of them, or none where anything does not verify.

    In a conflict the cache's caption stays, or with `replace` the bundle's takes its place; both are in the report.
    """
    return _import(cache, lambda: entries(path), replace)


def import_folder(cache: CaptionCache, folder: Path, *, replace: bool = False) -> ImportReport:
    """Import another cache's captions into a cache, as `import_file` does a bundle's."""
    if folder.resolve() == cache.folder.resolve():
        raise UserError(f"{folder} is the cache itself; name another folder, or give --cache the one to fill")
    with closing(CaptionCache.existing(folder)) as other:
        return _import(cache, other.entries, replace)


def _import(cache: CaptionCache, read: Callable[[], Iterator[CacheEntry]], replace: bool) -> ImportReport:
    """Import every entry that `read` yields, after a first reading has verified all of them."""
    for _ in read():
        pass
    report, incoming = ImportReport(), read()
    while chunk := list(islice(incoming, _CHUNK)):
        with cache.transaction():
            for entry in chunk:
                here = cache.add(entry)
                if here is None:
                    report.new += 1
                elif _prompt_text(here.caption) == _prompt_text(entry.caption):
                    report.same += 1
                else:
                    report.conflicts.append(Conflict(entry.key(), here.caption, entry.caption))
                    if replace:
                        cache.replace(entry)
    return report


def _prompt_text(caption: Caption) -> list[Any]:
    """Return the texts that a prompt may show; other meta (seconds taken, device) makes no other caption."""
    texts: list[Any] = [caption.text]
    windows = caption.meta.get("windows")
    if isinstance(windows, list | tuple):
        texts += [window.get("text") for window in windows if isinstance(window, dict)]
    return texts
