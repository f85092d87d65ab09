"""The cache of captions: a diskcache that evicts nothing and holds text only, never a pickle.

Each entry is one JSON text with everything that its key is made from, so `verify` can derive every key again.
"""

from __future__ import annotations

import re
import sqlite3
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from weakref import finalize

from diskcache import Cache, Disk, Timeout, UnknownFileWarning
from msgspec import UNSET, UnsetType

from cascade.errors import CacheError
from cascade.io.digests import canonical, caption_key, digest
from cascade.io.jsonl import from_json, loads, to_json
from cascade.types import Caption, CaptionerSpec, Params, Record

# File systems on which SQLite's locks are not reliable, as the table of mounts names them.
_NETWORK = """
nfs nfs3 nfs4 cifs smb3 smbfs afs afpfs ncpfs davfs ceph lustre gpfs mmfs beegfs fhgfs glusterfs panfs orangefs pvfs2
wekafs daos ocfs2 gfs2 acfs fuse.sshfs fuse.glusterfs fuse.ceph fuse.ceph-fuse fuse.s3fs fuse.gcsfuse fuse.rclone
fuse.davfs2 fuse.daos fuse.juicefs fuse.mountpoint-s3 fuse.goofys fuse.blobfuse2 fuse.lustre fuse.moosefs
fuse.lizardfs fuse.seaweedfs fuse.hdfs
"""
_TEXT = 1  # diskcache's mode for a value that is stored in the table as it is


class _TextDisk(Disk):  # type: ignore[misc]  # diskcache has no types
    """Storage of text in the table alone: pickles and files beside the table are neither written nor read."""

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
        # Any other mode or a file name was not written by us: to follow it could unpickle code or leave the folder.
        return value if mode == _TEXT and filename is None and isinstance(value, str) else None


class CacheEntry(Record, frozen=True, kw_only=True):
    """A caption and everything that its key is made from.

    `audio` is the digest of the clip's bytes (of a digest: of the captions that it merges), `content` that of text and
    meta, `question` that of question and choices where the caption depends on them.
    """

    slot: str
    name: str
    version: str
    params: Params
    audio: str
    text: str
    meta: Params
    content: str
    question: str | UnsetType = UNSET

    def key(self) -> str:
        """Return the key of the caption."""
        return caption_key(self.slot, self.name, self.version, self.params, self.audio, self.question or "")

    @classmethod
    def of(cls, spec: CaptionerSpec, audio: str, caption: Caption, question: str = "") -> CacheEntry:
        """Return the entry of a caption of the clip whose bytes have the digest `audio`, and of a question's digest."""
        content = _content_digest(caption.text, caption.meta)
        fields = {**to_json(spec), "audio": audio, "text": caption.text, "meta": caption.meta, "content": content}
        return cls(**fields, question=question or UNSET)

    @property
    def spec(self) -> CaptionerSpec:
        """The captioner that made the caption."""
        return CaptionerSpec(slot=self.slot, name=self.name, version=self.version, params=self.params)

    @property
    def caption(self) -> Caption:
        """The caption by itself."""
        return Caption(text=self.text, meta=self.meta)

    def damage(self, key: str) -> str:
        """Return what does not match the key or the content's digest, or `""`."""
        if self.key() != key:
            return f"its content belongs to the key {self.key()}"
        if _content_digest(self.text, self.meta) != self.content:
            return "its text or meta was altered"
        return ""


def _content_digest(text: str, meta: Params) -> str:
    return digest({"text": text, "meta": to_json(meta)})


