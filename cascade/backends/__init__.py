"""Where captioners run: `local` is this process, `ray` a cluster's."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from cascade.backends import local, ray
from cascade.errors import UnknownName
from cascade.types import Backend

_BACKENDS: Mapping[str, Callable[[], Backend]] = {"local": lambda: local.run, "ray": lambda: ray.run}


def find(name: str) -> Backend:
    """The backend of that name. Raises UnknownName."""
    if name not in _BACKENDS:
        raise UnknownName("backend", name, _BACKENDS, "give it as --backend NAME")
    return _BACKENDS[name]()
