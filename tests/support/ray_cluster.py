"""A real Ray of several nodes on this machine, with a home and a temporary folder of its own, and an engine that
can be slow, fail, run out of memory or take its process down, as a clip says.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
ENGINE = """
import os, signal, time
from dataclasses import dataclass
from pathlib import Path
from cascade.errors import ClipError, UserError
from cascade.types import Caption

VERSION, SLOT, NEEDS = "1", "sound", {}

@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    notes: str
    seconds: float = 0.0
    most: int = 99

def make(params, host):
    notes = Path(params.notes)
    (notes / f"built-{os.getpid()}").touch()

    def caption(clips):
        time.sleep(params.seconds * len(clips))
        if len(clips) > params.most:
            raise MemoryError("too much at once")
        return [one(clip) for clip in clips]

    def one(clip):
        said = clip.read_bytes().decode()
        with open(notes / "heard", "a") as file:
            file.write(clip.name + "\\n")
        if said.startswith("bad"):
            raise ClipError(f"{clip.name}: no sound in it")
        if said == "stop":
            raise UserError("the weights are gone")
        if said == "die" or (said == "die once" and not (notes / "died").exists()):
            (notes / "died").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return Caption(text=said, meta={"folder": str(clip.parent)})

    return caption
"""


def environment(folder: Path) -> dict[str, str]:
    """What every process gets, the nodes' too: its own home, a short temporary folder, and the engine installed."""
    about = folder / "plugins" / "trying-1.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: trying\nVersion: 1\n")
    (about / "entry_points.txt").write_text("[cascade.captioners]\ntrying = trying_engine\n")
    (folder / "plugins" / "trying_engine.py").write_text(ENGINE)
    (folder / "home").mkdir()
    path = os.pathsep.join([str(ROOT), str(folder / "plugins"), *filter(None, [os.environ.get("PYTHONPATH")])])
    ours = {"HOME": str(folder / "home"), "RAY_TMPDIR": str(folder), "PYTHONPATH": path}
    return {**os.environ, **ours, "RAY_USAGE_STATS_ENABLED": "0", "CUDA_VISIBLE_DEVICES": ""}


@contextmanager
def short_folder() -> Iterator[Path]:
    """A temporary folder whose name is short enough for a socket's."""
    folder = Path(tempfile.mkdtemp(prefix="r", dir="/tmp"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Nodes:
    """A cluster of nodes with one core each, and ways to lose parts of it."""

    def __init__(self, folder: Path, count: int) -> None:
        from ray.cluster_utils import Cluster

        self.environment = environment(folder)
        self._before = dict(os.environ)
        os.environ.update(self.environment)
        given: dict[str, Any] = {"num_cpus": 1, "object_store_memory": 80 << 20}
        self._cluster: Any = Cluster(initialize_head=True, head_node_args={**given, "include_dashboard": False})
        head: Any = self._cluster.head_node
        self._given = {**given, "node_ip_address": head.node_ip_address}
        self.others = [self.add() for _ in range(count - 1)]
        self.environment["RAY_ADDRESS"] = self._cluster.address

    def add(self) -> Any:
        return self._cluster.add_node(**self._given)

    def kill(self, node: Any) -> None:
        self._cluster.remove_node(node, allow_graceful=False)

    def close(self) -> None:
        self._cluster.shutdown()
        os.environ.clear()
        os.environ.update(self._before)


def start(environment: dict[str, str], folder: Path, *args: str | Path) -> subprocess.Popen[str]:
    """A command in a folder."""
    command = [sys.executable, "-m", "cascade", *map(str, args)]
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def until(true: Any, seconds: float = 60.0) -> None:
    """Wait for it."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come to this"
        time.sleep(0.05)


def built(notes: Path) -> Sequence[int]:
    """The processes that built the engine."""
    return [int(file.name.partition("-")[2]) for file in notes.glob("built-*")]
