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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cascade.types import Choice

_THOUGHT = re.compile(r"<(think|thinking|thought|reasoning)>.*?(?:</\1>|\Z)", re.DOTALL | re.IGNORECASE)
_THOUGHT_END = re.compile(r"\A.*</(?:think|thinking|thought|reasoning)>", re.DOTALL | re.IGNORECASE)

_DECORATION = r"""[\s"'“”‘’«»「」*_`~)\]】]*"""
_NOUN = r"(?:answer|choice|option|respuesta|r[ée]ponse|antwort|risposta|resposta|ответ|答案|答え|回答|정답)"
# "Answer: x" states the answer whatever x is; "the answer is x" may be prose: it counts if x names a choice or refuses.
_STATED = re.compile(rf"(?<![^\W_]){_NOUN}(?:_[a-z]+)?{_DECORATION}(?:\([^()\n]*\){_DECORATION})?[:：=]", re.IGNORECASE)
_PROSE = re.compile(
    rf"\b{_NOUN}\b(?: (?:to|for|of) [^.:\n]{{1,80}}?)?{_DECORATION}\s(?:is|would be|should be|must be|has to be)\b"
    r"|(?:答案|正确答案)(?:是|为)"
    r"|\bI(?:['’]d| would|['’]ll| will)? (?:choose|pick|select|go with|went with|answer)\b",
    re.IGNORECASE,
)
_HEADING = re.compile(rf"^[#*_ ]*(?:the |my )?(?:final |correct |best )?{_NOUN}[*_ ]*$", re.IGNORECASE | re.MULTILINE)
_TAG = re.compile(r"<answer>", re.IGNORECASE)
_BOXED = re.compile(r"\\(?:boxed|fbox)\s*\{")
_LATEX_TEXT = re.compile(r"\\(?:text|textbf|mathrm|mathbf|boxed)\s*\{([^{}]*)\}")
_JSON_STRING = re.compile(r'\s*"((?:[^"\\\n]|\\.)*)"\s*[,}\]]')

# Chinese, Japanese and Korean are written without spaces: there each character is a token.
_CJK = "\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
_TOKEN = re.compile(rf"[{_CJK}]|(?:(?![{_CJK}])[^\W_])+[#♯♭]*")
_CLAUSE_END = re.compile(r"[.,;:!?\n。，；：！？]|\bbut\b", re.IGNORECASE)
_NEGATION = re.compile(
    r"\b(?:no|not|never|neither|nor|none|cannot|without|except|excluding|unlike|unlikely|incorrect|wrong|eliminate)\b"
    r"|n['’]t\b|\b(?:rather than|instead of|other than|anything but|rul(?:e|ed|es|ing) out)\b|不是|并非|没有",
    re.IGNORECASE,
)
_DENIED_AFTER = re.compile(
    r"""^["'”’*_`)\s]*(?:(?:is|was|are|were|seems|can be|could be|would be)\s+)?(?:\w+ly\s+)?"""
    r"(?:(?:not|wrong|incorrect|false|unlikely)\b|ruled out|excluded|eliminated|isn['’]t|doesn['’]t|can(?:no|['’])t)",
    re.IGNORECASE,
)
_REFUSAL = re.compile(
    r"\b(?:can(?:not|['’]t| not)|could(?:n['’]t| not)|unable|impossible|insufficient|not (?:enough|sure|possible|clear)"
    r"|unclear|undetermined|indeterminate|don['’]t know|do not know|not (?:given|provided|stated|specified)"
    r"|need more|none of|neither)\b|无法|不确定|不知道",
    re.IGNORECASE,
)
_LEADING_LABEL = re.compile(
    r"^(?:(?i:option|choice|answer)\s+)?"
    r"(?:\(([A-Za-z]|\d{1,2})\)|([A-Za-z]|\d{1,2})(?=[).:、,，]|\s*$|\s+[-–—]\s))[).:、,，]?\s*[-–—:]?\s*"
)
_INNER_LABEL = re.compile(r"\(([A-Za-z])\)|\b(?i:option|choice|letter)\s+\(?([A-Z]|\d{1,2})\b(?!['’])")
# A second label right after the first: "A, B", "(A) or (B)".
_NEXT_LABEL = re.compile(r"^(?:(?:or|and|&|/|,)\s*)*\(?([A-Z]|\d{1,2})\)?(?=$|[\s,./;)])(?!\s+[a-z])")
# Words that stand in any sentence: in running text they name no choice.
_COMMON = frozenset(
    {"yes", "no", "true", "false", "none", "unknown", "one", "two", "both", "all", "not", "and", "or"}
    | {"a", "an", "the", "i", "he", "she", "it", "they", "we", "you"}
)
_EMPHASIS = re.compile(r"[*_`~\"“”\[\]$]+")
_OUTER = " \t\r\n\"'“”‘’«»「」*_`~.。,，;；:：!！()[]{}<>【】$"


