"""Letters and numbers that stand for choices: A, B, … or 1, 2, …, in the order in which the choices were shown."""

from __future__ import annotations

import re
from collections.abc import Sequence

from cascade.scoring.extraction.words import CJK, core, is_number, tokens

_COPULA = r"(?:です|だ|입니다|이다|[。！])"
_LABEL = (
    rf"(?:\(([A-Za-z]|\d{{1,2}})\)|([A-Za-z]|\d{{1,2}})"
    rf"(?=[).:,，](?:\s|$)|[、．：，]|\s*{_COPULA}|\s*$|\s+[-–—=→]+>?\s|\s+(?:because|since)\b))"
)
_LEADING = re.compile(
    rf"^(?:(?i:option|choice|answer|letter|opción|选项)\s*:?\s+|选项|#|(?i:la|le|die)\s+(?=[A-Z]\W*$))?{_LABEL}[).:、,，．：]?\s*[-–—:=→]*>?\s*"
)
_SAID_OF = (
    r"(?:is|was|fits|seems|must be|would be)\s+(?:\w+ly\s+)?(?:the\s+)?(?:only\s+)?"
    r"(?:correct|right|best|answer|it\b|most)"
)
_INNER = re.compile(
    rf"\(([A-Za-z])\)|\b(?i:option|choice|letter|number)\s+\(?([A-Z]|\d{{1,2}})(?=\W*$|[\W_]{{0,3}}(?:[.,;:!?\n(]|\s[-–—])"
    rf"|\)?[*_]*\s+(?:because|since|as|for|{_SAID_OF}))|\b([A-Z])(?=\s+{_SAID_OF})"
    r"|(?:\b(?i:it['’]s|it\s+is|be|say|choose|pick|guess|maybe|probably|perhaps|hence|thus|therefore)\b,?\s+)"
    r"([A-Z])(?=[.!)]*\s*$)"
)
_WEIGHED = re.compile(
    r"\b(?i:option|choice)\s+\(?[A-Z]\)?[*_]*\s+(?:\w+ly\s+)?(?!sounds|seems|fits)\w+(?<!s)s\s(?<!\bis\s)"
)
_ORDINAL = re.compile(r"\b(first|second|third|fourth|fifth)\s+(?:option|choice|answer|one)\b", re.IGNORECASE)
_ORDER = {word: str(place) for place, word in enumerate(("first", "second", "third", "fourth", "fifth"), 1)}
# "A loud sound" and "I" are no labels.
_NO_WORD = rf"[^\W_{CJK}]"
_LONE = re.compile(rf"(?<!{_NO_WORD})(?<!['’])(?!I\b|A\s+[a-z])([A-Z])(?!{_NO_WORD}|['’]|[♯#♭])")
_DENIED = re.compile(r"\b(?:not|than|nor|unlike|instead of|rather than)\s+(?:option\s+)?\(?([A-Z])\)?(?![^\W_])")
_LETTER = re.compile(r"[a-z]")
_LIST_LINE = re.compile(r"^\W*(?:[A-Za-z]|\d{1,2})[).:、]\s", re.MULTILINE)


def leading(text: str) -> tuple[str, str]:
    """Return the label at the start of the text, or `""`, and the rest of the text."""
    match = _LEADING.match(text)
    if match is None:
        return "", text
    return match[1] or match[2], text[match.end() :]


def labelled(label: str, choices: Sequence[str]) -> int | None:
    """Return the index that a label stands for; None where there is no such choice, or choices hold such labels."""
    if label.isdigit() and any(is_number(word) for choice in choices for word in tokens(choice)):
        return None
    if label.isalpha() and any(_LETTER.fullmatch(core(choice)) for choice in choices):
        return None
    if not label:
        return None
    index = int(label) - 1 if label.isdigit() else ord(label.upper()) - ord("A")
    return index if 0 <= index < len(choices) else None


def stands_for_other(label: str, index: int, choices: Sequence[str]) -> bool:
    """Return whether the label may abbreviate another choice, which begins with it or holds it as a word."""
    word = re.compile(rf"(?<![^\W_]){label.upper()}(?![^\W\d_])")
    return any(
        other != index and (tokens(choice)[:1] == [label.lower()] or (label.isalpha() and word.search(choice)))
        for other, choice in enumerate(choices)
    )


def inner(segment: str, choices: Sequence[str], *, free: bool) -> frozenset[int]:
    """Return the choices whose labels are used as labels inside the text: `(B)`, `option 2`, "B is correct"."""
    labels = [next(filter(None, match.groups())) for match in _INNER.finditer(segment)]
    labels += [] if free else [_ORDER[match[1].lower()] for match in _ORDINAL.finditer(segment)]
    pairs = ((label, labelled(label, choices)) for label in labels)
    return frozenset(i for label, i in pairs if i is not None and not stands_for_other(label, i, choices))


def weighed(text: str) -> bool:
    """Return whether the text weighs an option: "option A suggests a bathroom"."""
    return bool(_WEIGHED.search(text))


def lone(text: str, choices: Sequence[str]) -> frozenset[int | None]:
    """Return the indexes that lone capitals in the text stand for, with None for a capital that is no label."""
    return frozenset(labelled(letter, choices) for letter in _LONE.findall(text))


def without_denied(text: str, label: str) -> str:
    """Return the text without the letters that it contrasts with `label`: "not A", "lower than A"."""
    return _DENIED.sub(lambda other: other[0] if other[1] == label.upper() else "", text)


def lists(text: str) -> bool:
    """Return whether a line of the text begins like an entry of a list."""
    return bool(_LIST_LINE.search(text))
