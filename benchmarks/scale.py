"""How cost grows: 1 000, 10 000 and 100 000 generated items, each stage a process of its own; and a cluster's workers.

The engines are the fakes, which take no time: what is measured is everything around them. A growth factor is the time
per item at the largest size over that at a tenth of it, what starting takes left out: 1 is linear. It is taken from
the processor's time, which other work on the machine changes little. The cluster is several nodes of Ray on this
machine, with an engine that only waits: so two workers can be compared with one.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parent.parent
SIZES = (1_000, 10_000, 100_000)
CAPTIONS = "speech=fake(text=Two people talk about the weather while rain falls on a tin roof.)"
RUN = ["run", "--captions", CAPTIONS, "--llm", "fake", "--cache", "cache", "--out", "run"]
# In order: each finds what those before it left.
STAGES: dict[str, list[str]] = {
    "caption": ["caption", "--captions", CAPTIONS, "--cache", "cache", "--format", "jsonl"],
    "caption_again": ["caption", "--captions", CAPTIONS, "--cache", "cache", "--format", "jsonl"],
    "cache_export": ["cache", "export", "bundle.jsonl", "--cache", "cache"],
    "cache_import": ["cache", "import", "bundle.jsonl", "--cache", "other"],
    "run": RUN,
    "resume": RUN,
    "score": ["score", "run", "--format", "json"],
    "report": ["report", "run", "--out", "report.html"],
    "merge": ["merge", "run", "--out", "merged"],
    "verify": ["verify", "run"],
}
OF_A_DATASET = {"caption", "caption_again", "run", "resume"}

WAITING = """
import time
from dataclasses import dataclass
from cascade.types import Caption
VERSION, SLOT, NEEDS = "1", "sound", {}

@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    seconds: float

def make(params, host):
    def caption(clips):
        time.sleep(params.seconds * len(clips))
        return [Caption(text="") for _ in clips]
    return caption
"""


def environment(**more: str) -> dict[str, str]:
    """Return an environment with this checkout's code and without the user's settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CASCADE_", "RAY_"))}
    path = os.pathsep.join(filter(None, [more.pop("also", ""), str(ROOT), os.environ.get("PYTHONPATH", "")]))
    return {**kept, "PYTHONPATH": path, **more}


def make_dataset(folder: Path, n: int) -> None:
    """`n` questions, each about a clip of its own of some bytes."""
    (folder / "clips").mkdir()
    with open(folder / "set.jsonl", "w", encoding="utf-8") as file:
        for number in range(n):
            (folder / "clips" / f"{number}.wav").write_bytes(b"clip %d" % number)
            row: dict[str, Any] = {
                "id": f"q{number}",
                "audio_path": f"clips/{number}.wav",
                "question": f"What is heard in {number}?",
            }
            row |= {"choices": ["rain", "a bell", "a siren", "wind"], "answer": "rain", "modality": "sound"}
            file.write(json.dumps(row) + "\n")


class Cost(NamedTuple):
    """Seconds by the clock and of the processor, and the peak in MB."""

    clock: float
    cpu: float
    peak: float


