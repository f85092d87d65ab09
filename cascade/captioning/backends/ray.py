"""Captioners on a Ray cluster: a pool of workers, each with the engine built once, fed by this process.

The cluster is the one that RAY_ADDRESS names, or a local one that ends with the work. A worker has at most two
batches, one to hear and one to come, so neither side ever holds the dataset; what it heard comes back a batch at a
time. A worker that sees the clips on its own disk reads them there; to another their bytes travel with the batch.

Workers are plain actors: Ray Data's pool outlives a killed worker too, but goes on for ever where a clip kills each
that hears it. When one is lost, with its node or alone, its batches are given to others and a new one is started: that
costs a retry. A batch that loses a second worker is halved; a clip that has lost three is a failure.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from textwrap import shorten
from time import monotonic
from typing import Any

import cascade
from cascade.captioners.registry import Engine
from cascade.captioning.backends import local, ray_cluster
from cascade.captioning.backends.worker import Clip, Worker
from cascade.errors import UserError
from cascade.io.terminal import note
from cascade.types import Caption, CaptionerSpec, Failure, Host

KEYS = ("pool", "num_gpus", "num_cpus")
_Result = tuple[Path, Caption | Failure]

_AHEAD = 2  # batches that a worker has at most
_DEATHS = 3  # workers that may be lost over one clip
_PATIENCE = 60.0  # seconds until a cluster must have a node that can hold a worker
_QUIET = 30.0  # seconds without a worker until that is said
_LOOK = 5.0  # seconds between looks at which nodes there are
_ON_GPUS = frozenset({"torch", "whisper", "msclap", "faster_whisper", "transformers"})  # engines that need one of these
_CORES = 8  # of a worker without a GPU, at most


def run(spec: CaptionerSpec, host: Host, clips: Sequence[Path]) -> Iterator[_Result]:
    """Each clip with its caption, or with what went wrong with it, as it is done.

    An engine that asks a model elsewhere has nothing to gain from a cluster, and one budget to keep: it stays here.
    Raises UserError where Ray is not installed or not there, or where a node lacks what the engine needs.
    """
    if Engine(spec.name).asks_remotely:
        yield from local.run(spec, host, clips)
        return
    with ray_cluster.connected():
        pool = _Pool(spec, host, clips)
        try:
            yield from pool.results()
        finally:
            pool.close()


@dataclass(slots=True, kw_only=True)
class _Job:
    """Clips that are heard together, and how many workers have been lost over them."""

    clips: list[Path]
    deaths: int = 0


@dataclass(slots=True, kw_only=True, eq=False)
class _WorkerHandle:
    """A worker as the driver knows it. `near` until it could not see a clip on its own disk; its jobs by what is
    waited for, the one it works on first.
    """

    actor: Any
    ready: bool = False
    near: bool = True
    jobs: dict[Any, _Job] = field(default_factory=dict)


class _Pool:
    """The workers, what each has, and what is left."""

    def __init__(self, spec: CaptionerSpec, host: Host, clips: Sequence[Path]) -> None:
        import ray

        self._ray: Any = ray
        self._spec, self._name = spec, f"{spec.slot}={spec.name}"
        self._told = set[str]()
        nodes = self._nodes()
        self._needs = _needs(spec, host, nodes)
        self._asked = int(_wanted(host.workers, spec.slot, "pool", 0))
        # A GPU that Ray gives is the first that the worker sees. What is spent and kept is spent and kept here.
        device = host.device.partition(":")[0]
        threads = host.threads or max(1, int(self._needs["num_cpus"]))
        self._host = replace(host, threads=threads, device=device, scratch=None, budget=None)
        self._size = self._asked or _room(nodes, self._needs)
        size = max(1, min(host.batch, -(-len(clips) // (_AHEAD * max(1, self._size)))))
        self._todo = deque(_Job(clips=list(clips[at : at + size])) for at in range(0, len(clips), size))
        self._hands: list[_WorkerHandle] = []
        self._waiting: dict[Any, _WorkerHandle] = {}
        self._looked, self._held, self._stillborn = monotonic(), monotonic(), 0

    def results(self) -> Iterator[_Result]:
        """Each clip's result, as it comes."""
        while self._todo or any(hand.jobs for hand in self._hands):
            self._staff()
            yield from self._hand_out()
            if self._waiting:
                for ref in self._ray.wait(list(self._waiting), num_returns=1, timeout=1.0)[0]:
                    yield from self._take(ref, self._waiting.pop(ref))

    def close(self) -> None:
        """End the workers."""
        for hand in self._hands:
            self._ray.kill(hand.actor)

    # Workers

    def _staff(self) -> None:
        """As many workers as there is room for on the nodes that are there now, and work for."""
        if not self._asked and monotonic() - self._looked > _LOOK:
            self._size, self._looked = _room(self._nodes(), self._needs), monotonic()
        if not any(hand.ready for hand in self._hands):
            self._have_patience()
        busy = sum(bool(hand.jobs) for hand in self._hands)
        while len(self._hands) < min(max(1, self._size), len(self._todo) + busy):
            self._start()

    def _have_patience(self) -> None:
        """Wait for a first worker, and say so: with a node that can hold one as long as it takes."""
        takes = ", ".join(f"{name}={amount:g}" for name, amount in self._needs.items())
        waited = monotonic() - self._held
        if not _room(self._nodes(), self._needs):
            lacking = f"{self._name}: no node of the Ray cluster has what a worker takes ({takes})"
            if ray_cluster.is_ours() or waited > _PATIENCE:
                raise UserError(f"{lacking}; say less, as in --worker {self._spec.slot}.num_gpus=0, or add nodes")
            self._tell(f"{lacking}; it has {_PATIENCE:g} s to get one")
        elif waited > _QUIET:
            why = "the engine is being built, or the nodes are busy (`ray status` says which)"
            self._tell(f"{self._name}: no worker ({takes}) is ready yet: {why}; waiting")

    def _tell(self, text: str) -> None:
        """Say it, once: the driver waits in silence otherwise."""
        if text not in self._told:
            self._told.add(text)
            note(text)

    def _start(self) -> None:
        worker = self._ray.remote(Worker).options(**self._needs, max_restarts=0, max_task_retries=0)
        hand = _WorkerHandle(actor=worker.remote())
        self._hands.append(hand)
        self._waiting[hand.actor.build.remote(self._spec, self._host, cascade.__version__)] = hand

    def _nodes(self) -> list[Mapping[str, float]]:
        """What each node that is alive can give in all."""
        return [node["Resources"] for node in self._ray.nodes() if node["Alive"]]

    # Work

    def _hand_out(self) -> Iterator[_Result]:
        """Give the workers that are ready what they may have; clips that are gone by now are failures."""
        ahead = _AHEAD if len(self._todo) >= len(self._hands) else 1
        for hand in self._hands:
            while hand.ready and self._todo and len(hand.jobs) < ahead:
                job = self._todo.popleft()
                packed = {clip: _packed(clip, hand.near) for clip in job.clips}
                yield from ((clip, one) for clip, one in packed.items() if isinstance(one, Failure))
                job.clips = [clip for clip in job.clips if not isinstance(packed[clip], Failure)]
                if job.clips:
                    ref = hand.actor.hear.remote([packed[clip] for clip in job.clips])
                    hand.jobs[ref], self._waiting[ref] = job, hand

    def _take(self, ref: Any, hand: _WorkerHandle) -> Iterator[_Result]:
        """What came from a worker."""
        try:
            value = self._ray.get(ref)
        except self._ray.exceptions.RayTaskError:
            raise  # a bug there is a bug here
        except self._ray.exceptions.RayError as error:
            yield from self._lost(hand, error)
            return
        job = hand.jobs.pop(ref, None)
        if isinstance(value, str) and value:
            raise UserError(f"{self._name}, on a node of the Ray cluster: {value}")
        if job is None:
            hand.ready, self._stillborn = True, 0
        elif value is None:
            hand.near = False
            self._todo.appendleft(job)
        else:
            yield from zip(job.clips, value, strict=True)

    def _lost(self, hand: _WorkerHandle, error: Exception) -> Iterator[_Result]:
        """A worker is gone, or its node: its batches go to others, and only the one it was at may be to blame."""
        # The lines above the last say which process it was, and what stands before the detail is the same for all.
        why = shorten(str(error).strip().rpartition("\n")[2].rpartition(" detail: ")[2], 160, placeholder=" …")
        if getattr(error, "actor_init_failed", False):  # our class does nothing then but be imported
            raise UserError(
                f"{self._name}: a node of the Ray cluster cannot import cascade ({why}); "
                f"install cascade {cascade.__version__} there"
            )
        self._hands.remove(hand)
        self._ray.kill(hand.actor)
        self._waiting = {ref: one for ref, one in self._waiting.items() if one is not hand}
        self._held = monotonic()
        self._stillborn += not hand.ready
        if self._stillborn >= _DEATHS:
            raise UserError(
                f"{self._name}: {self._stillborn} workers in a row were lost while they built the engine ({why}); "
                "is there memory for it, or one --worker pool=1 too many?"
            )
        note(f"{self._name}: a worker was lost ({why}); what it had goes to another")
        jobs = list(hand.jobs.values())
        self._todo.extendleft(reversed(jobs[1:]))
        if jobs:
            yield from self._again(jobs[0])

    def _again(self, job: _Job) -> Iterator[_Result]:
        job.deaths += 1
        if len(job.clips) > 1 and job.deaths > 1:
            half = len(job.clips) // 2
            parts = [_Job(clips=part, deaths=1) for part in (job.clips[:half], job.clips[half:])]
            self._todo.extendleft(reversed(parts))
        elif job.deaths < _DEATHS:
            self._todo.appendleft(job)
        else:
            clip = job.clips[0]
            message = f"{clip.name}: {job.deaths} workers were lost while they heard it"
            yield clip, Failure(kind="engine", message=message)


