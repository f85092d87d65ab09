"""The former name of `cascade.api`, which goes in the next version."""

import warnings

from cascade.api import ask, caption, compare, load, score

__all__ = ["ask", "caption", "compare", "load", "score"]

warnings.warn("cascade.interface is now cascade.api", DeprecationWarning, stacklevel=2)