@dataclass(frozen=True, slots=True)
class _Reading:
    """What a stretch of text names: indexes of choices, and why that is no answer where it is none."""

    named: frozenset[int]
    how: str
    refused: str = ""


def extract(reply: str, choices: Sequence[str]) -> Choice:
    """The choice that a reply settles on, verbatim; `text == ""` where it settles on none.

    `choices` stand in the order in which the model saw them, as letters and numbers refer to that order. `how` is the
    rule that found the choice (`"answer line: text"`, `"whole: label"`, …) or the reason why there is none.
    """
    said = _without_thoughts(reply).strip()
    if not said:
        return Choice(text="", how="empty")
    for segment, where, decisive in _marked(said):
        reading = _read(segment, choices, free=False)
        if decisive or reading.named or reading.refused:
            return _choice(reading, where, choices)
    return _choice(_read(said, choices, free=True), "whole", choices)


def _without_thoughts(reply: str) -> str:
    return _THOUGHT_END.sub("", _THOUGHT.sub("", reply))


def _choice(reading: _Reading, where: str, choices: Sequence[str]) -> Choice:
    texts = {choices[index] for index in reading.named}
    if reading.refused or len(texts) != 1:
        reason = reading.refused or ("several choices" if texts else "no choice named")
        return Choice(text="", how=f"{where}: {reason}")
    return Choice(text=texts.pop(), how=f"{where}: {reading.how}")


# Markers


def _marked(said: str) -> Iterator[tuple[str, str, bool]]:
    """Every marked stretch, the last first: its text, the marker's name, and whether it decides even if unreadable."""
    found = [(match.end(), "answer line", True) for form in (_STATED, _HEADING) for match in form.finditer(said)]
    found += [(match.end(), "answer line", False) for match in _PROSE.finditer(said)]
    found += [(match.end(), "answer tag", True) for match in _TAG.finditer(said)]
    found += [(match.end(), "boxed", True) for match in _BOXED.finditer(said)]
    for start, where, decisive in sorted(found, reverse=True):
        yield _STRETCH[where](said, start), where, decisive


def _line(said: str, start: int) -> str:
    """The rest of the line, or the next line that is not empty; only the string where a JSON string begins there."""
    if string := _JSON_STRING.match(said, start):
        return string[1]
    while start < len(said):
        end = said.find("\n", start) % (len(said) + 1)
        if said[start:end].strip(_OUTER):
            return said[start:end]
        start = end + 1
    return ""


def _tagged(said: str, start: int) -> str:
    end = said.lower().find("</answer>", start) % (len(said) + 1)
    return said[start:end]


def _braced(said: str, start: int) -> str:
    depth = 1
    for place in range(start, len(said)):
        depth += {"{": 1, "}": -1}.get(said[place], 0)
        if not depth:
            return said[start:place]
    return said[start:]


_STRETCH = {"answer line": _line, "answer tag": _tagged, "boxed": _braced}


# Reading a stretch of text


def _read(segment: str, choices: Sequence[str], *, free: bool) -> _Reading:
    """What the segment names. `free` is running text without a marker, in which common words name nothing."""
    segment = _LATEX_TEXT.sub(r"\1", segment).strip()
    if (same := _same(segment, choices)) is not None:
        return _Reading(named=same, how="text")
    bare = _EMPHASIS.sub("", segment).strip()
    label = _LEADING_LABEL.match(bare)
    if label and (index := _labelled(label[1] or label[2], choices)) is not None:
        return _with_label(index, bare[label.end() :], label[1] or label[2], choices)
    return _mentioned(segment, choices, free=free)


def _same(segment: str, choices: Sequence[str]) -> frozenset[int] | None:
    """The choices that the segment is, by the strictest comparison that any of them meets."""
    for form in (str, str.strip, _fold, _core):
        said = form(segment)
        if said and (found := frozenset(i for i, choice in enumerate(choices) if form(choice) == said)):
            return found
    return None


