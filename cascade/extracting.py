"""Reading a reply: raw text → one of the choices verbatim, or none, and by which rule. Never a guess.

The order of the rules:

1. Thoughts (`<think>…</think>`, also an unfinished one) are set aside.
2. The last marker wins: an answer line (`Answer: …`, "the answer is …", in several languages), `<answer>…</answer>`,
   `\\boxed{…}`, a JSON field. What follows it on its line is read; if that is empty, the next line.
3. Without a marker the whole reply is read.

What is read names a choice by its text, by its label (A, B, … or 1, 2, …, in the order shown), or by both. It is no
answer if it names two different choices, if a label and a text disagree, if the choice is negated or refused, or if a
label could also be the beginning of another choice. Precision comes before recall: an unread reply is counted, an
invented answer is a lie.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from cascade.markers import stretches, without_thoughts
from cascade.types import Choice

# Chinese, Japanese and Korean are written without spaces: there each character is a token.
_CJK = "\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
_TOKEN = re.compile(rf"[{_CJK}]|(?:(?<![^\W_])[-−])?\d+(?:[.,:]\d+)*(?![^\W_])|(?:(?![{_CJK}])[^\W_])+[#♯♭]*")
_CLAUSE_END = re.compile(r"[.,;:!?\n。，；：！？]|\bbut\b", re.IGNORECASE)
_NEGATION = re.compile(
    r"\b(?:no|not|non|never|neither|nor|none|nobody|cannot|hardly|lacks?|without|except|exclud(?:e|ed|ing)|unlike|unlikely"
    r"|incorrect|wrong|false|eliminate[sd]?|rather than|instead of|other than|anything but|out of the question"
    r"|rul(?:e|ed|es|ing) out)\b|n['’]t\b|不是|并非|没有",
    re.IGNORECASE,
)
_DENIED_AFTER = re.compile(
    r"""^[^.!?\n]{0,80}\?|^["'”’*_`)\s]*(?:(?:is|was|are|were|seems|can be|could be|would be)\s+)?(?:\w+ly\s+)?"""
    r"(?:(?:not|wrong|incorrect|false|unlikely)\b|ruled out|out of the question|excluded|eliminated|(?:is|does)n['’]t"
    r"|can(?:no|['’])t)",
    re.IGNORECASE,
)
_REFUSAL = re.compile(
    r"\b(?:can(?:not|['’]t| not)|could(?:n['’]t| not)|unable|impossible|insufficient|not (?:enough|sure|possible|clear)"
    r"|unclear|undetermined|indeterminate|don['’]t know|do not know|not (?:given|provided|stated|specified)"
    r"|need more|none of|neither|no (?:idea|answer))\b|无法|不确定|不知道",
    re.IGNORECASE,
)
# An explanation may deny what it likes.
_EXPLANATION = re.compile(r"[,;:.(–—-]?\s*\b(?:because|since|due to|given that|as (?:there|it|the))\b", re.IGNORECASE)

_LABEL = r"(?:\(([A-Za-z]|\d{1,2})\)|([A-Za-z]|\d{1,2})(?=[).:、,，](?:\s|$)|\s*$|\s+[-–—]\s))"
_LEADING_LABEL = re.compile(rf"^(?:(?i:option|choice|answer)\s+)?{_LABEL}[).:、,，]?\s*[-–—:]?\s*")
_INNER_LABEL = re.compile(r"\(([A-Za-z])\)|\b(?i:option|choice|letter)\s+\(?([A-Z]|\d{1,2})\b(?!['’])")
# "A loud sound" and "I" are no labels.
_LONE_LETTER = re.compile(r"(?<![^\W_])(?<!['’])(?!I\b|A\s+[a-z])([A-Z])(?![^\W_]|['’]|[♯#♭])")
_LIST_LINE = re.compile(r"^\W*(?:[A-Za-z]|\d{1,2})[).:、]\s", re.MULTILINE)

# Words that stand in any sentence: they name a choice only as a clause of their own ("No, he does not.").
_COMMON = frozenset(
    {"yes", "no", "true", "false", "none", "unknown", "one", "two", "both", "all", "not", "and", "or"}
    | {"a", "an", "the", "i", "he", "she", "it", "they", "we", "you"}
)
_NUMBERS = frozenset(
    {"zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"}
    | {"once", "twice", "thrice", "first", "second", "third", "fourth", "fifth", "dozen", "hundred", "thousand"}
)
_LATEX_TEXT = re.compile(r"\\(?:text|textbf|mathrm|mathbf|boxed)\s*\{([^{}]*)\}")
_EMPHASIS = re.compile(r"[*_`~\"“”\[\]$]+")
_OUTER = " \t\r\n\"'“”‘’«»「」*_`~.。,，;；:：!！()[]{}<>【】$"


