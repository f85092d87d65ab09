"""Equality with the gold choice, outer white space aside: what a reader takes "accuracy" to mean.

No official script does this; it differs from `mmar` in that word order and every character count. An empty prediction
is no answer and is wrong, even where a benchmark has an empty choice.
"""

from __future__ import annotations

from cascade.types import Item


def correct(item: Item, prediction: str) -> bool:
    """Whether the prediction is the item's answer."""
    said = prediction.strip()
    return bool(said) and said == item.answer.strip()
