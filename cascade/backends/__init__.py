"""Where captioners run. `local` is this process."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from cascade.backends import local
from cascade.errors import UnknownName
from cascade.types import Backend

_BACKENDS: Mapping[str, Callable[[], Backend]] = {"local": lambda: local.run}


def find(name: str) -> Backend:
    """The backend of that name. Raises UnknownName."""
    if name not in _BACKENDS:
        raise UnknownName("backend", name, _BACKENDS)
    return _BACKENDS[name]()
