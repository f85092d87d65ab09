"""A benchmark fetched from the hub, once: at a pinned revision, resumed where it broke off, checked, and unpacked.

    <folder>/<metadata>           as it lies on the hub
    <folder>/audio/…              from the archive, which is deleted when all of it is there
    <folder>/fetched.json         what was fetched; written last, so what was cut short is never taken for whole

`folder` is under `CASCADE_DATA`, else under the user's cache. `HF_ENDPOINT`, `HF_TOKEN`, `HF_HUB_OFFLINE` and proxies
mean what they mean to huggingface_hub, which is imported on first use.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import sys
import tarfile
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from importlib.util import find_spec
from logging import ERROR
from pathlib import Path, PurePosixPath
from typing import IO
from urllib.error import HTTPError, URLError
from urllib.request import Request, build_opener

from cascade.errors import DatasetError, MissingExtra
from cascade.io.digests import sha256_file
from cascade.io.terminal import note

_TRIES = 5
_PATIENCE = 20.0  # seconds for the hub's first answer
_OURS = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS}  # of this machine, not of the network


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A dataset on the hub: its `name` here, and what is fetched of it. `size` is the archive's, in words."""

    name: str
    repository: str
    revision: str
    metadata: str
    archive: str
    size: str
    bound: int = 30 << 30  # bytes that the archive may unpack to

    @property
    def folder(self) -> Path:
        """Where it lies on this machine, fetched or not."""
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cascade" / "datasets"
        return Path(os.environ.get("CASCADE_DATA") or cache) / f"{self.name}-{self.revision[:8]}"

    @property
    def address(self) -> str:
        """Where its files are on the hub."""
        return f"{endpoint()}/datasets/{self.repository}/resolve/{self.revision}"

    @property
    def whole(self) -> bool:
        """Whether its clips are here, all of them."""
        return (self.folder / "fetched.json").is_file()

    def advice(self) -> str:
        """What to download by other means, and where to put it."""
        return (
            f"where the hub can be reached, download {self.address}/{self.metadata} and {self.address}/{self.archive}, "
            "unpack the archive beside the metadata, and give --data DIR"
        )


