"""Marked answers in a reply (boxes, tags, JSON fields, answer lines): what each marks, and which mark decides."""

from __future__ import annotations

import re
from itertools import islice
from operator import itemgetter

from cascade.scoring.extraction import pieces
from cascade.scoring.extraction.choices import Choices, any_of
from cascade.scoring.extraction.pieces import Reading

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
# The marks by strength; the strongest decide. Text marked with strength 3 or 0 must match a choice as a whole.
_FORMS = (
    (3, rf"\\(?:boxed|fbox)\s{{0,3}}\{{{_BRACED}"),
    (3, r"<(?:final_)?(?:answer|choice)>(?=((?:[^<]|<(?!/)){0,600}))"),
    # "<Conclusion>B</Conclusion>", and any other element in a line of its own that ends the reply
    (0, r"^\s{0,8}<\w{1,20}>(?=([^<]{1,600})</\w{1,20}>\s{0,20}\Z)"),
    (3, rf"[\"'](?:(?:final|best|correct|selected|chosen|predicted|my)_)?{_NOUN}[\"']\s{{0,3}}:{_VALUE}"),
    (3, rf"【答案】{_LINE}"),
    # "Answer: B", "Final answer (letter): B", "答案：A"
    (
        2,
        rf"(?:(?<![^\W_])(?<!a )(?<!this )(?:{_KIND} )?{_NOUN}{_ECHO}{_GAP}(?:\([^()\n]{{0,60}}\)|is)?{_GAP}[:=]"
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
_SENTENCE = re.compile(r"[.!?\n。]")
_CLAUSE = re.compile(r"[.,;:!?\n。{]")


def read_marked(text: str, choices: Choices) -> Reading | None:
    """Read the strongest marks; if several disagree, use the last if it retracts those before it.

    A mark in a negation or a supposition does not count, nor does a guess in untagged thinking that continues.
    """
    matches = [(match.end(), strength, match) for strength, form in _COMPILED for match in form.finditer(text)]
    best, decided, begins = -1, Reading("", ""), len(text)
    for end, strength, match in islice(sorted(matches, key=itemgetter(0, 1), reverse=True), _MOST):
        marked = next(filter(None, match.groups()), "")
        before = text[max(0, match.start() - 120) : match.start()]
        sentence = _SENTENCE.split(before)[-1] + match[0] + _SENTENCE.split(marked)[0]
        tainted = _TAINT.search(_CLAUSE.split(before)[-1] + match[0]) or pieces.HYPOTHESIS.search(sentence)
        after = end + len(marked)
        guess = strength == 1 and pieces.THOUGHT.match(text) and "\n\n" in text[after:].strip()
        if strength < best or guess or not marked.strip(" *_`\n") or (tainted and strength in (1, 2)):
            continue
        reading = pieces.read_value(marked, choices, whole=strength in (0, 3))
        vague = reading.how in ("no choice named", "denied or weighed") and (strength < 2 or len(marked) > 100)
        if not reading.choice and (best >= 0 or vague):
            continue
        if best < 0 and pieces.TAKEN_BACK.search(text, match.start()):
            return Reading("", "taken back")
        if best >= 0 and decided.choice and reading.choice != decided.choice:
            if not pieces.TAKEN_BACK.search(text, after, begins):
                return Reading("", "several answers")
        elif strength > best:
            best, decided, begins = strength, reading, match.start()
    return decided if best >= 0 else None
