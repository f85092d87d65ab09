"""Words of replies and choices: comparing two texts, and locating one inside another."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

# Chinese, Japanese and Korean are written without spaces: there each character is a token.
CJK = "\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
_TOKEN = re.compile(rf"[{CJK}]|(?:(?<![^\W_])[-−])?\d+(?:[.,:]\d+)*(?![^\W_])|(?:(?![{CJK}])[^\W_])+[#♯♭]*")
_OUTER = " \t\r\n\"'“”‘’«»「」*_`~.。,，;；:：!！()[]{}<>【】$"
_DIGITS = dict(
    zip(
        ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
        map(str, range(13)),
        strict=True,
    )
)
_NUMBER_WORD = re.compile(rf"\b(?:{'|'.join(_DIGITS)})\b")
_NUMBERS = frozenset(
    {*_DIGITS}
    | {"once", "twice", "thrice", "first", "second", "third", "fourth", "fifth", "dozen", "hundred", "thousand"}
)
# A model says "the kitchen" for "In a kitchen".
_LEADING = frozenset({"in", "on", "at", "a", "an", "the", "it", "is"})

Span = tuple[int, int, int]  # index of a choice, where its mention starts, where it ends


def fold(text: str) -> str:
    """Return the text without differences of case, width, composition and white space."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def core(text: str) -> str:
    """Return the folded text without quotes, brackets, emphasis and full stops around it."""
    return fold(text).strip(_OUTER)


def tokens(text: str) -> list[str]:
    """Return the folded words and numbers of the text, in order."""
    return [fold(word) for word in _TOKEN.findall(text)]


def is_number(word: str) -> bool:
    """Return whether a token is a number, in digits or in words."""
    return word[:1].isdigit() or word in _NUMBERS


def same(segment: str, choices: Sequence[str]) -> frozenset[int] | None:
    """Return the choices that equal the segment, by the strictest comparison that any of them meets."""
    for form in (str, str.strip, fold):
        text = form(segment)
        if text and (indexes := frozenset(i for i, choice in enumerate(choices) if form(choice) == text)):
            return indexes
    text = core(segment)
    indexes = frozenset(i for i, choice in enumerate(choices) if text and core(choice) == text)
    if not indexes:  # Digits are not turned into words: "3" may be the third of "Two", "Three", "Four".
        text = _NUMBER_WORD.sub(lambda word: _DIGITS[word[0]], text)
        indexes = frozenset(i for i, choice in enumerate(choices) if text and core(choice) == text)
    # Choices that differ only in punctuation cannot be told apart here.
    alike = {i for i, choice in enumerate(choices) if indexes and tokens(choice) == tokens(text) != []}
    return indexes | alike or None


def nearly(segment: str, choices: Sequence[str]) -> frozenset[int] | None:
    """Return the only choice that equals the segment without leading articles and "in", "on", "at"."""
    words = _body(tokens(segment[:500]))
    inside = frozenset(i for i, choice in enumerate(choices) if words and _stands_in(words, tokens(choice)))
    return inside if len(inside) == 1 and all(_body(tokens(choices[i])) == words for i in inside) else None


def _body(words: list[str]) -> list[str]:
    first = next((place for place, word in enumerate(words) if word not in _LEADING), len(words))
    return words[first:]


def _stands_in(part: list[str], whole: list[str]) -> bool:
    return any(whole[at : at + len(part)] == part for at in range(len(whole) - len(part) + 1))


def spans(segment: str, choices: Sequence[str]) -> list[Span]:
    """Return each mention of a choice; words inside a longer choice's mention do not name a shorter choice."""
    words = [(match.start(), match.end()) for match in _TOKEN.finditer(segment)]
    folded = [fold(segment[start:end]) for start, end in words]
    mentions: list[Span] = []
    taken: dict[int, int] = {}
    for index, wanted in sorted(enumerate(map(tokens, choices)), key=lambda pair: -len(pair[1])):
        size = len(wanted)
        for at in range(len(folded) - size + 1) if size else ():
            if folded[at] == wanted[0] and folded[at : at + size] == wanted and _untaken(taken, at, size):
                mentions.append((index, words[at][0], words[at + size - 1][1]))
                taken.update(dict.fromkeys(range(at, at + size), size))
    return mentions


def _untaken(taken: dict[int, int], at: int, size: int) -> bool:
    return all(taken.get(place, size) == size for place in range(at, at + size))


def without(segment: str, cuts: Sequence[tuple[int, int]], mark: str = " ") -> str:
    """Return the segment with `mark` in place of the given parts, which may overlap."""
    kept: list[str] = []
    at = 0
    for start, end in sorted(cuts):
        kept.append(segment[at : max(at, start)])
        at = max(at, end)
    return mark.join([*kept, segment[at:]])
