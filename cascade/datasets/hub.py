"""Fetch a benchmark from the Hugging Face hub: at a pinned revision, resumed where it broke off, checked, and unpacked.

    <folder>/<metadata>           as it lies on the hub
    <folder>/audio/…              from the archive, which is deleted after it is unpacked
    <folder>/fetched.json         what was fetched; written last, so an interrupted fetch is never seen as complete

`folder` is under `CASCADE_DATA`, or else under the user's cache. `HF_ENDPOINT`, `HF_TOKEN`, `HF_HUB_OFFLINE` and
proxies mean what they mean to huggingface_hub, which is imported on first use.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import shutil
import tarfile
import time
import zlib
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from urllib.error import HTTPError, URLError
from urllib.request import Request, build_opener

from cascade.errors import DatasetError, MissingExtra
from cascade.io import files
from cascade.io.digests import sha256_file
from cascade.io.terminal import note
from cascade.plugins import is_installed

_TRIES = 5
_CONNECT_TIMEOUT = 20.0  # seconds
_STATUS = {
    401: ": HF_TOKEN is wrong, or missing for what is private or gated",
    403: ": HF_TOKEN has no access; the repository's page may ask you to accept its terms",
    429: ": too many requests; wait some minutes, or set HF_TOKEN",
    503: ": the hub is out of order; the same command goes on later",
}
_LOCAL_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS}  # not the network's


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A dataset on the hub: its `name` here, and which files are fetched. `size` is the archive's size in words."""

    name: str
    repository: str
    revision: str
    metadata: str
    archive: str
    size: str
    bound: int = 30 << 30  # bytes that the archive may unpack to

    @property
    def folder(self) -> Path:
        """The folder for it on this machine, whether it was fetched or not."""
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cascade" / "datasets"
        return Path(os.environ.get("CASCADE_DATA") or cache) / f"{self.name}-{self.revision[:8]}"

    @property
    def address(self) -> str:
        """The address of its files on the hub."""
        return f"{endpoint()}/datasets/{self.repository}/resolve/{self.revision}"

    @property
    def complete(self) -> bool:
        """Whether all its clips are on this machine."""
        return (self.folder / "fetched.json").is_file()

    def is_here(self, *, audio: bool) -> bool:
        """Return whether the metadata, and the clips if `audio`, are on this machine."""
        return (self.folder / self.metadata).is_file() and (self.complete or not audio)

    def advice(self) -> str:
        """Say what to download by other means, and where to put it."""
        return (
            f"where the hub can be reached, download {self.address}/{self.metadata} and {self.address}/{self.archive}, "
            "unpack the archive beside the metadata, and give --data DIR"
        )


