"""The official matcher, which MMAR and MMAU share: token sets, without order.

Source: the evaluation scripts that MMAR (arXiv 2505.13032) and MMAU (arXiv 2410.19168) publish. The rule is implemented
exactly, for any text and any number of choices; a gold answer that is none of its choices (5 items of MMAR's older
file) is matched unchanged. Differences from the scripts, all outside the rule itself:

1. A row without a prediction key is wrong here; there it leaves the denominator, so that k of n rows missing raise the
   printed accuracy by n / (n - k). For files, that figure stands beside ours as `official_denominator`.
2. A prediction that is null or no text is wrong and counted as failed; there it ends the script, as a blank line, an
   unknown modality and a row of an id alone do.
3. Figures are unrounded; there they are rounded to two decimals of a per cent.

Known weaknesses of the rule, kept as they are: order is lost ("from near to far" equals "from far to near"), so 28
wrong choices in 20 of MMAR's 1000 items count as right; a letter alone is wrong; a sentence that uses a word of another
choice is wrong. `strict` stands beside it for that reason: uniform guessing scores 30.03 % here and 29.33 % there.
"""

from __future__ import annotations

import re
from functools import lru_cache

from cascade.types import Item

_WORD = re.compile(r"\b\w+\b")


def correct(item: Item, prediction: str) -> bool:
    """Return whether the prediction has every token of the answer and no token that only other choices have.

    Choices with the answer's own token set do not count as other. A prediction without tokens is wrong.
    """
    predicted = _tokens(prediction)
    if not predicted:
        return False
    answer = _tokens(item.answer)
    return answer <= predicted and predicted.isdisjoint(_foreign(item.choices, answer))


@lru_cache(maxsize=8192)
def _tokens(text: str) -> frozenset[str]:
    return frozenset(_WORD.findall(text.lower()))


@lru_cache(maxsize=8192)
def _foreign(choices: tuple[str, ...], answer: frozenset[str]) -> frozenset[str]:
    """Return the tokens of all choices that the answer does not have."""
    return frozenset().union(*map(_tokens, choices)) - answer
