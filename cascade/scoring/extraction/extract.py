"""Reading a reply: raw text → one of the choices verbatim, or none, and by which rule. It never guesses.

docs/replies.md lists the rules, in the order of `_RULES`, with the kind of reply that each reads and its counts on real
replies. Precision comes before recall: an unread reply is counted as such, but a wrongly read one corrupts the score.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache

from cascade.prompting.thinking import without_thoughts
from cascade.scoring.extraction import pieces
from cascade.scoring.extraction.choices import Choices, normalize, unwrap
from cascade.scoring.extraction.marks import read_marked
from cascade.scoring.extraction.pieces import SHORT, Reading
from cascade.types import Choice

_LONGEST = 60_000  # characters that are read of a reply: the first and the last half of them
_TOKEN = re.compile(r"<(?:eo[a-z]|/?s|\|[a-z_]{2,20}\||end_of_turn)>|\[(?i:ANS)\]")  # a token that opens or closes a reply
_LISTED = r"[ \t]{0,8}(?:[-*•] )?[*_]{0,3}\(?%s[).:][*_]{0,3}[ \t]{0,4}"
_LIST_LINE = re.compile(rf"(?m)^{_LISTED % '([A-Z])'}\S")
_LIST = re.compile(rf"(?m)^{_LISTED % 'A'}(\S.{{0,60}})\n\s{{0,3}}{_LISTED % 'B'}")
_TURN = re.compile(r"(?im)^(?:#{1,4} )?(?:(?:question|q)(?: ?\d{1,4})?\s?[:.]|(?:human|user|assistant)\s?(?::|$))")
# What stands before a choice that ends a line: "is:", or bold type that closes there.
_BEFORE_END = re.compile(r"\b(?:is|as|be)\s?:\s{0,3}|\*\*(?=[^*]{1,600}\*\*\W{0,3}$)")
_prepare = lru_cache(maxsize=64)(Choices)


def extract(reply: str, choices: Sequence[str]) -> Choice:
    """Return the choice that a reply settles on, verbatim; `text == ""` where it settles on none.

    `choices` must be in the order that the model saw, because letters refer to it. `how` is the rule that read the
    choice, or the reason why there is none.
    """
    known = _prepare(tuple(choices))
    text = _TOKEN.sub("", without_thoughts(_shorten(normalize(_shorten(reply))))).strip()
    if not text:
        return Choice(text="", how="empty")
    for part in _own_parts(text, known):
        reading = _read(part, known)
        if reading.choice:
            break
    return Choice(text=reading.choice, how=reading.how)


def _shorten(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST // 2] + "\n\n" + text[-_LONGEST // 2 :]


def _own_parts(text: str, choices: Choices) -> list[str]:
    """Return the text before another question or turn, after what stands in it before a list of other choices."""
    parts = (text[: turn.start()].strip() for turn in _TURN.finditer(text))
    text = next(filter(None, parts), text)
    others = (first.start() for first in _LIST.finditer(text) if not choices.leading(unwrap(first[1]))[0])
    return [part for part in (text[: next(others, 0)].strip(), text) if part]


def _read(text: str, choices: Choices) -> Reading:
    """Return the reading of the first rule that applies."""
    for name, rule in _RULES.items():
        if reading := rule(text, choices):
            return Reading(reading.choice, f"{name}: {reading.how}")
    return Reading("", "no choice named")


def _whole(text: str, choices: Choices) -> Reading | None:
    """Read a reply that is a choice or a label and nothing else, the same line again and again, or a forced choice."""
    if text.startswith("{"):
        with suppress(ValueError, RecursionError):
            return pieces.read_alone(str(json.loads(text).get("answer")), choices)
    lines = {line.strip() for line in text.splitlines()} - {""}
    return pieces.read_alone(lines.pop()[: 2 * SHORT], choices) if len(lines) == 1 else None


def _first_line(text: str, choices: Choices) -> Reading | None:
    """Read a label or a choice that stands at the start, before an explanation."""
    first, _, after = text.partition("\n")
    reading = pieces.read_value(first[: 2 * SHORT], choices)
    if first[:1].isdigit() or reading.how in ("mention", "no choice named", "denied or weighed", "several choices"):
        return None
    others = [pieces.read_alone(line, choices) for line in after.splitlines()[:20]]
    if len(set(_LIST_LINE.findall(text))) > 1 or any(other and other.choice != reading.choice for other in others):
        return None
    return Reading("", "taken back") if pieces.TAKEN_BACK.search(text, 1) else reading


def _last_line(text: str, choices: Choices) -> Reading | None:
    """Read a label or a choice that ends the reply: alone in the last line, after "is:", or in bold type."""
    *before, last = ["", *filter(str.strip, text.splitlines())]
    above, end = before[-1], _ending(last)
    reading = pieces.read_alone(last, choices) or pieces.read_alone(end, choices)
    earlier = pieces.read_alone(above, choices) or pieces.read_alone(_ending(above), choices)
    if reading is None or last[0] in "-•" or _LIST_LINE.match(above) or (earlier and earlier != reading):
        return None  # There is none, or it ends a list, or it is one of several answers.
    start = unwrap(last[: len(last) - len(end)])
    others = {choice for choice, _, _ in choices.mentions(start)} - {reading.choice}
    claim = start or (above if above.endswith(":") else "")
    return None if others or pieces.DENIAL.search(pieces.SENTENCE_END.split(claim)[-1]) else reading


def _ending(line: str) -> str:
    """Return what follows "is:" in a line or stands in bold type at its end, or else the line."""
    return _BEFORE_END.split(line)[-1]


def _inner_label(text: str, choices: Choices) -> Reading | None:
    """Read the only label in a last sentence that concludes, or the only one of the last paragraph with its choice."""
    if pieces.THOUGHT.match(text) and not text.endswith((".", "!", "*", ")", "。")):
        return None  # An unfinished thought without tags.
    paragraph = unwrap(text.rsplit("\n\n", 1)[-1])[-2000:]
    sentence = pieces.conclusion(paragraph)
    for part, kinds in ((sentence, ("label", "label and text")), (paragraph, ("label and text",))):
        readings = pieces.read_inner_labels(part, choices)
        reading = next((reading for reading in readings if reading.how in kinds), None)
        if reading and reading.choice and {reading.choice} == {other.choice for other in readings}:
            other_value = part is sentence and choices.has_other_number(reading.choice, sentence)
            return None if other_value else reading
    return None


def _sentence(text: str, choices: Choices) -> Reading | None:
    """Read a short reply, or a last sentence that concludes, which holds exactly one choice."""
    plain = unwrap(text)
    if not plain.endswith((".", "!", "?", "'", ")", "]", ">", "}")):
        return None
    reading = pieces.read_mention(plain, choices)
    final = pieces.read_mention(pieces.conclusion(plain), choices)
    reading = final if final.choice else reading
    return reading if reading.how != "no choice named" else None


_RULES = {
    "whole": _whole,
    "answer line": read_marked,
    "first line": _first_line,
    "last line": _last_line,
    "inner label": _inner_label,
    "sentence": _sentence,
}
