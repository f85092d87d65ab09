"""The choices of a question, compared with pieces of a reply by text, by label and by mention.

Texts are compared as tokens: words, numbers and the signs of formulas, without case, width, emphasis, LaTeX markup and
punctuation. In their loose form number words are digits, contractions are written out, plurals and articles are cut.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import cache
from string import ascii_uppercase

_SIGNS = str.maketrans({"−": "-", "’": "'", "‘": "'", "♯": "#"})
_SPAN = 1000  # characters that are normalized together: the time grows with the square of a run of combining marks
_FRACTION = re.compile(r"\\[dt]?frac ?\{([^{}]{1,60})\} ?\{([^{}]{1,60})\}")
_LATEX = re.compile(r"\\(?:(?:text|math|mbox|bold|left|right|times|cdot)[a-z]{0,6}|[()\[\],;:! ])|[~{}$^\\]")
_EMPHASIS = re.compile(r"[*`$\u200b\"“”]|(?<![^\W_])_|_(?![^\W_])")
_CJK = "\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
_WORD = rf"(?:(?![{_CJK}])[^\W\d_])+"
_TOKEN = re.compile(
    rf"[{_CJK}]|\d+(?:,\d{{3}}(?!\d))*(?:\.\d+)?|{_WORD}(?:'{_WORD})?#?|[+/=<>≤≥≠±÷%°♭~]|-(?=\s?(?:\d|[a-zA-Z]\b|\())"
)
_NUMBERS = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"
_LOOSE = {word: str(number) for number, word in enumerate(_NUMBERS.split())}
_LOOSE |= {"hundred": "100", "thousand": "1000", "percent": "%", "twice": "2 time"}
_LOOSE |= {"cannot": "can not", "can't": "can not"}
_CONTRACTED = {"s": "is", "re": "are", "m": "am", "ll": "will", "ve": "have", "d": "would"}
_COMMON = {"yes", "no", "true", "false", "none", "both", "all", "it", "he", "she", "they", "we", "you", "not"}
_UNIT = re.compile(r"[%°] ?[a-z]?|(?!(?:to|or|and)\b)[a-z]+(?: [a-z]+)?(?: [23])?")
_CLAUSE_END = re.compile(r"[.;!?。)](?!\d)|,\s|\n|\b(?:because|since|as)\b")

Span = tuple[str, int, int]  # a word, or a choice that is mentioned, with its start and its end in a text


def normalize(text: str) -> str:
    """Return the text in one form of width and composition, with the apostrophes and signs of ASCII."""
    spans = (text[start : start + _SPAN] for start in range(0, len(text), _SPAN))
    return "".join(unicodedata.normalize("NFKC", span) for span in spans).translate(_SIGNS)


def unwrap(text: str) -> str:
    """Return a normalized text without LaTeX wrappers and emphasis."""
    if "\\" in text or "$" in text:
        text = _LATEX.sub("", _FRACTION.sub(r"\1/\2", text).replace("\\circ", "°"))
    return _EMPHASIS.sub("", text).strip()


def any_of(words: str) -> re.Pattern[str]:
    """Return a pattern of these words, divided by blanks, in any case; `_` is a blank inside one."""
    return re.compile(rf"\b(?:{'|'.join(words.split()).replace('_', ' ')})\b", re.IGNORECASE)


@cache
def _loosen(token: str) -> list[str]:
    """Return the loose form of a token; a contraction has two words."""
    if token in _LOOSE:
        return _LOOSE[token].split()
    word, _, rest = token.partition("'")
    if rest == "t" and word.endswith("n"):
        return [word[:-1], "not"]
    if rest:
        return [word, _CONTRACTED.get(rest, rest)]
    plural = len(token) > 3 and token.endswith("s") and not token.endswith("ss")
    return [token[:-1]] if plural else [token.replace(",", "")]


def _numbers(words: Sequence[str]) -> set[str]:
    return {word for word in words if word[:1].isdigit()}


class Choices:
    """The choices of a question, `labels` in the order shown, and what a piece of unwrapped text says of them.

    A choice is represented by its verbatim text, and no choice by `""`.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        self.labels = dict(zip(ascii_uppercase, texts, strict=False))
        self.plain = {text: unwrap(normalize(text)) for text in texts}
        # Beside "B is darker" or "C major", the A of "A is darker" or "A minor" is a letter and no article.
        words = [word for text in self.plain.values() for word in _TOKEN.findall(text.casefold())]
        letters = any(len(word) == 1 and "b" <= word <= "h" for word in words)
        self._articles = () if letters else ("a", "an", "the")
        self._loose = {choice: self._loosened(text) for choice, text in self.plain.items()}

    def equal(self, text: str) -> str:
        """Return the choice that equals the text exactly or else in its loose form, or `""` for none or several."""
        words = self._loosened(text)
        exact = [choice for choice, plain in self.plain.items() if plain == text]
        loose = [choice for choice, own in self._loose.items() if words and own == words]
        # "35" is the only choice of this number with no more than a unit after it: "35 cm²", but not "35-50".
        started = [choice for choice, own in self._loose.items() if len(words) == 1 and own[:1] == words]
        number = [choice for choice in started if _UNIT.fullmatch(" ".join(self._loose[choice][1:]))]
        matches = exact or loose or (number if _numbers(words) else [])
        return matches[0] if len(matches) == 1 else ""

    def abbreviates(self, letter: str, own: str) -> bool:
        """Return whether the letter may stand for another choice than its `own`: itself, a key, a list of letters."""
        short = re.compile(rf"{letter.lower()}(?: [a-z])*(?: (?:major|minor|sharp|flat))?")
        named = [choice for choice, words in self._loose.items() if short.fullmatch(" ".join(words))]
        return bool(named) and own not in named

    def is_other_value(self, choice: str, text: str) -> bool:
        """Return whether the text after a label is a value that is not its choice and does not begin it: "(D) 9"."""
        words, own = self._loosened(text), self._loose[choice]
        if not words or (" ".join(own).startswith(" ".join(words)) and len(words[-1]) > 1):
            return False
        clause = self._loosened(_CLAUSE_END.split(text, maxsplit=1)[0])
        other_number = len(clause) < 6 and not _numbers(clause) <= set(own)
        return other_number or (len(words) < 3 and 2 * len(set(words) & set(own)) <= len(words))

    def has_other_number(self, choice: str, text: str) -> bool:
        """Return whether the choice has a number, and the text another one; "one" may be a word like "a"."""
        own = _numbers(self._loose[choice])
        return bool(own) and not _numbers(self._loosened(text)) - {"1"} <= own

    def leading(self, text: str) -> tuple[str, int]:
        """Return the longest choice that begins the text, and where it ends; `("", 0)` for none, or several alike."""
        words = self._words(text)
        ends = {choice: end for choice, start, end in self._scan(words) if start == words[0][1]}
        longest = [choice for choice, end in ends.items() if end == max(ends.values())]
        return (longest[0], ends[longest[0]]) if len(longest) == 1 else ("", 0)

    def mentions(self, text: str) -> list[Span]:
        """Return the mentions in the text, longest first, without common words and those inside a longer one."""
        kept: list[Span] = []
        for choice, start, end in sorted(self._scan(self._words(text)), key=lambda span: span[1] - span[2]):
            is_common = " ".join(self._loose[choice]) in _COMMON
            if not is_common and not any(other[1] < end and start < other[2] for other in kept):
                kept.append((choice, start, end))
        return kept

    def _scan(self, words: list[Span]) -> Iterator[Span]:
        """Yield each place where the loose tokens of a choice stand; a single letter may be a label or a word."""
        texts = tuple(word for word, _, _ in words)
        for choice, loose in self._loose.items():
            if re.fullmatch("[a-z]?", "".join(loose)):
                continue
            for start in range(len(texts)):
                if texts[start : start + len(loose)] == loose:
                    yield choice, words[start][1], words[start + len(loose) - 1][2]

    def _words(self, text: str) -> list[Span]:
        """Return the loose tokens of a text with the spans of their words. The last word is never an article."""
        matches = list(_TOKEN.finditer(text))
        kept = [match for match in matches[:-1] if match[0].casefold() not in self._articles] + matches[-1:]
        return [(word, *match.span()) for match in kept for word in _loosen(match[0].casefold())]

    def _loosened(self, text: str) -> tuple[str, ...]:
        return tuple(word for word, _, _ in self._words(text))
