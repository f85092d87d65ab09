"""Captions kept for ever under their keys: diskcache, with nothing evicted and no pickle in or out.

Each entry is one JSON text that carries what its key was made from, so `verify` can derive every key again.
"""

from __future__ import annotations

import re
import sqlite3
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from weakref import finalize

from diskcache import Cache, Disk, Timeout, UnknownFileWarning

from cascade.errors import CacheError
from cascade.io.digests import canonical, caption_key, digest
from cascade.io.jsonl import from_json, loads, to_json
from cascade.types import Caption, CaptionerSpec, Params, Record

_NETWORK = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "ceph", "lustre", "gpfs", "beegfs", "glusterfs"}
    | {"panfs", "fuse.sshfs", "fuse.glusterfs", "fuse.ceph", "fuse.s3fs", "fuse.gcsfuse", "fuse.rclone"}
    | {"nfs3", "afpfs", "ncpfs", "davfs", "fuse.davfs2", "orangefs", "pvfs2", "wekafs", "daos", "fuse.daos"}
    | {"ocfs2", "gfs2", "fhgfs", "mmfs", "acfs", "fuse.juicefs", "fuse.mountpoint-s3", "fuse.goofys", "fuse.blobfuse2"}
    | {"fuse.ceph-fuse", "fuse.lustre", "fuse.moosefs", "fuse.lizardfs", "fuse.seaweedfs", "fuse.hdfs"}
)
_TEXT = 1  # diskcache's mode of a value that lies in the table as it is


class _TextDisk(Disk):  # type: ignore[misc]  # diskcache has no types
    """Text in the table and nothing else: no pickle and no file beside the table, on the way in and on the way out."""

    def put(self, key: Any) -> tuple[Any, bool]:
        if not isinstance(key, str):
            raise TypeError(f"a cache key is text, not {type(key).__name__}")
        return key, True

    def get(self, key: Any, raw: bool) -> Any:
        if not raw or not isinstance(key, str):
            raise CacheError(f"{self._directory}: holds a key that is no text; it was not written by cascade")
        return key

    def store(self, value: Any, read: bool, key: Any = None) -> tuple[int, int, str | None, Any]:
        if read or not isinstance(value, str):
            raise TypeError(f"a cache value is text, not {type(value).__name__}")
        return 0, _TEXT, None, value

    def fetch(self, mode: int, filename: str | None, value: Any, read: bool) -> Any:
        # A mode or file name that we never write: reading it could unpickle code or leave the folder.
        return value if mode == _TEXT and filename is None and isinstance(value, str) else None


class CacheEntry(Record, frozen=True, kw_only=True):
    """A caption and all that its key is made from; `audio` is the digest of the clip's bytes.

    `content` is the digest of text and meta.
    """

    slot: str
    name: str
    version: str
    params: Params
    audio: str
    text: str
    meta: Params
    content: str

    def key(self) -> str:
        """The key under which it is kept."""
        return caption_key(self.slot, self.name, self.version, self.params, self.audio)

    @classmethod
    def of(cls, spec: CaptionerSpec, audio: str, caption: Caption) -> CacheEntry:
        """The entry of a caption of the clip whose bytes have the digest `audio`."""
        return cls(
            slot=spec.slot,
            name=spec.name,
            version=spec.version,
            params=spec.params,
            audio=audio,
            text=caption.text,
            meta=caption.meta,
            content=_content(caption.text, caption.meta),
        )

    @property
    def spec(self) -> CaptionerSpec:
        """The captioner that made it."""
        return CaptionerSpec(slot=self.slot, name=self.name, version=self.version, params=self.params)

    @property
    def caption(self) -> Caption:
        """The caption alone."""
        return Caption(text=self.text, meta=self.meta)

    def damage(self, key: str) -> str:
        """What does not match the key or the content's own digest, or `""`."""
        if self.key() != key:
            return f"its content belongs to the key {self.key()}"
        return "" if _content(self.text, self.meta) == self.content else "its text or meta was altered"


def _content(text: str, meta: Params) -> str:
    return digest({"text": text, "meta": to_json(meta)})


