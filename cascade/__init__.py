"""Audio question answering without an audio model: caption, ask, score.

The verbs of the commands are functions here (`cascade.api`), loaded when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cascade.version import __version__

if TYPE_CHECKING:
    from cascade.api import ablate, ask, caption, compare, judge, load, read, report, run, score, verify

__all__ = ["__version__", "ablate", "ask", "caption", "compare", "judge", "load"]
__all__ += ["read", "report", "run", "score", "verify"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from cascade import api

    return getattr(api, name)
