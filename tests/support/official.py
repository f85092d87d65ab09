"""TODO"""

from __future__ import annotations

import re


def official(answer: str, prediction: str, choices: tuple[str, ...]) -> bool:
    """Right iff the answer's tokens are said, and no token of a choice with other tokens that the answer lacks."""
    answer_tokens, *others = ([*re.findall(r"\b\w+\b", text.lower())] for text in (answer, *choices))
    said = re.findall(r"\b\w+\b", prediction.lower())
    if len(said) == 0:
        return False
    for token in answer_tokens:
        if token not in said:
            return False
    for other in others:
        if set(other) == set(answer_tokens):
            continue
        for token in other:
            if token not in answer_tokens and token in said:
                return False
    return True
