"""Audio question answering without an audio model: caption, ask, score.

The verbs of the commands are functions here (`cascade.api`); they are loaded when they are first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cascade.version import __version__

if TYPE_CHECKING:
    from cascade.api import ask, caption, compare, load, run, score

__all__ = ["__version__", "ask", "caption", "compare", "load", "run", "score"]


def __getattr__(name: str) -> Any:
    if name.startswith("_") or name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from cascade import api

    return getattr(api, name)
