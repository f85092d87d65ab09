"""A model's reply without its thoughts."""

from __future__ import annotations

import re

_TAG = r"(think|thinking|thought|reasoning|analysis|scratchpad|reflection)"
_THOUGHT = re.compile(
    rf"[<\[◁]{_TAG}[>\]▷].*?(?:[<\[◁]/\1[>\]▷]|\Z)"
    r"|<\|channel\|>analysis<\|message\|>.*?(?:<\|channel\|>final<\|message\|>|\Z)",
    re.DOTALL | re.IGNORECASE,
)
_THOUGHT_END = re.compile(rf"\A.*[<\[◁]/{_TAG}[>\]▷]", re.DOTALL | re.IGNORECASE)


def without_thoughts(reply: str) -> str:
    """Return the reply without `<think>` parts, unfinished ones too, and without what precedes a lone `</think>`."""
    return _THOUGHT_END.sub("", _THOUGHT.sub("", reply))