def measure(command: list[str], folder: Path, env: dict[str, str]) -> Cost:
    """Return what a command costs as a whole process."""
    started = time.perf_counter()
    job = subprocess.Popen(
        [sys.executable, "-m", "cascade", *command], cwd=folder, env=env, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    _, status, used = os.wait4(job.pid, 0)
    job.returncode = os.waitstatus_to_exitcode(status)
    if job.returncode:
        raise SystemExit(f"{' '.join(command)}: exit code {job.returncode} in {folder}")
    peak = used.ru_maxrss / (1024 if sys.platform != "darwin" else 1 << 20)
    return Cost(time.perf_counter() - started, used.ru_utime + used.ru_stime, peak)


def grow(sizes: tuple[int, ...]) -> dict[str, float]:
    """Each stage's seconds and peak at each size, and how it grows."""
    figures: dict[str, float] = {}
    start = min(measure(["--version"], ROOT, environment()).cpu for _ in range(3))
    for n in sizes:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            make_dataset(folder, n)
            for stage, command in STAGES.items():
                given = [*command, "--dataset", "set.jsonl"] if stage in OF_A_DATASET else command
                cost = measure(given, folder, environment())
                figures |= {f"{stage}_{n}_s": cost.clock, f"{stage}_{n}_cpu_s": cost.cpu, f"{stage}_{n}_mb": cost.peak}
    least, most = sizes[-2:]
    for stage in STAGES:
        small, large = (figures[f"{stage}_{n}_cpu_s"] - start for n in (least, most))
        # Below the clock's noise there is nothing to compare with.
        figures[f"{stage}_growth"] = (large / most) / (max(small, 0.02) / least)
    return figures


# The cluster


@contextmanager
def cluster(nodes: int) -> Iterator[dict[str, str]]:
    """Start a Ray cluster of so many nodes with one core each; yields the environment in which it is used."""
    from ray.cluster_utils import Cluster

    folder = Path(tempfile.mkdtemp(prefix="r", dir="/tmp"))
    about = folder / "waiting-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: waiting\nVersion: 1\n")
    (about / "entry_points.txt").write_text("[cascade.captioners]\nwaiting = waiting_engine\n")
    (folder / "waiting_engine.py").write_text(WAITING)
    env = environment(also=str(folder), HOME=str(folder), RAY_TMPDIR=str(folder), RAY_USAGE_STATS_ENABLED="0")
    os.environ.update(env)
    node = {"num_cpus": 1, "object_store_memory": 80 << 20}
    made: Any = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
    try:
        for _ in range(nodes - 1):
            made.add_node(**node)
        yield {**env, "RAY_ADDRESS": made.address}
    finally:
        made.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


def scale_out(clips: int, seconds: float) -> dict[str, float]:
    """Return the rates of one worker and of two on the same clips: over the ideal, and over each other."""
    figures: dict[str, float] = {}
    with cluster(2) as env, tempfile.TemporaryDirectory() as name:
        make_dataset(Path(name), clips)
        for workers in (1, 2):
            command = ["caption", "--dataset", "set.jsonl", "--captions", f"sound=waiting(seconds={seconds})"]
            command += ["--backend", "ray", "--worker", f"pool={workers}", "--batch", "16"]
            empty = [*command, "--cache", f"e{workers}", "--limit", "1"]
            start = measure(empty, Path(name), env).clock
            took, _, peak = measure([*command, "--cache", f"c{workers}"], Path(name), env)
            figures |= {f"ray_{workers}_s": took, f"ray_{workers}_start_s": start, f"ray_{workers}_driver_mb": peak}
            figures[f"ray_{workers}_over_ideal"] = (took - start) / (clips * seconds / workers)
    one, two = (figures[f"ray_{workers}_s"] - figures[f"ray_{workers}_start_s"] for workers in (1, 2))
    return {**figures, "ray_two_over_one": one / two}


def drain(clips: int) -> dict[str, float]:
    """How many results a second one driver takes from a cluster and keeps, where hearing takes no time."""
    with cluster(2) as env, tempfile.TemporaryDirectory() as name:
        make_dataset(Path(name), clips)
        command = ["caption", "--dataset", "set.jsonl", "--captions", "sound=waiting(seconds=0)", "--backend", "ray"]
        start = measure([*command, "--cache", "e", "--limit", "1"], Path(name), env)
        all_ = measure([*command, "--cache", "c"], Path(name), env)
    return {
        "ray_driver_clips_per_s": clips / (all_.clock - start.clock),
        "ray_driver_clips_per_cpu_s": clips / (all_.cpu - start.cpu),
    }


def main() -> None:
    """Print the figures, as text or as one flat JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="1 000 and 10 000 items, fewer clips for the cluster")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument("--part", choices=("items", "cluster"), help="only this")
    given = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    figures: dict[str, float] = {}
    if given.part != "cluster":
        figures |= grow(SIZES[:2] if given.quick else SIZES)
    if given.part != "items":
        figures |= scale_out(*((200, 0.05) if given.quick else (800, 0.05)))
        figures |= drain(2_000 if given.quick else 10_000)
    rounded = {name: round(value, 3) for name, value in figures.items()}
    print(json.dumps(rounded) if given.json else "\n".join(f"{name:<26} {value}" for name, value in rounded.items()))


if __name__ == "__main__":
    main()
