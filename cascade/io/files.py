"""Files that are written whole or not at all."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, BinaryIO

from cascade.errors import RunError


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file to read its bytes. Raises OSError; at once for a pipe, socket or device, which may block."""
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise OSError(errno.EINVAL, "is not a regular file", str(path))
    return open(path, "rb")


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Yield a file that takes the place of `path` at the end: written beside it, flushed to disk, then renamed.

    An exception leaves the old file unchanged. Raises RunError for a path that renaming would destroy: a device, pipe,
    link or folder.
    """
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise RunError(f"{path} is a link or no plain file, and is not replaced; name another file")
    temporary = path.with_name(f".{path.name}.{os.urandom(4).hex()}")
    try:
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Replace the file by this text in UTF-8, whole or not at all; raises as `replacing` does."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Replace the file by these bytes, whole or not at all; raises as `replacing` does."""
    with replacing(path) as file:
        file.write(content)


def make_folder(path: Path) -> list[Path]:
    """Make a folder and its missing parents; return those that were missing, the innermost first. Raises RunError."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{path}: cannot be made there ({error.strerror}); give --out another directory") from error
    return missing


def remove(names: Iterable[Path], folders: Iterable[Path]) -> None:
    """Remove files, and after them folders that nothing is in; what cannot be removed stays."""
    with suppress(OSError):
        for file in names:
            file.unlink(missing_ok=True)
        for folder in folders:
            folder.rmdir()
