"""Where a reply says its answer: answer lines, `<answer>` tags, `\\boxed{…}`, JSON fields. The last one wins."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

_LONGEST = 2000  # characters of a marked stretch: what is longer is no answer
_MOST = 50  # markers that are looked at, from the last: a reply that has more says nothing

_THOUGHT = re.compile(r"[<\[](think|thinking|thought|reasoning)[>\]].*?(?:[<\[]/\1[>\]]|\Z)", re.DOTALL | re.IGNORECASE)
_THOUGHT_END = re.compile(r"\A.*[<\[]/(?:think|thinking|thought|reasoning)[>\]]", re.DOTALL | re.IGNORECASE)

_CLOSING = r"""[ \t"'“”‘’«»「」*_`~)\]】]*"""
_LATIN = (
    r"(?<![^\W_])(?:answer|choice|option|correction|respuesta|r[ée]ponse|antwort|risposta|resposta|ответ)(?![^\W_])"
)
_NOUN = rf"(?:{_LATIN}|答案|答え|回答|정답)"
_AFTER_NOUN = r"(?: (?:correct[ae]?|corretta|final[e]?|exacte))?"
# "Answer: x" states the answer whatever x is.
_STATED = re.compile(rf"{_NOUN}{_AFTER_NOUN}{_CLOSING}(?:\([^()\n]{{0,80}}\){_CLOSING})?[:：=]", re.IGNORECASE)
# "The answer is x" may be prose: it counts if x names a choice or refuses.
_VERB = r"\s(?:is|would be|should be|must be|has to be)\b"
_PROSE = re.compile(
    rf"\banswer\b(?: (?:to|for|of) [^.:\n]{{1,80}}?)?{_CLOSING}{_VERB}"
    rf"|\b(?:best|correct|right|final|my|likely|likeliest) (?:choice|option)\b{_CLOSING}{_VERB}"
    r"|答案(?:是|为)"
    r"|\bI(?:['’]d| would|['’]ll| will) (?:choose|pick|select|go with|answer)\b|\bI (?:choose|select|went with)\b",
    re.IGNORECASE,
)
_HEADING = re.compile(rf"^[#*_ ]*(?:the |my )?(?:final |correct |best )?{_NOUN}[*_ ]*$", re.IGNORECASE | re.MULTILINE)
_TAG = re.compile(r"<answer>", re.IGNORECASE)
_BOXED = re.compile(r"\\(?:boxed|fbox)\s*\{")
_JSON = re.compile(r'"(?:[a-z]+_)?(?:answer|choice|option)"\s*:', re.IGNORECASE)
_JSON_STRING = re.compile(r'\s*"((?:[^"\\\n]|\\.)*)"')
# Before a marker, in its clause: what follows is not the answer, or may not be.
_TAINT = re.compile(
    r"\b(?:not|never|nobody|no one|cannot|hardly|rule|ruled|doubt|doubtful|wrong|incorrect|alternative|alternate|other"
    r"|another|second|third|next|worst|unlikely|least|why)\b|n['’]t\b",
    re.IGNORECASE,
)
_SUPPOSED = re.compile(r"\b(?:if|whether|unless|had|suppose|supposing)\b", re.IGNORECASE)
_SENTENCE = re.compile(r"[.!?\n。！？|{]")
_CLAUSE = re.compile(r"[.,;:!?\n。，；：！？|{]")


@dataclass(frozen=True, slots=True)
class Stretch:
    """A marked part of a reply. A `decisive` one settles it even if it cannot be read; a `tainted` one is denied."""

    text: str
    where: str
    decisive: bool
    tainted: bool


def without_thoughts(reply: str) -> str:
    """The reply without `<think>` parts, unfinished ones too, and without what stands before a lone `</think>`."""
    return _THOUGHT_END.sub("", _THOUGHT.sub("", reply))


def stretches(said: str) -> Iterator[Stretch]:
    """Every marked stretch, the last first."""
    found = [
        (match.end(), match.start(), where, decisive)
        for form, where, decisive in _FORMS
        for match in form.finditer(said)
    ]
    # A field of JSON is also an answer line; its string is the better reading.
    found.sort(key=lambda one: (one[0], one[2] == "field"), reverse=True)
    for end, start, where, decisive in islice(found, _MOST):
        before = said[max(0, start - 200) : start]
        yield Stretch(
            text=_CONTENT[where](said, end)[:_LONGEST],
            where=where,
            decisive=decisive,
            tainted=bool(_TAINT.search(_CLAUSE.split(before)[-1]) or _SUPPOSED.search(_SENTENCE.split(before)[-1])),
        )


_FORMS = (
    (_STATED, "answer line", True),
    (_HEADING, "answer line", True),
    (_PROSE, "answer line", False),
    (_TAG, "answer tag", True),
    (_BOXED, "boxed", True),
    (_JSON, "field", True),
)


def _line(said: str, start: int) -> str:
    """The rest of the line, or the next line that says anything."""
    while start < len(said):
        end = said.find("\n", start) % (len(said) + 1)
        line = said[start : min(end, start + _LONGEST)]
        if any(char.isalnum() for char in line) or line.strip(" \t\r\"'*_`~"):
            return line
        start = end + 1
    return ""


def _tagged(said: str, start: int) -> str:
    part = said[start : start + _LONGEST]
    return part[: part.lower().find("</answer>") % (len(part) + 1)]


def _braced(said: str, start: int) -> str:
    depth, part = 1, said[start : start + _LONGEST]
    for place, char in enumerate(part):
        depth += {"{": 1, "}": -1}.get(char, 0)
        if not depth:
            return part[:place]
    return part


def _field(said: str, start: int) -> str:
    string = _JSON_STRING.match(said, start, start + _LONGEST)
    return string[1] if string else _line(said, start)


_CONTENT = {"answer line": _line, "answer tag": _tagged, "boxed": _braced, "field": _field}
