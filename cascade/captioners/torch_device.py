"""Where torch computes: the device that was asked for, and on a processor in how many lanes.

On a processor each clip is computed by one thread, clips side by side: sums are then made in one order whatever the
number of cores and the company, and no thread waits for another.
"""

from __future__ import annotations

import os
import struct
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pickle import UnpicklingError
from typing import TypeVar

from cascade.errors import UserError
from cascade.types import Host

# What loading a checkpoint is known to raise where it is damaged, or is none.
_READING = (UnpicklingError, struct.error, OSError, EOFError)
DAMAGED = (*_READING, RuntimeError, LookupError, TypeError, ValueError, AttributeError)


def device(host: Host) -> str:
    """The device's name for torch; `auto` is CUDA where there is one, else Apple's GPU, else the processor.

    On a processor torch is set to one thread. Raises UserError for a device that is not here.
    """
    import torch

    name = _found(host)
    if name == "cpu":
        torch.set_num_threads(1)
    return name


def lanes(params: object, host: Host) -> int:
    """How many clips are computed side by side: as many as there are threads, on a GPU 0, one batch after another."""
    return min(host.threads or cores(), host.batch) if _found(host) == "cpu" else 0


def cores() -> int:
    """The processor's cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _found(host: Host) -> str:
    import torch

    if host.device == "auto":
        return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.empty(1, device=host.device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = " ".join(str(error).split())[:120]
        raise UserError(f"--device {host.device}: torch cannot use it here ({reason}); try --device cpu") from None
    return host.device


def accelerators() -> str:
    """The GPUs that torch can use here, by name, or `""`."""
    import torch

    if torch.cuda.is_available():
        return ", ".join(torch.cuda.get_device_name(at) for at in range(torch.cuda.device_count()))
    return "Apple's GPU" if torch.backends.mps.is_available() else ""


Made = TypeVar("Made")


_END = object()


def prefetch(items: Iterator[Made], most: int) -> Iterator[Made]:
    """The same items in the same order, up to `most` of them made before they are asked for.

    What the items raise is raised here.
    """
    worker = ThreadPoolExecutor(1, "ahead")
    try:
        coming = deque(worker.submit(next, items, _END) for _ in range(most))
        while (item := coming.popleft().result()) is not _END:
            coming.append(worker.submit(next, items, _END))
            yield item  # type: ignore[misc]  # it is not the end
    finally:
        worker.shutdown(cancel_futures=True)
