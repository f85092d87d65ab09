"""Audio question answering without an audio model: caption, ask, score.

The verbs of the commands are functions here (`cascade.interface`); they are loaded when they are first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cascade.interface import ask, caption, compare, load, score

__version__ = "0.1.0"
__all__ = ["__version__", "ask", "caption", "compare", "load", "score"]


def __getattr__(name: str) -> Any:
    if name.startswith("_") or name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from cascade import interface

    return getattr(interface, name)