@dataclass(frozen=True, slots=True)
class _Reading:
    """What a stretch of text names: indexes of choices, and why that is no answer where it is none."""

    named: frozenset[int] = frozenset()
    how: str = ""
    refused: str = ""


def extract(reply: str, choices: Sequence[str]) -> Choice:
    """The choice that a reply settles on, verbatim; `text == ""` where it settles on none.

    `choices` stand in the order in which the model saw them, as letters and numbers refer to that order. `how` is the
    rule that found the choice (`"answer line: text"`, `"whole: label"`, …) or the reason why there is none.
    """
    said = without_thoughts(reply).strip()
    if not said:
        return Choice(text="", how="empty")
    if (same := _same(said, choices)) is not None:
        return _choice(_Reading(named=same, how="text"), "whole", choices)
    for stretch in stretches(said):
        reading = _Reading(refused="negated") if stretch.tainted else _read(stretch.text, choices, free=False)
        if stretch.decisive or reading.named or reading.refused:
            return _choice(reading, stretch.where, choices)
    return _choice(_read(said, choices, free=True), "whole", choices)


def _choice(reading: _Reading, where: str, choices: Sequence[str]) -> Choice:
    texts = {choices[index] for index in reading.named}
    if reading.refused or len(texts) != 1:
        reason = reading.refused or ("several choices" if texts else "no choice named")
        return Choice(text="", how=f"{where}: {reason}")
    return Choice(text=texts.pop(), how=f"{where}: {reading.how}")


def _read(segment: str, choices: Sequence[str], *, free: bool) -> _Reading:
    """What the segment names. `free` is a whole reply without a marker, in which common words name nothing."""
    segment = _LATEX_TEXT.sub(r"\1", segment).strip()
    if (same := _same(segment, choices)) is not None:
        return _Reading(named=same, how="text")
    bare = _EMPHASIS.sub("", segment).strip()
    label = _LEADING_LABEL.match(bare)
    if label and (index := _labelled(label[1] or label[2], choices)) is not None:
        return _with_label(index, bare[label.end() :], label[1] or label[2], choices, free=free)
    return _mentioned(segment, choices, free=free)


# By text alone


def _same(segment: str, choices: Sequence[str]) -> frozenset[int] | None:
    """The choices that the segment is, by the strictest comparison that any of them meets."""
    for form in (str, str.strip, _fold):
        said = form(segment)
        if said and (found := frozenset(i for i, choice in enumerate(choices) if form(choice) == said)):
            return found
    said = _core(segment)
    found = frozenset(i for i, choice in enumerate(choices) if said and _core(choice) == said)
    # Without its punctuation it may be any of the choices that differ in nothing else.
    alike = {i for i, choice in enumerate(choices) if found and _tokens(choice) == _tokens(said) != []}
    return found | alike or None