class CaptionCache:
    """The captions in one folder. Safe for several processes on one machine; a network file system is refused."""

    def __init__(self, folder: Path) -> None:
        """Open or create a cache. Raises CacheError where the folder cannot hold one."""
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if (kind := _file_system(folder)) in _NETWORK.split():
                raise CacheError(
                    f"{folder} is on a network file system ({kind}), unsafe for a cache: give --cache a local folder, "
                    "and carry captions to other machines by `cascade cache export FILE`"
                )
            self._store = Cache(
                str(folder), disk=_TextDisk, eviction_policy="none", cull_limit=0, size_limit=1 << 62, statistics=0
            )
        except (OSError, sqlite3.Error) as error:
            raise CacheError(f"{folder}: cannot be used as a cache ({error}); give --cache another folder") from error
        # The database is closed by a call or, at the latest, when the object is collected.
        self.close = finalize(self, self._store.close)

    @classmethod
    def existing(cls, folder: Path) -> CaptionCache:
        """Open a cache that exists. Raises CacheError where the folder has none."""
        if not (folder / "cache.db").is_file():
            raise CacheError(
                f"{folder} is no cache: it has no cache.db; give the folder of one (`cascade caption` makes them)"
            )
        return cls(folder)

    def get(self, key: str) -> Caption | None:
        """Return the caption under a key, or None. Raises CacheError, with the key, for a damaged entry."""
        entry = self.entry(key)
        return entry.caption if entry else None

    def put(self, spec: CaptionerSpec, audio: str, caption: Caption, question: str = "") -> str:
        """Store a caption of the clip whose bytes have the digest `audio`, and of a question's; return its key."""
        entry = CacheEntry.of(spec, audio, caption, question)
        self._write(self._store.set, entry)
        return entry.key()

    def add(self, entry: CacheEntry) -> CacheEntry | None:
        """Store an entry if its key has none; return the entry that was there before, or None."""
        return None if self._write(self._store.add, entry) else self.entry(entry.key())

    def replace(self, entry: CacheEntry) -> None:
        """Store an entry in the place of the one that its key has."""
        self._write(self._store.set, entry)

    def entries(self) -> Iterator[CacheEntry]:
        """Yield every entry, sorted by key. Raises CacheError for a damaged one."""
        for key in self._store.iterkeys():
            if entry := self.entry(key):
                yield entry

    def entry(self, key: str) -> CacheEntry | None:
        """Return the entry under a key, or None. Raises as `get` does."""
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
        except (TypeError, ValueError, RecursionError) as error:
            message = f"{self.folder}: {key}: the entry is damaged ({error}); delete it or the folder"
            raise CacheError(message) from error

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Write everything within as one transaction: whole or not at all, and faster."""
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
        """Return `folder`, the number of `captions`, their `bytes` on disk, and the number of captions by `engines`."""
        engines = Counter[str]()
        for key in self._store.iterkeys():
            entry = self.entry(key)
            engines[entry.name if entry else "?"] += 1  # "?" where another process has just deleted the entry
        size = sum(file.stat().st_size for file in self.folder.glob("cache.db*"))
        return {"folder": str(self.folder), "captions": len(self._store), "bytes": size, "engines": dict(engines)}

    def verify(self) -> Iterator[str]:
        """Derive every key again; yield a line for each entry that does not match or cannot be read."""
        try:
            with warnings.catch_warnings():
                # diskcache reports damage as warnings; each of them is needed, whatever filters are in force.
                warnings.simplefilter("always")
                faults = self._store.check()
        except (Timeout, sqlite3.Error) as error:
            yield f"{self.folder}: the table is damaged or held by another process ({error})"
            return
        for fault in faults:
            if fault.category is not UnknownFileWarning:  # a README beside the table is no damage
                yield f"{self.folder}: {fault.message}"
        for key in self._store.iterkeys():
            try:
                self.entry(key)
            except CacheError as error:
                yield str(error)

    def __len__(self) -> int:
        return len(self._store)


def _file_system(folder: Path, table: Path = Path("/proc/self/mounts")) -> str:
    """Return the type of the file system of a folder, by Linux's table of mounts; `""` where there is no such table."""
    try:
        lines = table.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    folder = folder.resolve()
    deepest, file_system = 0, ""
    for line in lines:
        _, escaped, kind, *_ = line.split(" ")
        mount = Path(re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), escaped))  # a space is written \040
        # Of several mounts at one place, the last one hides the others.
        if folder.is_relative_to(mount) and len(mount.parts) >= deepest:
            deepest, file_system = len(mount.parts), kind
    return file_system
