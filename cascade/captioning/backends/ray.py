"""Captioners on a Ray cluster: a pool of workers, each with an engine built once, which this process feeds.

The cluster is the one that RAY_ADDRESS names, or a local one that ends with the work. A worker has at most two batches,
one that it works on and the next, so neither side ever holds the whole dataset; results come back a batch at a time. A
worker that has the clips on its own disk reads them there; to another one their bytes are sent with the batch.

Workers are plain actors. Ray Data's pool survives a killed worker as well, but retries for ever where a clip kills
every worker that gets it. Here the batches of a lost worker go to others and a new worker is started: that costs a
retry. A batch that loses a second worker is halved; a clip that loses a third one is a failure.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from textwrap import shorten
from time import monotonic
from typing import Any

from cascade.captioners.registry import Engine
from cascade.captioning.backends import local, ray_cluster
from cascade.captioning.backends.local import Clip, Worker
from cascade.errors import UserError
from cascade.io.terminal import note
from cascade.types import Caption, CaptionerSpec, Failure, Host
from cascade.version import __version__

_Result = tuple[Path, Caption | Failure]

_BATCHES_PER_WORKER = 2  # at most: the one that it works on, and the next
_MOST_LOSSES = 3  # workers that may be lost over one clip, or in a row before they are ready
_NODE_TIMEOUT = 60.0  # seconds in which a cluster must get a node that can hold a worker
_NOTE_AFTER = 30.0  # seconds without a ready worker until the user is told
_NODE_INTERVAL = 5.0  # seconds between looks at the cluster's nodes
_GPU_MODULES = frozenset({"torch", "whisper", "msclap", "faster_whisper", "transformers"})
_MOST_CPUS = 8  # of a worker without a GPU


def run(spec: CaptionerSpec, host: Host, clips: Sequence[Path]) -> Iterator[_Result]:
    """Yield each clip with its caption or failure, as it is done.

    An engine that asks a model elsewhere gains nothing from a cluster and has one budget to keep: it runs in this
    process, as does one that is given the question: workers are sent clips alone. Raises UserError where Ray is not
    installed or not reachable, or where a node lacks what the engine needs.
    """
    if Engine(spec.name).asks_remotely or Engine(spec.name).needs_question(spec):
        yield from local.run(spec, host, clips)
        return
    with ray_cluster.connected():
        yield from _Pool(spec, host, clips).results()


@dataclass(slots=True, kw_only=True)
class _Batch:
    """Clips that are captioned together, and how many workers were lost over them."""

    clips: list[Path]
    losses: int = 0


@dataclass(slots=True, kw_only=True, eq=False)
class _WorkerHandle:
    """A worker as the driver knows it: its actor, and its batches by the references of their results, first come first.

    `shares_disk` is true until the worker could not find a clip on its own disk.
    """

    actor: Any
    ready: bool = False
    shares_disk: bool = True
    batches: dict[Any, _Batch] = field(default_factory=dict)


class _Pool:
    """The workers, their batches, and the batches that no worker has yet."""

    def __init__(self, spec: CaptionerSpec, host: Host, clips: Sequence[Path]) -> None:
        import ray

        self._ray: Any = ray
        self._spec, self._name = spec, f"{spec.slot}={spec.name}"
        nodes = self._nodes()
        self._resources = worker_resources(spec, host, nodes)
        self._fixed_size = int(_setting(host.workers, spec.slot, "pool", 0))
        self._size = self._fixed_size or capacity(nodes, self._resources)
        # A worker sees only the GPU that Ray gives it, as the first. Scratch files and the budget belong to the driver.
        threads = host.threads or max(1, int(self._resources["num_cpus"]))
        self._host = replace(host, threads=threads, device=host.device.partition(":")[0], scratch=None, budget=None)
        share = -(-len(clips) // (_BATCHES_PER_WORKER * max(1, self._size)))
        batch = max(1, min(host.batch, share))
        self._waiting = deque(_Batch(clips=list(clips[at : at + batch])) for at in range(0, len(clips), batch))
        self._workers: list[_WorkerHandle] = []
        self._pending: dict[Any, _WorkerHandle] = {}  # by the reference of what the worker will return
        self._nodes_seen_at = self._idle_since = monotonic()
        self._failed_builds = 0
        self._note_once = cache(note)

    def results(self) -> Iterator[_Result]:
        """Yield each clip's result as it comes; end the workers at the end."""
        try:
            while self._waiting or any(worker.batches for worker in self._workers):
                self._start_workers()
                yield from self._send_batches()
                if self._pending:
                    done, _ = self._ray.wait(list(self._pending), num_returns=1, timeout=1.0)
                    for reference in done:
                        yield from self._receive(reference, self._pending.pop(reference))
        finally:
            for worker in self._workers:
                self._ray.kill(worker.actor)

    def _start_workers(self) -> None:
        """Start as many workers as the nodes of this moment have room for and the batches need."""
        if not self._fixed_size and monotonic() - self._nodes_seen_at > _NODE_INTERVAL:
            self._size, self._nodes_seen_at = capacity(self._nodes(), self._resources), monotonic()
        if not any(worker.ready for worker in self._workers):
            self.explain_wait()
        busy = sum(bool(worker.batches) for worker in self._workers)
        while len(self._workers) < min(max(1, self._size), len(self._waiting) + busy):
            actor_class = self._ray.remote(Worker).options(**self._resources, max_restarts=0, max_task_retries=0)
            worker = _WorkerHandle(actor=actor_class.remote())
            self._workers.append(worker)
            self._pending[worker.actor.build.remote(self._spec, self._host, __version__)] = worker

    def explain_wait(self) -> None:
        """Tell the user why no worker is ready. Raises UserError where no node that can hold one is to be expected."""
        takes = ", ".join(f"{name}={amount:g}" for name, amount in self._resources.items())
        waited = monotonic() - self._idle_since
        if not capacity(self._nodes(), self._resources):
            lacking = f"{self._name}: no node of the Ray cluster has what a worker takes ({takes})"
            if ray_cluster.is_local() or waited > _NODE_TIMEOUT:
                raise UserError(f"{lacking}; say less, as in --worker {self._spec.slot}.num_gpus=0, or add nodes")
            self._note_once(f"{lacking}; it has {_NODE_TIMEOUT:g} s to get one")
        elif waited > _NOTE_AFTER:
            reason = "the engine is being built, or the nodes are busy (`ray status` says which)"
            self._note_once(f"{self._name}: no worker ({takes}) is ready yet: {reason}; waiting")

    def _nodes(self) -> list[Mapping[str, float]]:
        """Return the resources of each node that is alive, in use or not."""
        return [node["Resources"] for node in self._ray.nodes() if node["Alive"]]

    def _send_batches(self) -> Iterator[_Result]:
        """Send batches to the workers that are ready; yield a failure for each clip that can no longer be read."""
        most = _BATCHES_PER_WORKER if len(self._waiting) >= len(self._workers) else 1
        for worker in self._workers:
            while worker.ready and self._waiting and len(worker.batches) < most:
                batch = self._waiting.popleft()
                clips: dict[Path, Clip] = {}
                for path in batch.clips:
                    try:
                        status = path.stat()
                        content = None if worker.shares_disk else path.read_bytes()
                    except OSError as error:
                        yield path, Failure(kind="audio", message=f"{path.name}: {error.strerror}")
                        continue
                    clips[path] = Clip(
                        path=path.absolute(), size=status.st_size, modified_ns=status.st_mtime_ns, content=content
                    )
                if clips:
                    reference = worker.actor.caption.remote(list(clips.values()))
                    worker.batches[reference] = _Batch(clips=list(clips), losses=batch.losses)
                    self._pending[reference] = worker

    def _receive(self, reference: Any, worker: _WorkerHandle) -> Iterator[_Result]:
        """Yield the results that a worker returned."""
        try:
            value = self._ray.get(reference)
        except self._ray.exceptions.RayTaskError:
            raise  # a bug in the worker's code
        except self._ray.exceptions.RayError as error:
            yield from self._replace_worker(worker, error)
            return
        batch = worker.batches.pop(reference, None)
        if isinstance(value, str) and value:
            raise UserError(f"{self._name}, on a node of the Ray cluster: {value}")
        if batch is None:  # the engine is built
            worker.ready, self._failed_builds = True, 0
        elif value is None:
            worker.shares_disk = False
            self._waiting.appendleft(batch)
        else:
            yield from zip(batch.clips, value, strict=True)

    def _replace_worker(self, worker: _WorkerHandle, error: Exception) -> Iterator[_Result]:
        """Give the batches of a lost worker to others; yield a failure for a clip that has stopped too many workers.

        Only the batch in progress can be the cause. After its second loss it is halved.
        """
        # The last line says what happened to which process, after " detail: " where it has a general part as well.
        last_line = str(error).strip().rpartition("\n")[2]
        reason = shorten(last_line.rpartition(" detail: ")[2], 160, placeholder=" …")
        if getattr(error, "actor_init_failed", False):  # the class has no __init__, so its module was not imported
            raise UserError(
                f"{self._name}: a node of the Ray cluster cannot import cascade ({reason}); "
                f"install cascade {__version__} there"
            )
        self._workers.remove(worker)
        self._ray.kill(worker.actor)
        self._pending = {reference: other for reference, other in self._pending.items() if other is not worker}
        self._idle_since = monotonic()
        self._failed_builds += not worker.ready
        if self._failed_builds >= _MOST_LOSSES:
            raise UserError(
                f"{self._name}: {self._failed_builds} workers in a row were lost while they built the engine "
                f"({reason}); is there memory for it, or one --worker pool=1 too many?"
            )
        note(f"{self._name}: a worker was lost ({reason}); what it had goes to another")
        batches = list(worker.batches.values())
        self._waiting.extendleft(reversed(batches[1:]))
        for batch in batches[:1]:
            batch.losses += 1
            half = len(batch.clips) // 2
            if half and batch.losses > 1:
                parts = (batch.clips[half:], batch.clips[:half])
                self._waiting.extendleft(_Batch(clips=clips, losses=1) for clips in parts)
            elif batch.losses < _MOST_LOSSES:
                self._waiting.appendleft(batch)
            else:
                clip = batch.clips[0]
                message = f"{clip.name}: {batch.losses} workers were lost while they captioned it"
                yield clip, Failure(kind="engine", message=message)