def _fold(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _core(text: str) -> str:
    return _fold(text).strip(_OUTER)


def _tokens(text: str) -> list[str]:
    return [_fold(word) for word in _TOKEN.findall(text)]


def _led(segment: str, choices: Sequence[str]) -> frozenset[int]:
    """The choice that the segment begins with as a clause of its own: "No, he does not."."""
    first = _core(_CLAUSE_END.split(segment[:500], maxsplit=1)[0])
    return frozenset(index for index, choice in enumerate(choices) if first and _core(choice) == first)


# By label


def _labelled(label: str, choices: Sequence[str]) -> int | None:
    """The index that a letter or number stands for; None where there is no such choice, or choices hold numbers."""
    if label.isdigit() and any(_is_number(word) for choice in choices for word in _tokens(choice)):
        return None
    index = int(label) - 1 if label.isdigit() else ord(label.upper()) - ord("A")
    return index if 0 <= index < len(choices) else None


def _is_number(word: str) -> bool:
    return word[:1].isdigit() or word in _NUMBERS


def _with_label(index: int, rest: str, label: str, choices: Sequence[str], *, free: bool) -> _Reading:
    """A label and what follows it: the same choice in words, another one, more labels, or an explanation."""
    text = _same(rest, choices) or (_led(rest, choices) | _mentioned(rest, choices, free=True).named)
    if text:
        agrees = {choices[i] for i in text} == {choices[index]}
        doubt = "" if _same(rest, choices) else _doubt(rest, choices, index)
        return _Reading(named=text, how="label and text", refused=doubt if agrees else "label against text")
    if free and "\n" in rest.strip() and not rest.startswith("\n"):
        return _Reading(refused="no choice named")  # The first line of a list or a story.
    if doubt := _doubt(rest, choices, index):
        return _Reading(refused=doubt)
    if any(other != index and _tokens(choice)[:1] == [label.lower()] for other, choice in enumerate(choices)):
        return _Reading(refused="label or text")
    return _Reading(named=frozenset({index}), how="label")


def _doubt(rest: str, choices: Sequence[str], index: int) -> str:
    """Why what follows a label takes it back, or `""`."""
    if set(_LONE_LETTER.findall(rest)) - {chr(ord("A") + index)} or _LIST_LINE.search(rest):
        return "several choices"
    if _REFUSAL.search(rest):
        return "refused"
    spans = [span for span in _spans(rest, choices) if span[0] == index]
    head = _EXPLANATION.split(_without(rest, spans), maxsplit=1)[0]
    return "negated" if _NEGATION.search(head) and not _led(rest, choices) else ""


# By mention


def _mentioned(segment: str, choices: Sequence[str], *, free: bool) -> _Reading:
    """The choices whose words stand in the segment in their order, and the labels in it (`(B)`, `option 2`).

    A word that could stand in any sentence names no choice, but it speaks against another one.
    """
    everything = _spans(segment, choices)
    spans = [span for span in everything if _telling(_tokens(choices[span[0]]), free=free)]
    inner = [match[1] or match[2] for match in _INNER_LABEL.finditer(segment)]
    labels = frozenset(index for label in inner if (index := _labelled(label, choices)) is not None)
    led = _led(segment, choices)
    texts = frozenset(index for index, _, _ in spans) | led
    if not texts | labels:
        return _Reading(refused="refused" if _REFUSAL.search(segment) else "")
    if len({choices[index] for index in {index for index, _, _ in everything} | texts | labels}) > 1:
        clash = len(texts) == 1 and len(labels) == 1
        return _Reading(named=texts | labels, refused="label against text" if clash else "several choices")
    if doubt := "" if led and not spans else _denial(segment, spans, free=free and not labels):
        return _Reading(refused=doubt)
    return _Reading(named=texts | labels, how="mention" if texts else "label")


def _denial(segment: str, spans: Sequence[tuple[int, int, int]], *, free: bool) -> str:
    """Whether the segment refuses to answer or denies what it mentions; in an answer line any no is one."""
    left = _without(segment, spans)
    if _REFUSAL.search(left):
        return "refused"
    said_no = _NEGATION.search(left)
    if said_no and not (free or _explained(left)):
        return "negated"
    return "negated" if (said_no or "?" in left) and _negated(segment, spans) else ""


def _spans(segment: str, choices: Sequence[str]) -> list[tuple[int, int, int]]:
    """(choice, start, end) of each mention; words inside a longer choice's mention do not name a shorter choice."""
    words = [(match.start(), match.end()) for match in _TOKEN.finditer(segment)]
    said = [_fold(segment[start:end]) for start, end in words]
    found: list[tuple[int, int, int]] = []
    taken: dict[int, int] = {}
    for index, tokens in sorted(enumerate(map(_tokens, choices)), key=lambda pair: -len(pair[1])):
        size = len(tokens)
        for at in range(len(said) - size + 1) if size else ():
            if said[at] == tokens[0] and said[at : at + size] == tokens and _untaken(taken, at, size):
                found.append((index, words[at][0], words[at + size - 1][1]))
                taken.update(dict.fromkeys(range(at, at + size), size))
    return found


def _untaken(taken: dict[int, int], at: int, size: int) -> bool:
    return all(taken.get(place, size) == size for place in range(at, at + size))


def _telling(tokens: Sequence[str], *, free: bool) -> bool:
    """Whether these words can name a choice inside a sentence: not a lone common word, in a whole reply no number."""
    word = tokens[0]
    if len(tokens) > 1:
        return True
    return word not in _COMMON and not (free and (word.isdigit() or (len(word) == 1 and word.isascii())))


def _negated(segment: str, spans: Sequence[tuple[int, int, int]]) -> bool:
    """Whether any mention is denied in its own clause, before or after it."""
    return any(
        _NEGATION.search(_CLAUSE_END.split(segment[max(0, start - 200) : start])[-1])
        or _DENIED_AFTER.match(segment[end : end + 100])
        for _, start, end in spans
    )


def _explained(left: str) -> bool:
    """Whether an answer line, without the choice that it names, says no only where it explains itself."""
    return not _NEGATION.search(_EXPLANATION.split(left, maxsplit=1)[0])


def _without(segment: str, spans: Sequence[tuple[int, int, int]]) -> str:
    """The segment with each mention cut out."""
    cuts = sorted((start, end) for _, start, end in spans)
    starts, ends = [0, *(end for _, end in cuts)], [*(start for start, _ in cuts), len(segment)]
    return " ".join(segment[start:end] for start, end in zip(starts, ends, strict=True))