def _packed(clip: Path, near: bool) -> Clip | Failure:
    try:
        looks = clip.stat()
        content = None if near else clip.read_bytes()
    except OSError as error:
        return Failure(kind="audio", message=f"{clip.name}: {error.strerror}")
    return Clip(path=clip.absolute(), size=looks.st_size, changed=looks.st_mtime_ns, content=content)


def _wanted(given: Mapping[str, float], slot: str, key: str, otherwise: float) -> float:
    return given.get(f"{slot}.{key}", given.get(key, otherwise))


def _needs(spec: CaptionerSpec, host: Host, nodes: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """What a worker takes of its node: as was said, else a GPU where the engine can use one, else some cores."""
    fit = bool(_ON_GPUS & set(Engine(spec.name).module.NEEDS)) and host.device != "cpu"
    gpus = _wanted(host.workers, spec.slot, "num_gpus", float(fit and any(node.get("GPU") for node in nodes)))
    cores = min((node["CPU"] for node in nodes if node.get("CPU")), default=1.0)
    cpus = _wanted(host.workers, spec.slot, "num_cpus", 1.0 if gpus else min(_CORES, cores))
    return {"num_cpus": cpus, "num_gpus": gpus}


def _room(nodes: Sequence[Mapping[str, float]], needs: Mapping[str, float]) -> int:
    """How many workers the nodes hold together, were they idle."""
    wanted = {"CPU": needs["num_cpus"], "GPU": needs["num_gpus"]}
    fits = [[int(node.get(kind, 0) / amount) for kind, amount in wanted.items() if amount] for node in nodes]
    return sum(min(counts, default=1) for counts in fits)
