"""An engine in a process of its own, on whichever node: what a worker of the `ray` backend does.

Nothing here knows of Ray. What the user must mend comes back as text, so that no class need exist on the other side.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cascade
from cascade.captioners.registry import Engine
from cascade.captioning.backends import local
from cascade.errors import UserError
from cascade.io.digests import digest_path
from cascade.types import Caption, Captioner, CaptionerSpec, Failure, Host


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """A clip as it travels: where it is on the driver's disk and what it looks like there, or its bytes."""

    path: Path
    size: int
    changed: int
    content: bytes | None = None

    def here(self) -> bool:
        """Whether this machine has the driver's file."""
        try:
            found = self.path.stat()
        except OSError:
            return False
        return (found.st_size, found.st_mtime_ns) == (self.size, self.changed)


class Worker:
    """An engine, built once."""

    _captioner: Captioner

    def build(self, spec: CaptionerSpec, host: Host, version: str) -> str:
        """Build the engine; returns what is in the way, or `""`."""
        if cascade.__version__ != version:
            return f"has cascade {cascade.__version__}, and {version} is asking: install the same there"
        try:
            host = replace(host, files=_located(spec, host))
            engine = Engine(spec.name)
            self._captioner = engine.build(spec, host)
            self._lanes, self._batch = engine.workers(spec, host), host.batch
        except UserError as error:
            return str(error)
        return ""

    def hear(self, clips: Sequence[Clip]) -> Sequence[Caption | Failure] | str | None:
        """What was heard of each clip; what is in the way; or None where the clips' bytes are needed."""
        if not all(clip.content is not None or clip.here() for clip in clips):
            return None
        with tempfile.TemporaryDirectory(prefix="cascade-") as folder:
            paths = [_unpacked(clip, Path(folder, str(number))) for number, clip in enumerate(clips)]
            try:
                found = dict(local.caption_clips(self._captioner, paths, self._batch, self._lanes))
            except UserError as error:
                return str(error)
        return [found[path] for path in paths]


def _unpacked(clip: Clip, folder: Path) -> Path:
    if clip.content is None:
        return clip.path
    folder.mkdir()
    path = folder / clip.path.name
    path.write_bytes(clip.content)
    return path


def _located(spec: CaptionerSpec, host: Host) -> dict[str, Path]:
    """The files that a spec names, found on this machine. Raises UserError for one that is not here, or is another."""
    shipped = Engine(spec.name).files
    files: dict[str, Path] = {}
    for key in shipped:
        named = str(spec.params.get(key))
        if named in host.files:
            ways = [path for path in (host.files[named], shipped[key]) if path and path.exists()]
            right = next((path for path in ways if digest_path(path) == named), None)
            if right is None:
                raise UserError(f"{spec.slot}.{key}: {host.files[named]} is not there, or is another file")
            files[named] = right
    return files
