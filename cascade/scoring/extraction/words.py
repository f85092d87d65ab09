"""Words of replies and choices: how two texts are compared, and where one stands inside another."""

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
    """The text without differences of case, width, composition and white space."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def core(text: str) -> str:
    """The folded text without quotes, brackets, emphasis and full stops around it."""
    return fold(text).strip(_OUTER)


def tokens(text: str) -> list[str]:
    """Its folded words and numbers, in order."""
    return [fold(word) for word in _TOKEN.findall(text)]


def is_number(word: str) -> bool:
    """Whether a token is a number, in digits or spelled out."""
    return word[:1].isdigit() or word in _NUMBERS


def same(segment: str, choices: Sequence[str]) -> frozenset[int] | None:
    """The choices that the segment is, by the strictest comparison that any of them meets."""
    for form in (str, str.strip, fold):
        said = form(segment)
        if said and (found := frozenset(i for i, choice in enumerate(choices) if form(choice) == said)):
            return found
    said = core(segment)
    found = frozenset(i for i, choice in enumerate(choices) if said and core(choice) == said)
    if not found:  # Not the other way about: "3" may be the third of "Two", "Three", "Four".
        said = _NUMBER_WORD.sub(lambda word: _DIGITS[word[0]], said)
        found = frozenset(i for i, choice in enumerate(choices) if said and core(choice) == said)
    # Without its punctuation it may be any of the choices that differ in nothing else.
    alike = {i for i, choice in enumerate(choices) if found and tokens(choice) == tokens(said) != []}
    return found | alike or None


def nearly(segment: str, choices: Sequence[str]) -> frozenset[int] | None:
    """The one choice that the segment is but for articles and "in", "on", "at" before it."""
    said = _body(tokens(segment[:500]))
    inside = frozenset(i for i, choice in enumerate(choices) if said and _stands_in(said, tokens(choice)))
    return inside if len(inside) == 1 and all(_body(tokens(choices[i])) == said for i in inside) else None


def _body(words: list[str]) -> list[str]:
    first = next((place for place, word in enumerate(words) if word not in _LEADING), len(words))
    return words[first:]


def _stands_in(part: list[str], whole: list[str]) -> bool:
    return any(whole[at : at + len(part)] == part for at in range(len(whole) - len(part) + 1))


def spans(segment: str, choices: Sequence[str]) -> list[Span]:
    """Each mention of a choice; words inside a longer choice's mention do not name a shorter choice."""
    words = [(match.start(), match.end()) for match in _TOKEN.finditer(segment)]
    said = [fold(segment[start:end]) for start, end in words]
    found: list[Span] = []
    taken: dict[int, int] = {}
    for index, wanted in sorted(enumerate(map(tokens, choices)), key=lambda pair: -len(pair[1])):
        size = len(wanted)
        for at in range(len(said) - size + 1) if size else ():
            if said[at] == wanted[0] and said[at : at + size] == wanted and _untaken(taken, at, size):
                found.append((index, words[at][0], words[at + size - 1][1]))
                taken.update(dict.fromkeys(range(at, at + size), size))
    return found


def _untaken(taken: dict[int, int], at: int, size: int) -> bool:
    return all(taken.get(place, size) == size for place in range(at, at + size))


def without(segment: str, cuts: Sequence[tuple[int, int]], mark: str = " ") -> str:
    """The segment with `mark` in place of the given parts, which may overlap."""
    kept: list[str] = []
    at = 0
    for start, end in sorted(cuts):
        kept.append(segment[at : max(at, start)])
        at = max(at, end)
    return mark.join([*kept, segment[at:]])
