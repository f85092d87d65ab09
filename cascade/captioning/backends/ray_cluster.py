"""The connection to a Ray cluster: the one that RAY_ADDRESS names, or a local one that ends with the work."""

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

# A local cluster is reachable from this machine only.
_LOCAL: dict[str, Any] = {
    "address": "local",
    "include_dashboard": False,
    "_node_ip_address": "127.0.0.1",
    "object_store_memory": 1 << 28,
}
# At an open port of another service Ray retries for a quarter of an hour, with a warning every few seconds.
_FEW_RETRIES = {"RAY_NUM_REDIS_GET_RETRIES": "3", "RAY_py_gcs_connect_timeout_s": "10"}


def is_local() -> bool:
    """Return whether the cluster is a local one that ends with the work; no node is ever added to it."""
    return os.environ.get("RAY_ADDRESS", "") in ("", "local")


@contextmanager
def connected() -> Iterator[None]:
    """Connect to the cluster that this process uses already, to RAY_ADDRESS's, or to a local one.

    Raises MissingExtra where Ray is not installed, UserError where the cluster cannot be reached.
    """
    if not is_local():
        for name, value in _FEW_RETRIES.items():  # Ray reads them when it is imported
            os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError:
        raise MissingExtra("the backend 'ray'", "ray", "pip install 'audio-cascade[ray]'") from None
    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    with redirect_stdout(_StdoutWithoutRay()):
        _connect(ray)
        try:
            # Exit in order, so that the workers end; Ray's own handler prints a stack of addresses and exits with 15.
            _set_handler(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
            yield
        finally:
            _set_handler(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C during the shutdown would crash Ray
            with redirect_stdout(io.StringIO()):  # Ray prints its earlier messages again
                ray.shutdown()
            for number, handler in handlers.items():
                _set_handler(number, handler)


def _connect(ray: Any) -> None:
    """Start a local cluster or connect to RAY_ADDRESS's. Raises UserError where that fails."""
    address = os.environ.get("RAY_ADDRESS", "")
    options = _LOCAL
    if not is_local():
        options = {"address": address}
        _check_listening(address)
    try:
        ray.init(**options, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
        reason = " ".join(str(error).split())[:200]
        message = f"a local Ray cannot be used ({reason}); RAY_TMPDIR=DIR, a short one, says where its files go"
        if not is_local():
            message = (
                f"RAY_ADDRESS={address} cannot be used ({reason}); give the address that `ray start --head` printed, "
                "and RAY_AUTH_MODE=token if that spoke of a token, or unset it for a local Ray"
            )
        raise UserError(f"--backend ray: {message}") from error


def _check_listening(address: str) -> None:
    """Raise UserError where nothing listens at a HOST:PORT; Ray itself would retry for minutes."""
    host, _, port = address.rpartition(":")
    if host and "/" not in host and port.isdigit():
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
        except (OSError, OverflowError) as error:
            raise UserError(
                f"--backend ray: nobody answers at RAY_ADDRESS={address} ({error}); give the address that "
                "`ray start --head` printed, or unset it for a local Ray"
            ) from error


class _StdoutWithoutRay(io.TextIOBase):
    """stdout, which carries results, without the lines that Ray's own threads print about its workers."""

    def __init__(self) -> None:
        self._stdout = sys.stdout

    def write(self, text: str) -> int:
        if current_thread().name.startswith("ray_"):
            return len(text)
        return self._stdout.write(text)

    def flush(self) -> None:
        self._stdout.flush()


def _set_handler(number: int, handler: Any) -> None:
    if current_thread() is main_thread():  # signal.signal works in no other thread
        signal.signal(number, handler)
