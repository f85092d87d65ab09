"""An engine in a process of its own, on any node: what a worker of the `ray` backend does.

Nothing here imports Ray. A fault that the user must mend is returned as text, so that the driver need not have the
exception's class.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cascade.captioners.registry import Engine
from cascade.captioning.backends import local
from cascade.errors import UserError
from cascade.io.digests import digest_path
from cascade.types import Caption, Captioner, CaptionerSpec, Failure, Host
from cascade.version import __version__


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """A clip as it is sent to a worker: its path, size and modification time on the driver's disk, or its bytes too."""

    path: Path
    size: int
    modified_ns: int
    content: bytes | None = None

    def is_here(self) -> bool:
        """Return whether the driver's file is on this machine's disk, too."""
        try:
            status = self.path.stat()
        except OSError:
            return False
        return (status.st_size, status.st_mtime_ns) == (self.size, self.modified_ns)


class Worker:
    """An engine, built once."""

    _captioner: Captioner

    def build(self, spec: CaptionerSpec, host: Host, version: str) -> str:
        """Build the engine; return what prevents it, or `""`."""
        # Ray sets it to 1 for a worker of one CPU: libraries then compute other sums than in the driver's process.
        os.environ.pop("OMP_NUM_THREADS", None)
        if __version__ != version:
            return f"has cascade {__version__}, and {version} is asking: install the same there"
        try:
            host = replace(host, files=_locate_files(spec, host))
            engine = Engine(spec.name)
            self._captioner = engine.build(spec, host)
            self._threads, self._batch = engine.workers(spec, host), host.batch
        except UserError as error:
            return str(error)
        return ""

    def caption(self, clips: Sequence[Clip]) -> Sequence[Caption | Failure] | str | None:
        """Return a result for each clip, the user's mistake as text, or None where the clips' bytes are needed."""
        if not all(clip.content is not None or clip.is_here() for clip in clips):
            return None
        with tempfile.TemporaryDirectory(prefix="cascade-") as folder:
            paths: list[Path] = []
            for number, clip in enumerate(clips):
                path = clip.path
                if clip.content is not None:
                    path = Path(folder, str(number), clip.path.name)
                    path.parent.mkdir()
                    path.write_bytes(clip.content)
                paths.append(path)
            try:
                results = dict(local.caption_clips(self._captioner, paths, self._batch, self._threads))
            except UserError as error:
                return str(error)
        return [results[path] for path in paths]


def _locate_files(spec: CaptionerSpec, host: Host) -> dict[str, Path]:
    """Return where the files that a spec names are on this machine, by digest.

    Raises UserError for a file that is not on this machine, or has another digest.
    """
    shipped = Engine(spec.name).files
    files: dict[str, Path] = {}
    for key in shipped:
        digest = str(spec.params.get(key))
        if digest not in host.files:
            continue
        for path in (host.files[digest], shipped[key]):
            if path and path.exists() and digest_path(path) == digest:
                files[digest] = path
                break
        else:
            raise UserError(f"{spec.slot}.{key}: {host.files[digest]} is not there, or is another file")
    return files
