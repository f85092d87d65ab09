"""The device that torch computes on, and how many clips are computed at the same time.

On a processor each clip is computed by one thread, several clips at a time: sums are then made in the same order
whatever the number of cores and the batch neighbours, and no thread waits for another.
"""

from __future__ import annotations

import os
import platform
import re
import struct
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from pickle import UnpicklingError
from runpy import run_path
from shutil import which
from typing import TypeVar

from cascade.errors import UserError
from cascade.types import Host

# What the loading of a damaged checkpoint, or of another file, is known to raise.
_READING = (UnpicklingError, struct.error, OSError, EOFError)
DAMAGED = (*_READING, RuntimeError, LookupError, TypeError, ValueError, AttributeError)
Value = TypeVar("Value")
_END = object()


def prepare(host: Host) -> str:
    """Return the device's name for torch; on a processor, set torch to one thread.

    `auto` is CUDA where there is one, else Apple's GPU, else the processor. Raises UserError for a device that is not
    here.
    """
    import torch

    name = host.device
    if name == "auto":
        name = "mps" if torch.backends.mps.is_available() else "cpu"
        if torch.cuda.is_available():
            name = "cuda"
    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = " ".join(str(error).split())[:120]
        raise UserError(f"--device {name}: torch cannot use it here ({reason}); try --device cpu") from None
    if name == "cpu":
        torch.set_num_threads(1)
    return name


def workers(params: object, host: Host) -> int:
    """Return how many threads caption clips at the same time; 0 on a GPU, where one batch follows another."""
    if prepare(host) != "cpu":
        return 0
    return min(host.threads or cores(), host.batch)


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def accelerators() -> tuple[str, str]:
    """Return `ok` and the names of the GPUs here, or `note` and why torch uses none; torch itself is not loaded.

    The driver names the GPUs, and a file of its package says what torch is built for.
    """
    torch = find_spec("torch")
    if torch is None or torch.origin is None:
        return "note", "torch is not installed: nothing here would use one"
    if (platform.system(), platform.machine()) == ("Darwin", "arm64"):
        return "ok", "Apple's GPU"
    texts = [file.read_text() for file in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))]
    names = ", ".join(re.findall(r"^Model:\s*(.*\S)", "\n".join(texts), re.MULTILINE))
    names = names or ("one of NVIDIA" if which("nvidia-smi") else "")  # Windows has no such files.
    if names and run_path(str(Path(torch.origin).with_name("version.py"))).get("cuda"):
        return "ok", names
    unused = f"{names}, but torch is built for the processor" if names else "none"
    return "note", f"{unused}: whisper and CLAP compute on the processor"


def prefetch(items: Iterator[Value], count: int) -> Iterator[Value]:
    """Yield the same items in the same order, with up to `count` of them made ahead on a thread.

    Raises what making an item raises.
    """
    executor = ThreadPoolExecutor(1, "prefetch")
    try:
        pending = deque(executor.submit(next, items, _END) for _ in range(count))
        while (item := pending.popleft().result()) is not _END:
            pending.append(executor.submit(next, items, _END))
            yield item  # type: ignore[misc]  # it is not the end
    finally:
        executor.shutdown(cancel_futures=True)
