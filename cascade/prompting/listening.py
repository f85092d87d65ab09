"""The question as a listener is shown it, and the removal of answers from the text that the listener writes.

A listener is asked for observations. If it states an answer nevertheless, the answering model would read another
model's answer instead of evidence.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from cascade.io.digests import digest


def canonical_question(question: str, choices: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """Return the question and the choices as a listener is shown them, independent of the order in an item or a sample.

    White space is joined, Unicode is composed (NFC), blank and repeated choices are left out, the others sorted.
    """
    texts = [" ".join(unicodedata.normalize("NFC", text).split()) for text in (question, *choices)]
    return texts[0], tuple(sorted({text for text in texts[1:] if text}))


def question_digest(question: str, choices: Sequence[str]) -> str:
    """Return the digest of the canonical question and choices, which stands in the key of a caption made with them."""
    text, order = canonical_question(question, choices)
    return digest({"question": text, "choices": list(order)})


# A sentence that matches states an answer if it also names exactly one choice, or a letter.
_STATES = re.compile(r"(?i)\b(?:answers?|choices?|options?|choose|pick|select)\b|答案|选项|选择")
_LABEL = re.compile(r"(?:\b(?i:answer|choice|option)\b(?: is)?|答案|选项)[\s:：】为是*_(\[]{0,8}([A-J])(?![^\W_])")
_CONCLUDES = re.compile(
    r"(?i)\b(?:therefore|thus|hence|so|correct|best|most (?:likely|plausibl[ey]|consistent|closely)|aligns?"
    r"|match(?:es)?|support(?:s|ed)?|favou?rs?|conclusion|evidence|explanation|interpretation)\b|因此|所以"
)
_SENTENCE = re.compile(r"(?<=[.!?])(?<!\b[A-J]\.)\s+|(?<=[。！？])|\n")
_WRAPPING = " \t*_`\"'“”()[]<>.,#-:【】"
_LETTER = re.compile(r"[A-J](?:\Z|[).:,]\W{0,4})")


def without_answer(text: str, choices: Sequence[str]) -> tuple[str, str]:
    """Return a listener's text without the sentences that state an answer, and these sentences.

    Such a sentence names exactly one of the choices, or a letter, and speaks of an answer, a choice or an option or, at
    the end, concludes; the sentence before it is then the end. A first or last line that consists of a choice or a
    letter is removed too. A sentence that only describes a sound is kept, even if it names a choice.
    """
    names = sorted((choice.casefold() for choice in choices), key=len, reverse=True)
    pieces = _pieces(text, names)
    places = [place for place, piece in enumerate(pieces) if piece.strip(_WRAPPING + "\n")]
    stated = {place for place in places if _STATES.search(pieces[place]) and _names_one(pieces[place], names)}
    if places and pieces[places[0]].endswith("\n") and _is_answer(pieces[places[0]], names):
        stated.add(places[0])
    for place in reversed(places):
        if place not in stated and not _is_answer(pieces[place], names, concludes=place > 0):
            break
        stated.add(place)
    kept = "".join(piece for place, piece in enumerate(pieces) if place not in stated)
    return kept.strip(), " ".join(pieces[place].strip() for place in sorted(stated))


def _pieces(text: str, names: Sequence[str]) -> list[str]:
    """Return the sentences and lines of a text, each with the white space after it; a choice is never split."""
    inside: set[int] = set()
    for name in names:
        for match in re.finditer(re.escape(name), text, re.IGNORECASE):
            inside.update(range(match.start() + 1, match.end()))
    ends = [match.end() for match in _SENTENCE.finditer(text) if match.end() not in inside]
    return [text[start:end] for start, end in zip([0, *ends], [*ends, len(text)], strict=True)]


def _is_answer(piece: str, names: Sequence[str], *, concludes: bool = False) -> bool:
    """Return whether a piece is a choice or a letter, or begins with a letter or `concludes`, and names one choice."""
    line = piece.strip().strip(_WRAPPING)
    bare = _LETTER.sub("", line, count=1) if _LETTER.match(line) else line
    if bare.strip(_WRAPPING).casefold() in ("", *names):
        return True
    is_marked = bare != line or (concludes and _CONCLUDES.search(line))
    return bool(is_marked) and _names_one(bare, names)


def _names_one(sentence: str, names: Sequence[str]) -> bool:
    """Return whether a sentence names one of the choices and no other, or a letter; `names` has longer ones first."""
    rest, count = sentence.casefold(), 0
    for name in names:
        whole = re.compile(rf"(?<![^\W_]){re.escape(name)}(?![^\W_])")
        if whole.search(rest):
            count += 1
            rest = whole.sub(" ", rest)
    return count == 1 or (not count and _LABEL.search(sentence) is not None)