def fetch(source: Source, *, audio: bool) -> Path:
    """The folder with the metadata, and with the clips if `audio`; fetches what is not there.

    Raises MissingExtra without huggingface_hub, DatasetError where the hub cannot be reached, or sends something else.
    """
    wanted = source.folder / source.metadata
    if wanted.is_file() and (source.whole or not audio):
        return source.folder
    if find_spec("huggingface_hub") is None:
        what = f"fetching {source.name} (or give --data DIR, where it lies)"
        raise MissingExtra(what, "huggingface_hub", "pip install 'audio-cascade[hub]'")
    source.folder.mkdir(parents=True, exist_ok=True)
    with _alone(source.folder):
        _download(source, source.metadata)
        if audio and not source.whole:
            note(
                f"fetching {source.size} from {source.repository} into {source.folder}; if cut short, it goes on later"
            )
            archive = _download(source, source.archive)
            _unpack(source, archive)
    return source.folder


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process at a time; the second one waits, and finds everything there."""
    import fcntl

    with open(folder / ".lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def endpoint() -> str:
    """The hub's own address, as `HF_ENDPOINT` says."""
    return (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


def _download(source: Source, name: str) -> Path:
    """One file of the pinned revision, whole and equal to what the hub says it is."""
    from huggingface_hub import hf_hub_download

    try:
        _reach(f"{source.address}/{name}")
        with _bars():
            path = _patiently(
                lambda: hf_hub_download(
                    source.repository,
                    name,
                    repo_type="dataset",
                    revision=source.revision,
                    local_dir=source.folder,
                    endpoint=endpoint(),
                )
            )
            expected = _sha256(source, path, name)
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno in _OURS:
            raise
        raise DatasetError(f"{source.name}: {name} cannot be fetched ({_reason(error)}); {source.advice()}") from None
    if expected and sha256_file(path) != expected:
        _forget(source.folder, name)
        raise DatasetError(f"{source.name}: {name} arrived damaged and was deleted; the same command fetches it again")
    return path


def _patiently(download: Callable[[], str]) -> Path:
    """The file, after a few tries: what has arrived is kept, so each try goes on where the last one broke off."""
    for left in reversed(range(_TRIES)):
        try:
            return Path(download())
        except OSError as error:
            if not left or error.errno in _OURS or getattr(error, "response", None) is not None:
                raise
            time.sleep(1.0)
    raise AssertionError("the last try returns or raises")


def unreachable(url: str) -> str:
    """Why an address cannot be reached from here, in a word or two, or `""`."""
    try:
        _reach(url)
    except (OSError, ValueError) as error:
        return _reason(error)
    return "HF_HUB_OFFLINE is set" if _offline() else ""


def _offline() -> bool:
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


def _reach(url: str) -> None:
    """Raise OSError at once where the hub cannot be reached: huggingface_hub would try for half a minute.

    Whatever the hub answers is huggingface_hub's to deal with.
    """
    if _offline():
        return
    try:
        build_opener().open(Request(url, method="HEAD"), timeout=_PATIENCE).close()
    except HTTPError as answer:
        answer.close()
    except HTTPException as error:
        raise OSError(f"no HTTP: {error}") from error


def _reason(error: Exception) -> str:
    """The kind of trouble, without addresses and headers that may hold a token."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status:
        return f"status {status}"
    cause = error.reason if isinstance(error, URLError) else error.__cause__ or error
    if not isinstance(cause, BaseException):
        return str(cause)
    return getattr(cause, "strerror", None) or type(cause).__name__


def _sha256(source: Source, path: Path, name: str) -> str:
    """The SHA-256 that the hub names the file by, or `""`: small files are named by git, and checked by their size."""
    from huggingface_hub._local_folder import read_download_metadata

    found = read_download_metadata(source.folder, name)
    etag = found.etag if found else ""
    return etag if len(etag) == 64 else ""


def _forget(folder: Path, name: str) -> None:
    (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / ".cache", ignore_errors=True)


@contextmanager
def _bars() -> Iterator[None]:
    """huggingface_hub's own bars where somebody watches, and never its warnings: what it gives up on, we say."""
    from huggingface_hub.utils import logging
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    said = logging.get_verbosity()
    hidden = not sys.stderr.isatty() and not are_progress_bars_disabled()
    logging.set_verbosity(ERROR)
    if hidden:
        disable_progress_bars()
    try:
        yield
    finally:
        logging.set_verbosity(said)
        if hidden:
            enable_progress_bars()


# The archive is what somebody else made: nothing in it may land outside `audio/`, or be anything but a file.


def _unpack(source: Source, archive: Path) -> None:
    folder = source.folder
    for left in folder.glob(".unpacking-*"):
        shutil.rmtree(left)
    target = Path(tempfile.mkdtemp(dir=folder, prefix=".unpacking-"))
    try:
        count = _extract(source, archive, target)
    except (tarfile.TarError, zlib.error, EOFError) as error:
        _forget(folder, source.archive)
        raise DatasetError(
            f"{source.name}: {source.archive} is no whole archive ({type(error).__name__}) and was deleted; "
            "the same command fetches it again"
        ) from None
    shutil.rmtree(folder / "audio", ignore_errors=True)
    (target / "audio").rename(folder / "audio")
    target.rmdir()
    record = {"repository": source.repository, "revision": source.revision, "clips": count}
    made = folder / ".fetched.json"
    made.write_text(json.dumps(record) + "\n", encoding="utf-8")
    made.replace(folder / "fetched.json")
    _forget(folder, source.archive)
    note(f"{count} clips in {folder / 'audio'}; the archive is deleted")


def _extract(source: Source, archive: Path, target: Path) -> int:
    """Write the archive's files under `audio/` in the target; how many there are."""
    (target / "audio").mkdir()
    room, count = source.bound, 0
    with tarfile.open(archive, "r:*") as packed:
        for member in packed:
            name = _inside(source, member)
            if name is None:
                continue
            room -= member.size
            if room < 0:
                raise DatasetError(
                    f"{source.name}: {source.archive} unpacks to more than {source.bound >> 30} GiB; refused"
                )
            content = packed.extractfile(member)
            if content:
                _write(content, target / name)
                count += 1
    return count


def _inside(source: Source, member: tarfile.TarInfo) -> PurePosixPath | None:
    """Where a member goes, under `audio/`; None for folders, and for what other systems leave beside files."""
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts or "\0" in member.name or not (member.isfile() or member.isdir()):
        raise DatasetError(
            f"{source.name}: {source.archive} holds {member.name[:80]!r}, which is no plain file in it; refused"
        )
    if member.isdir() or path.name.startswith("._") or "audio" not in path.parts[:-1]:
        return None
    return PurePosixPath(*path.parts[path.parts.index("audio") :])


def _write(content: IO[bytes], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as file:
        shutil.copyfileobj(content, file, 1 << 20)