def _setting(workers: Mapping[str, float], slot: str, key: str, default: float) -> float:
    """Return a `--worker` setting: the slot's own, else the one for all slots."""
    return workers.get(f"{slot}.{key}", workers.get(key, default))


def worker_resources(spec: CaptionerSpec, host: Host, nodes: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return what a worker takes of its node: as the user set, else a GPU where the engine can use one, else CPUs."""
    uses_gpu = not _GPU_MODULES.isdisjoint(Engine(spec.name).module.NEEDS) and host.device != "cpu"
    has_gpu = any(node.get("GPU") for node in nodes)
    gpus = _setting(host.workers, spec.slot, "num_gpus", float(uses_gpu and has_gpu))
    fewest = min((node["CPU"] for node in nodes if node.get("CPU")), default=1.0)
    usual_cpus = 1.0 if gpus else min(_MOST_CPUS, fewest)
    return {"num_cpus": _setting(host.workers, spec.slot, "num_cpus", usual_cpus), "num_gpus": gpus}


def capacity(nodes: Sequence[Mapping[str, float]], resources: Mapping[str, float]) -> int:
    """Return how many workers the nodes could hold together if they were idle."""
    needed = {"CPU": resources["num_cpus"], "GPU": resources["num_gpus"]}
    needed = {kind: amount for kind, amount in needed.items() if amount}
    total = 0
    for node in nodes:
        total += min((int(node.get(kind, 0) / amount) for kind, amount in needed.items()), default=1)
    return total