def endpoint() -> str:
    """Return the hub's address: `HF_ENDPOINT`, or the public hub."""
    return (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


def fetch(source: Source, *, audio: bool) -> Path:
    """Return the folder with the metadata, and with the clips if `audio`, after fetching what is missing.

    Raises MissingExtra without huggingface_hub, DatasetError where the hub cannot be reached or sends something else.
    """
    if source.is_here(audio=audio):
        return source.folder
    if not is_installed("huggingface_hub"):
        what = f"fetching {source.name} (or give --data DIR, where it lies)"
        raise MissingExtra(what, "huggingface_hub", "pip install 'audio-cascade[hub]'")
    from filelock import FileLock  # huggingface_hub depends on it

    source.folder.mkdir(parents=True, exist_ok=True)
    with FileLock(source.folder / ".lock"):
        _download(source, source.metadata)
        if audio and not source.complete:
            note(f"fetching {source.size} from {source.repository} into {source.folder}; an interrupted fetch resumes")
            _unpack(source, _download(source, source.archive))
    return source.folder


def _download(source: Source, name: str) -> Path:
    """Download one file of the pinned revision, and check it against the SHA-256 that the hub names large files by."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_download

    # Its warnings are about tries that are repeated or reported here.
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    url = f"{source.address}/{name}"
    failure = f"{source.name}: {name} cannot be fetched"
    # huggingface_hub alone would try an unreachable hub for half a minute.
    if problem := unreachable(url):
        raise DatasetError(f"{failure} ({problem}); {source.advice()}")
    for tries_left in reversed(range(_TRIES)):
        try:
            sha256 = get_hf_file_metadata(url).etag or ""
            # A second try resumes the transfer, because huggingface_hub keeps what has arrived.
            path = hf_hub_download(
                source.repository,
                name,
                repo_type="dataset",
                revision=source.revision,
                local_dir=source.folder,
                endpoint=endpoint(),
            )
            break
        except (OSError, ValueError) as error:
            if getattr(error, "errno", None) in _LOCAL_ERRORS:
                raise
            answered = getattr(error, "response", None) is not None
            if not tries_left or answered or not isinstance(error, OSError):
                raise DatasetError(f"{failure} ({reason(error)}); {source.advice()}") from None
            time.sleep(1.0)
    # Small files are named by git's hash instead; huggingface_hub checks their size.
    if len(sha256) == 64 and sha256_file(Path(path)) != sha256:
        _delete_download(source, name)
        raise DatasetError(f"{source.name}: {name} arrived damaged and was deleted; the same command fetches it again")
    return Path(path)


def unreachable(url: str, timeout: float = _CONNECT_TIMEOUT) -> str:
    """Return why an address cannot be reached from here, in a word or two, or `""` where it answers in `timeout` s."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        return "HF_HUB_OFFLINE is set"
    try:
        # `urlopen` would keep the proxies of its first call.
        build_opener().open(Request(url, method="HEAD"), timeout=timeout).close()
    except HTTPError as answer:
        answer.close()
    except (OSError, ValueError, HTTPException) as error:
        return reason(error)
    return ""


def reason(error: Exception) -> str:
    """Return why a fetch failed, without addresses and headers, which may hold a token."""
    for link in (error, error.__cause__):
        if status := getattr(getattr(link, "response", None), "status_code", None):
            return f"status {status}{_STATUS.get(status, '')}"
    if "hf_transfer" in str(error):
        return "HF_HUB_ENABLE_HF_TRANSFER is set, and its package is missing: unset it, or pip install hf_transfer"
    cause = error.reason if isinstance(error, URLError) else error.__cause__ or error
    if isinstance(cause, str):
        return cause
    return getattr(cause, "strerror", None) or type(cause).__name__


def _unpack(source: Source, archive: Path) -> None:
    """Unpack the clips of the archive, record that they are complete, and delete the archive."""
    folder, target = source.folder, source.folder / ".unpacking"
    shutil.rmtree(target, ignore_errors=True)
    (target / "audio").mkdir(parents=True)
    try:
        with tarfile.open(archive) as opened:
            # Older Pythons lack this filter, and are as safe: only plain files with relative names are extracted.
            opened.extraction_filter = getattr(tarfile, "data_filter", None)
            size = clips = 0
            for member in opened:
                size += member.size
                path = PurePosixPath(member.name)
                plain = (member.isfile() or member.isdir()) and "\0" not in member.name
                problem = ""
                if size > source.bound:
                    problem = f"unpacks to more than {source.bound >> 30} GiB"
                elif not plain or path.is_absolute() or ".." in path.parts:
                    problem = f"holds {member.name[:80]!r}, which is no plain file in it"
                if problem:
                    raise DatasetError(f"{source.name}: {source.archive} {problem}; refused")
                # macOS leaves a `._NAME` beside each file.
                if member.isfile() and not path.name.startswith("._") and "audio" in path.parts[:-1]:
                    member.name = "/".join(path.parts[path.parts.index("audio") :])
                    opened.extract(member, target)
                    clips += 1
    except (tarfile.TarError, zlib.error, EOFError) as error:
        _delete_download(source, source.archive)
        problem = f"is not a complete archive ({type(error).__name__}) and was deleted"
        raise DatasetError(f"{source.name}: {source.archive} {problem}; the same command fetches it again") from None
    shutil.rmtree(folder / "audio", ignore_errors=True)
    (target / "audio").rename(folder / "audio")
    target.rmdir()
    record = {"repository": source.repository, "revision": source.revision, "clips": clips}
    files.write_text(folder / "fetched.json", json.dumps(record) + "\n")
    _delete_download(source, source.archive)
    note(f"{clips} clips in {folder / 'audio'}; the archive is deleted")


def _delete_download(source: Source, name: str) -> None:
    """Delete a downloaded file, and huggingface_hub's records of it."""
    (source.folder / name).unlink(missing_ok=True)
    shutil.rmtree(source.folder / ".cache", ignore_errors=True)
