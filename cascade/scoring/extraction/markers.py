"""Markers of an answer or of its retraction: answer lines, tags, `\\boxed{…}`, JSON fields, second thoughts.

The last marker of a reply wins.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice

_LONGEST = 2000  # characters of a marked span: a longer one is no answer
_MOST = 50  # markers that are looked at, from the last one


_CLOSING = r"""[ \t"'“”‘’«»「」*_`~)\]】\u200b]*"""
_LATIN = (
    r"(?<![^\W_])(?<![^\W_]_)(?:answer|ans|choice|option|correction|guess|selection|letter|conclusion|respuesta|r[ée]ponse|antwort"
    r"|lösung|risposta|resposta|ответ|antwoord|svar|odpowiedź|cevap|jawaban|الإجابة|الاجابة|إجابة|الجواب)(?![^\W_])"
)
_NOUN = rf"(?:{_LATIN}|答案|答え|回答|正解|정답|답|उत्तर|选择)"
# The default prompt's own words, which small models repeat.
_AFTER_NOUN = (
    r"(?: text| copied word for word)?"
    r"(?: (?:correct[ae]?|corretta|final[e]?|exacte|الصحيحة|الصحيح)(?![^\W_]))?(?:是|为)?"
)
# "Answer: x" states the answer whatever x is.
_STATED = re.compile(rf"{_NOUN}{_AFTER_NOUN}{_CLOSING}(?:\([^()\n]{{0,80}}\){_CLOSING})?[:：=→]", re.IGNORECASE)
# "The answer is x" may be prose: it counts if x names a choice or refuses.
_VERB = r"\s(?:is|would be|should be|must be|has to be)\b"
_PROSE = re.compile(
    rf"\banswer\b(?: (?:to|for|of) [^.:\n]{{1,80}}?)?{_CLOSING}{_VERB}"
    r"|\b(?:best|correct|right|final|my|the|likely|likeliest|most (?:likely|plausible|probable|fitting|suitable))"
    rf" (?:choice|option|one)\b{_CLOSING}{_VERB}"
    r"|(?:答案|正解|答え)(?:是|为|は)|(?:정답|답)[은는이]|[我应该当就故]选(?:择|项)?(?:是|为)?|选择?(?=\W*[A-Z](?![A-Za-z]))"
    r"|\b(?:antwort|lösung)\s(?:ist|lautet)\b:?|\bответ\s*[—–-]|\bالإجابة (?:الصحيحة )?هي|\bالجواب (?:الصحيح )?هو"
    r"|\b(?:respuesta|r[ée]ponse|risposta|resposta)"
    r"(?: (?:correct[ae]|corretta|correta|final[e]?|exacte))?\s(?:es|est|è|é)\b"
    r"|\bI(?:['’]d| would|['’]ll| will) (?:choose|pick|select|go with|answer|say)\b"
    r"|\bI (?:choose|select|pick(?! up| out)|went with)\b",
    re.IGNORECASE | re.MULTILINE,
)
_HEADING = re.compile(rf"^[#*_ ]*(?:the |my )?(?:final |correct |best )?{_NOUN}[*_ ]*$", re.IGNORECASE | re.MULTILINE)
# A cell of a table, or a dash.
_CELL = re.compile(r"\banswer[*_ ]* (?:\||[-–—]) ", re.IGNORECASE)
_TAG = re.compile(r"[<\[](?:final_)?(?:answer|choice)[>\]]", re.IGNORECASE)
_BOXED = re.compile(r"\\(?:boxed|fbox)\s*\{")
_JSON = re.compile(
    r'"(?:(?:final|best|correct|selected|chosen|my|predicted)_)?(?:answer|choice|option|prediction)(?:_(?:letter|text|label))?"\s*:',
    re.IGNORECASE,
)
_JSON_STRING = re.compile(r'\s*"((?:[^"\\\n]|\\.)*)"\s*(?=[,}\]\n]|\Z)')
_JSON_BARE = re.compile(r"\s*([^\s,{}\[\]\"]+)\s*[,}\n]")
# The answer before is retracted, and the text after may replace it.
_AGAIN = re.compile(
    r"(?:(?<=[.!?…—\n(])|(?<=[.!?…—] ))[ \t*_\"]*(?:(?:hmm+|no|oh|oops|sorry|but|and|ah)[,.…! ]{1,4}){0,3}"
    r"(?:wait(?=\s*[,.:;!—…-]|\s*$|\s(?:actually|no|that|the|it|I)\b)|actually|hold on|(?:scratch|strike) (?:that|it)"
    r"|on (?:second thoughts?|reflection)|let me (?:re-?consider|re-?think|re-?evaluate|think again|correct)"
    r"|(?:I was|I am|I['’]m) (?:wrong|mistaken)"
    r"|my mistake|oops|I retract|just kidding|(?:update|edit)(?=:)|sorry(?=[,.])"
    r"|(?:let me|I(?:['’]ll| will)) (?:double[- ]?check|re-?check|verify)"
    r"|(?:sorry, )?I (?:meant|mean|take (?:that|it) back)|never ?mind"
    r"|(?:that|this|it)(?: answer| choice)?(?:['’]s| is| was| seems)"
    r" (?:\w+ )?(?:wrong|incorrect|false|mistaken|not (?:right|correct|it))"
    r"|(?:that|this|it) (?:can['’]t|cannot) be(?: right| correct| it)?"
    r"|不对|等一下|等等，|错了|moment mal|espera|attende?z?\b|стоп|подожди(?:те)?|いや)(?![^\W_])"
    r"[,.:;…!—– -]{0,4}(?:actually|on second thoughts?|no)?[,.:;…! ]{0,4}"
    r"(?:(?:I (?:meant|mean|think|would say|choose)|make (?:it|that))\s+)?"
    r"(?:(?:it|that|this|the answer)(?: (?:is|was|should be|must be|has to be)|['’]s)\b\s*)?",
    re.IGNORECASE | re.MULTILINE,
)
# In the clause before a marker, these words say that the marked text is not the answer, or may not be.
_TAINT = re.compile(
    r"\b(?:not|never|nobody|no one|cannot|hardly|rule|ruled|doubt|doubtful|wrong|incorrect|alternative|alternate|other"
    r"|another|some|others|many|people|someone|everyone|everybody|told|thought|each|every|evaluat\w+|consider\w*|second|third|next|worst|unlikely|least|why|first|initial|initially|originally|previous|tempting|common"
    r"|falsche|fausse|mauvaise|incorrecta|неправильный|неверный|sbagliata|errada)\b"
    r"|n['’]t\b|不|非|没|别|错|误|間違",
    re.IGNORECASE,
)
_SUPPOSED = re.compile(
    r"\b(?:if|whether|unless|had|suppose|supposing|wenn|ob|si|если|se)\b|如果|若|もし", re.IGNORECASE
)
_SENTENCE = re.compile(r"[.!?\n。！？|{]")
_CLAUSE = re.compile(r"[.,;:!?\n。，；：！？|{]")


@dataclass(frozen=True, slots=True)
class MarkedSpan:
    """A marked part of a reply. A `final` span decides the reply even if it is unread; a `negated` span is denied."""

    text: str
    where: str
    final: bool
    negated: bool


def marked_spans(reply: str) -> Iterator[MarkedSpan]:
    """Yield every marked span, the last one first."""
    matches = [
        (match.end(), match.start(), where, final) for form, where, final in _FORMS for match in form.finditer(reply)
    ]
    # A field of JSON is also an answer line; its string is the better reading.
    matches.sort(key=lambda entry: (entry[0], entry[2] == "field"), reverse=True)
    for end, start, where, final in islice(matches, _MOST):
        before = reply[max(0, start - 200) : start]
        yield MarkedSpan(
            text=_CONTENT[where](reply, end)[:_LONGEST],
            where=where,
            final=final,
            negated=bool(_TAINT.search(_CLAUSE.split(before)[-1]) or _SUPPOSED.search(_SENTENCE.split(before)[-1])),
        )


_FORMS = (
    (_STATED, "answer line", True),
    (_HEADING, "answer line", True),
    (_CELL, "answer line", False),
    (_PROSE, "answer line", False),
    (_TAG, "answer tag", True),
    (_BOXED, "boxed", True),
    (_JSON, "field", True),
    (_AGAIN, "second thought", True),
)


def _line(reply: str, start: int) -> str:
    """Return the rest of the line, or the next line with content."""
    while start < len(reply):
        end = reply.find("\n", start) % (len(reply) + 1)
        line = reply[start : min(end, start + _LONGEST)]
        if any(char.isalnum() for char in line) or line.strip(" \t\r\"'*_`~:"):
            return line
        start = end + 1
    return ""


def _rest(reply: str, start: int) -> str:
    """Return the rest of the line of a second thought."""
    return reply[start : start + _LONGEST].split("\n", 1)[0]


def _tagged(reply: str, start: int) -> str:
    return re.split(
        r"[<\[]/(?:final_)?(?:answer|choice)[>\]]", reply[start : start + _LONGEST], maxsplit=1, flags=re.IGNORECASE
    )[0]


def _braced(reply: str, start: int) -> str:
    depth, part = 1, reply[start : start + _LONGEST]
    for place, char in enumerate(part):
        depth += {"{": 1, "}": -1}.get(char, 0)
        if not depth:
            return part[:place]
    return part


def _field(reply: str, start: int) -> str:
    if string := _JSON_STRING.match(reply, start, start + _LONGEST):
        with suppress(ValueError):  # A backslash that is none of JSON's, as in LaTeX.
            return str(json.loads(f'"{string[1]}"'))
        return string[1]
    bare = _JSON_BARE.match(reply, start, start + _LONGEST)
    return bare[1] if bare else _line(reply, start)


_CONTENT = {"answer line": _line, "answer tag": _tagged, "boxed": _braced, "field": _field, "second thought": _rest}