def _fold(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _core(text: str) -> str:
    return _fold(text).strip(_OUTER)


def _labelled(label: str, choices: Sequence[str]) -> int | None:
    """The index that a letter or number stands for; None where there is no such choice or numbers are choices."""
    if label.isdigit():
        index = int(label) - 1
        return index if 0 <= index < len(choices) and not any(_core(choice).isdigit() for choice in choices) else None
    index = ord(label.upper()) - ord("A")
    return index if index < len(choices) else None


def _with_label(index: int, rest: str, label: str, choices: Sequence[str]) -> _Reading:
    """A label and what follows it: the same choice in words, another one, more labels, or an explanation."""
    text = _same(rest, choices) or _led(rest, choices) or _mentioned(rest, choices, free=True).named
    if text:
        agrees = {choices[i] for i in text} == {choices[index]}
        return _Reading(named=text, how="label and text", refused="" if agrees else "label against text")
    if (more := _NEXT_LABEL.match(rest)) and _labelled(more[1], choices) not in (None, index):
        return _Reading(named=frozenset(), how="", refused="several choices")
    if _REFUSAL.search(rest):
        return _Reading(named=frozenset(), how="", refused="refused")
    if any(other != index and _tokens(choice)[:1] == [label.lower()] for other, choice in enumerate(choices)):
        return _Reading(named=frozenset(), how="", refused="label or text")
    return _Reading(named=frozenset({index}), how="label")


def _led(segment: str, choices: Sequence[str]) -> frozenset[int]:
    """The choice that the segment begins with as a clause of its own: "No, he does not." """
    first = _core(_CLAUSE_END.split(segment, maxsplit=1)[0])
    return frozenset(index for index, choice in enumerate(choices) if first and _core(choice) == first)


def _mentioned(segment: str, choices: Sequence[str], *, free: bool) -> _Reading:
    """The choices whose words stand in the segment in their order, and the labels in it (`(B)`, `option 2`)."""
    led = _led(segment, choices)
    spans = _spans(segment, choices, free=free and not led)
    labels = frozenset(index for label in _inner_labels(segment) if (index := _labelled(label, choices)) is not None)
    texts = frozenset(index for index, _, _ in spans) | led
    if len({choices[index] for index in texts | labels}) > 1:
        clash = len(texts) == 1 and len(labels) == 1
        return _Reading(named=texts | labels, how="", refused="label against text" if clash else "several choices")
    if any(_negated(segment, start, end) for _, start, end in spans):
        return _Reading(named=frozenset(), how="", refused="negated")
    if _REFUSAL.search(_without(segment, spans)) or (labels and _NEGATION.search(_without(segment, spans))):
        return _Reading(named=frozenset(), how="", refused="refused")
    return _Reading(named=texts | labels, how="mention" if texts else "label")


def _inner_labels(segment: str) -> list[str]:
    return [match[1] or match[2] for match in _INNER_LABEL.finditer(segment)]


def _spans(segment: str, choices: Sequence[str], *, free: bool) -> list[tuple[int, int, int]]:
    """(choice, start, end) of each mention; words inside a longer choice's mention do not name a shorter choice."""
    words = [(match.start(), match.end()) for match in _TOKEN.finditer(segment)]
    said = [_fold(segment[start:end]) for start, end in words]
    found: list[tuple[int, int, int]] = []
    taken: dict[int, int] = {}
    for index, tokens in sorted(enumerate(map(_tokens, choices)), key=lambda pair: -len(pair[1])):
        size = len(tokens)
        if not size or (free and not _telling(tokens)):
            continue
        for at in range(len(said) - size + 1):
            if said[at : at + size] == tokens and all(taken.get(place, size) == size for place in range(at, at + size)):
                found.append((index, words[at][0], words[at + size - 1][1]))
                taken.update(dict.fromkeys(range(at, at + size), size))
    return found


def _tokens(text: str) -> list[str]:
    return [_fold(word) for word in _TOKEN.findall(text)]


def _telling(tokens: Sequence[str]) -> bool:
    """Whether these words can name a choice in running text: not a lone common word, letter or number."""
    word = tokens[0]
    return len(tokens) > 1 or not (word in _COMMON or word.isdigit() or (len(word) == 1 and word.isascii()))


def _negated(segment: str, start: int, end: int) -> bool:
    before = _CLAUSE_END.split(segment[:start])[-1]
    return bool(_NEGATION.search(before) or _DENIED_AFTER.match(segment[end:]))


def _without(segment: str, spans: Sequence[tuple[int, int, int]]) -> str:
    for _, start, end in sorted(spans, key=lambda span: -span[1]):
        segment = segment[:start] + segment[end:]
    return segment
