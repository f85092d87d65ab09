"""Equality with the gold choice except for outer white space: what a reader takes "accuracy" to mean.

No official script does this. It differs from `mmar`:

1. Word order and every character count; outer white space does not. Of 1000 published answers that `mmar` calls right
   769 times, three are other choices than the gold one.
2. An empty prediction is no answer and is wrong, even where a benchmark has an empty choice (4 items of MMAR).
3. Where a gold text is listed twice (16 items of MMAU test-mini), either of the two is right.
"""

from __future__ import annotations

from cascade.types import Item


def correct(item: Item, prediction: str) -> bool:
    """Return whether the prediction is the item's answer."""
    predicted = prediction.strip()
    return bool(predicted) and predicted == item.answer.strip()
