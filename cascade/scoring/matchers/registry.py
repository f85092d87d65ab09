"""The scorers by name: `(item, prediction) → bool`, one a file.

`mmar` is the official matcher of MMAR and MMAU, under that name for every dataset; `strict` is equality.
"""

from __future__ import annotations

from collections.abc import Mapping

from cascade.scoring.matchers import mmar, strict
from cascade.types import Scorer

SCORERS: Mapping[str, Scorer] = {"mmar": mmar.correct, "strict": strict.correct}
