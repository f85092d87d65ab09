"""Every test starts with a clean environment, in an empty folder, and reaches no network but this machine."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.support.commands import mini

__all__ = ["mini"]

ROOT = Path(__file__).parent.parent
_SECRET = re.compile(r"_API_KEY$|_TOKEN$|proxy$|^HF_|^CASCADE_", re.IGNORECASE)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    for name in filter(_SECRET.search, list(os.environ)):
        monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "160")
    for name in ("XDG_CACHE_HOME", "HF_HOME"):
        monkeypatch.setenv(name, str(tmp_path_factory.mktemp("home")))
    # A relative entry would mean another folder from here on, for the processes that tests start.
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])))
    monkeypatch.chdir(tmp_path_factory.mktemp("here"))


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse every connection that would leave this machine."""
    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, _guarded(getattr(socket.socket, name)))


def _guarded(connect: Any) -> Any:
    def guarded(self: socket.socket, address: Any) -> Any:
        local = isinstance(address, str | bytes | Path) or str(address[0]) in ("127.0.0.1", "::1", "localhost")
        if not local:
            raise AssertionError(f"a test reaches out to {address!r}")
        return connect(self, address)

    return guarded
