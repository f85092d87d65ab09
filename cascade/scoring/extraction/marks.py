"""Marked answers in a reply: boxes, tags, JSON fields, answer lines; what each marks, and which of them decides."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from operator import itemgetter
from typing import NamedTuple

from cascade.scoring.extraction.choices import any_of

_MOST = 60  # marks that are read, from the last
_NOUN = r"(?:answer|choice|option|response|selection|letter|conclusion|prediction)"
_KIND = (
    r"(?:best|correct|right|final|my|appropriate|accurate|suitable|fitting|plausible|closest|logical|reasonable"
    r"|likel(?:y|iest)|most [a-z]{3,15})"
)
_IS = r"(?:is|would be|should be|must be|will be|seems to be|appears to be)(?: most likely| likely| probably| that)?\b"
_GAP = r"[\s*_`\"“”')\]】>$]{0,8}"
_OF = r"(?: (?:to|for|of|from|among|that|which|provided|given|here|in)\b[^.\n]{0,200}?| [a-z]{2,12})?"
_ECHO = r"(?: text| copied word for word)?"  # the default prompt's own words, which small models repeat
# What a mark marks: the rest of the line or else the next line with a word, a tag's or braces' content, a JSON value.
_LINE = r"(?=(\W{0,600}[^\n]{0,600}))"
_BRACED = r"(?=((?:[^{}]|\{(?:[^{}]|\{[^{}]{0,99}\}){0,200}\}){0,600}))"
_VALUE = r"(?=\s{0,8}(?:\"((?:[^\"\\\n]|\\.){0,600})\"|'([^'\n]{0,600})'|(\w{1,40}))\s{0,8}(?:[,}\n]|\Z))"
# The marks by their strength; the strongest decide. What the strengths 3 and 0 mark counts only as a whole.
_FORMS = (
    (3, rf"\\(?:boxed|fbox)\s{{0,3}}\{{{_BRACED}"),
    (3, r"<(?:final_)?(?:answer|choice)>(?=((?:[^<]|<(?!/)){0,600}))"),
    (3, rf"[\"'](?:(?:final|best|correct|selected|chosen|predicted|my)_)?{_NOUN}[\"']\s{{0,3}}:{_VALUE}"),
    (3, rf"【答案】{_LINE}"),
    # "Answer: B", "Final answer (letter): B", "答案：A"
    (
        2,
        rf"(?:(?<![^\W_])(?<!a )(?:{_KIND} )?{_NOUN}{_ECHO}{_GAP}(?:\([^()\n]{{0,60}}\)|is)?{_GAP}[:=]"
        rf"|答案\s?:){_LINE}",
    ),
    # "The answer is B", "the best match for the description would be B", "I would choose B"
    (1, rf"\b(?:{_KIND} (?:{_NOUN}|match|one)|answer)\b{_GAP}{_OF}{_GAP}\s{_IS}:?{_LINE}"),
    (1, rf"\bI(?:'d| would| will|'ll)? (?:choose|pick|select|say|go with|answer with)\b{_LINE}"),
    # {"instrument": "Cello"}
    (0, rf"^\s{{0,20}}\{{?\s{{0,20}}[\"'][^\"'\n]{{1,60}}[\"']\s{{0,3}}:{_VALUE}"),
)
_COMPILED = [(strength, re.compile(form, re.IGNORECASE | re.MULTILINE)) for strength, form in _FORMS]
# In the clause before a mark, or in it, these words say that the marked text is not the answer, or may not be.
_TAINT = any_of(
    r"not \w+n't no never if whether unless suppose wrong incorrect other another each every everyone some why first"
    r" second initial previous perhaps maybe might either least unlikely tempting common cannot nobody doubt rule_out"
)
HYPOTHESIS = re.compile(r"(?i)\b(?:if|unless)\b.*\bwould\b|\bwould\b.*\b(?:if|unless)\b")
_SENTENCE = re.compile(r"[.!?\n。]")
_CLAUSE = re.compile(r"[.,;:!?\n。{]")


class Mark(NamedTuple):
    """A marked text, the strength of its mark (0 to 3), and the span of both."""

    text: str
    strength: int
    start: int
    end: int


def marks(reply: str) -> Iterator[Mark]:
    """Yield the marks of a reply from the last to the first, without those in a clause that denies or supposes."""
    matches = [(match.end(), strength, match) for strength, form in _COMPILED for match in form.finditer(reply)]
    for end, strength, match in islice(sorted(matches, key=itemgetter(0, 1), reverse=True), _MOST):
        text = next(filter(None, match.groups()), "")
        before = reply[max(0, match.start() - 120) : match.start()]
        sentence = _SENTENCE.split(before)[-1] + match[0] + _SENTENCE.split(text)[0]
        tainted = _TAINT.search(_CLAUSE.split(before)[-1] + match[0]) or HYPOTHESIS.search(sentence)
        if text.strip(" *_`\n") and not (tainted and strength in (1, 2)):
            yield Mark(text, strength, match.start(), end + len(text))