class CaptionCache:
    """The captions under one folder. Safe for several processes on one machine; a network disk is refused."""

    def __init__(self, folder: Path) -> None:
        """Open or create it. Raises CacheError where the folder cannot hold one."""
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if (kind := _file_system(folder)) in _NETWORK:
                raise CacheError(
                    f"{folder} is on a network disk ({kind}), unsafe for a cache: give --cache a local folder, "
                    "and carry captions to other machines by `cascade cache export FILE`"
                )
            self._store = Cache(
                str(folder), disk=_TextDisk, eviction_policy="none", cull_limit=0, size_limit=1 << 62, statistics=0
            )
        except (OSError, sqlite3.Error) as error:
            raise CacheError(f"{folder}: cannot be used as a cache ({error}); give --cache another folder") from error
        # Lets go of the file: when it is called or, at the latest, when nobody has this any more.
        self.close = finalize(self, self._store.close)

    @classmethod
    def existing(cls, folder: Path) -> CaptionCache:
        """Open one that is there. Raises CacheError where there is none."""
        if not (folder / "cache.db").is_file():
            raise CacheError(
                f"{folder} is no cache: it has no cache.db; give the folder of one (`cascade caption` makes them)"
            )
        return cls(folder)

    def get(self, key: str) -> Caption | None:
        """The caption under a key, or None. Raises CacheError, with the key, for an entry that is damaged."""
        entry = self.entry(key)
        return entry.caption if entry else None

    def put(self, spec: CaptionerSpec, audio: str, caption: Caption) -> str:
        """Keep a caption of the clip whose bytes have the digest `audio`; returns its key."""
        entry = CacheEntry.of(spec, audio, caption)
        self._write(self._store.set, entry)
        return entry.key()

    def add(self, entry: CacheEntry) -> CacheEntry | None:
        """Keep a caption under its key, if there is none; returns the one that is there already, or None."""
        return None if self._write(self._store.add, entry) else self.entry(entry.key())

    def replace(self, entry: CacheEntry) -> None:
        """Keep a caption in the place of the one that is there."""
        self._write(self._store.set, entry)

    def entries(self) -> Iterator[CacheEntry]:
        """Every caption with what its key is made from, sorted by key. Raises CacheError for one that is damaged."""
        for key in self._store.iterkeys():
            if entry := self.entry(key):
                yield entry

    def entry(self, key: str) -> CacheEntry | None:
        """The caption under a key with what that is made from, or None. Raises as `get` does."""
        try:
            text = self._store.get(key, default=False)
        except sqlite3.Error as error:
            raise CacheError(f"{self.folder}: {key}: cannot be read ({error})") from error
        if text is False:
            return None
        try:
            entry = from_json(CacheEntry, loads(text))
            if damage := entry.damage(key):
                raise ValueError(damage)
            return entry
        except (TypeError, ValueError) as error:
            raise CacheError(
                f"{self.folder}: {key}: the entry is damaged ({error}); delete it or the folder"
            ) from error

    @contextmanager
    def together(self) -> Iterator[None]:
        """Everything written within is one transaction: on the disk whole or not at all, and sooner."""
        with self._store.transact():
            yield

    def _write(self, write: Callable[[str, str], bool], entry: CacheEntry) -> bool:
        try:
            return bool(write(entry.key(), canonical(to_json(entry))))
        except (OSError, sqlite3.Error, Timeout) as error:
            reason = "another process holds it" if isinstance(error, Timeout) else error
            raise CacheError(
                f"{self.folder}: a caption cannot be written ({reason}); make room and run again"
            ) from error

    def info(self) -> dict[str, Any]:
        """`folder`, the number of `captions`, the `bytes` on disk, and captions an `engines` name."""
        engines: dict[str, int] = {}
        for key in self._store.iterkeys():
            name = entry.name if (entry := self.entry(key)) else "?"
            engines[name] = engines.get(name, 0) + 1
        size = sum(file.stat().st_size for file in self.folder.glob("cache.db*"))
        return {"folder": str(self.folder), "captions": len(self._store), "bytes": size, "engines": engines}

    def verify(self) -> Iterator[str]:
        """Derive every key again; yields a line for each entry that does not match or cannot be read."""
        try:
            with warnings.catch_warnings():
                # What it finds comes as warnings: each of them, whatever the filters in force.
                warnings.simplefilter("always")
                found = self._store.check()
        except (Timeout, sqlite3.Error) as error:
            yield f"{self.folder}: the table is damaged or held by another process ({error})"
            return
        # A README beside the table is no damage.
        yield from (f"{self.folder}: {one.message}" for one in found if one.category is not UnknownFileWarning)
        for key in self._store.iterkeys():
            try:
                self.entry(key)
            except CacheError as error:
                yield str(error)

    def __len__(self) -> int:
        return len(self._store)


def _file_system(folder: Path, table: Path = Path("/proc/self/mounts")) -> str:
    """The kind of file system that a folder lies on, by Linux's table of mounts; `""` where there is no such table."""
    try:
        lines = table.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    mounts = [(Path(_unescaped(fields[1])), fields[2]) for fields in (line.split(" ") for line in lines)]
    here = folder.resolve()
    inside = [(len(at.parts), place, kind) for place, (at, kind) in enumerate(mounts) if here.is_relative_to(at)]
    return max(inside, default=(0, 0, ""))[2]


def _unescaped(text: str) -> str:
    """A path as the table writes it: a space is \\040."""
    return re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), text)
