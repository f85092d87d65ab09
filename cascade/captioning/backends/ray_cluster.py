"""Being connected to a Ray cluster: the one that RAY_ADDRESS names, or a local one that ends with the work."""

from __future__ import annotations

import io
import logging
import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from threading import current_thread, main_thread
from typing import Any

from cascade.errors import MissingExtra, UserError

# A cluster of our own talks to this machine only, and tells nobody that it is there.
_OWN: dict[str, Any] = {"include_dashboard": False, "_node_ip_address": "127.0.0.1", "object_store_memory": 1 << 28}
# At a port that is open but no Ray's, Ray itself tries for a quarter of an hour, with a warning every few seconds.
_BRIEF = {"RAY_NUM_REDIS_GET_RETRIES": "3", "RAY_py_gcs_connect_timeout_s": "10"}


def is_ours() -> bool:
    """Whether the cluster is a local one that ends with the work, to which no node will ever come."""
    return os.environ.get("RAY_ADDRESS", "") in ("", "local")


@contextmanager
def connected() -> Iterator[None]:
    """Be connected: to the cluster that this process has already, to RAY_ADDRESS's, or to one of our own.

    Raises MissingExtra where Ray is not installed, UserError where there is no such cluster.
    """
    for name, value in () if is_ours() else _BRIEF.items():  # read when Ray is imported
        os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError:
        raise MissingExtra("the backend 'ray'", "ray", "pip install 'audio-cascade[ray]'") from None
    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    with redirect_stdout(_WithoutRay()):
        _connect(ray)
        try:
            _on(signal.SIGTERM, _leave)
            yield
        finally:
            _on(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C would cut Ray's end short, by a crash
            with redirect_stdout(io.StringIO()):  # it says again what it has said
                ray.shutdown()
            for number, handler in before.items():
                _on(number, handler)


def _connect(ray: Any) -> None:
    given: dict[str, Any] = {"address": "local", **_OWN}
    if not is_ours():
        given = {"address": os.environ["RAY_ADDRESS"]}
        _knock(given["address"])
    try:
        ray.init(**given, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
        reason = " ".join(str(error).split())[:200]
        if is_ours():
            told = f"a local Ray cannot be used ({reason}); RAY_TMPDIR=DIR, a short one, says where its files go"
            raise UserError(f"--backend ray: {told}") from error
        raise UserError(
            f"--backend ray: RAY_ADDRESS={given['address']} cannot be used ({reason}); give the address that "
            "`ray start --head` printed, and RAY_AUTH_MODE=token if that spoke of a token, or unset it for a local Ray"
        ) from error


def _knock(address: str) -> None:
    """Whether anyone is at a HOST:PORT; Ray itself tries for minutes. Raises UserError."""
    host, _, port = address.rpartition(":")
    if host and "/" not in host and port.isdigit():
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
        except (OSError, OverflowError) as error:
            raise UserError(
                f"--backend ray: nobody answers at RAY_ADDRESS={address} ({error}); give the address that "
                "`ray start --head` printed, or unset it for a local Ray"
            ) from error


class _WithoutRay(io.TextIOBase):
    """stdout without what Ray's threads print of its workers, long and in colour: results go there, and the pool says
    what matters.
    """

    def __init__(self) -> None:
        self._out = sys.stdout

    def write(self, text: str) -> int:
        return len(text) if current_thread().name.startswith("ray_") else self._out.write(text)

    def flush(self) -> None:
        self._out.flush()


def _leave(number: int, _: Any) -> None:
    """End the workers and go; Ray's own way is a page of addresses, and the exit code 15."""
    raise SystemExit(128 + number)


def _on(number: int, handler: Any) -> None:
    if current_thread() is main_thread():  # the only one that may
        signal.signal(number, handler)
