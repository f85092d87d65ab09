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
_TOKEN = re.compile(r"<(?:eo[a-z]|/?s|\|[a-z_]{2,20}\||end_of_turn)>|\[ANS\]")  # a token that opens or closes a reply
_LISTED = r"[ \t]{0,8}(?:[-*•] )?[*_]{0,3}\(?%s[).:][*_]{0,3}[ \t]{0,4}"
_LIST_LINE = re.compile(rf"(?m)^{_LISTED % '([A-Z])'}\S")
_LIST = re.compile(rf"(?m)^{_LISTED % 'A'}(\S.{{0,60}})\n\s{{0,3}}{_LISTED % 'B'}")
_TURN = re.compile(r"(?im)^(?:#{1,4} )?(?:(?:question|q)(?: ?\d{1,4})?\s?[:.]|(?:human|user|assistant)\s?(?::|$))")
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
    # What follows the heading of another question or turn is no part of the answer.
    parts = (text[: turn.start()].strip() for turn in _TURN.finditer(text))
    text = next(filter(None, parts), text)
    reading = _read(_before_other_choices(text, known), known)
    if not reading.choice:
        reading = _read(text, known)
    return Choice(text=reading.choice, how=reading.how)


def _shorten(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST // 2] + "\n\n" + text[-_LONGEST // 2 :]


def _before_other_choices(text: str, choices: Choices) -> str:
    """Return the text before a list of choices that are not this question's: an exercise without a heading."""
    for first in _LIST.finditer(text):
        if not choices.leading(unwrap(first[1]))[0]:
            return text[: first.start()].strip() or text
    return text


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
    """Read a last line that is a label or a choice alone, unless it ends a list or an exclusion of choices."""
    *before, last = ["", *filter(str.strip, text.splitlines())]
    above = before[-1]
    if not above or last[0] in "-•" or _LIST_LINE.match(above) or pieces.read_alone(above, choices):
        return None
    is_denied = above.endswith(":") and pieces.DENIAL.search(pieces.SENTENCE_END.split(above)[-1])
    return None if is_denied else pieces.read_alone(last, choices)


def _inner_label(text: str, choices: Choices) -> Reading | None:
    """Read the only label in the last paragraph that stands with its own choice, or in a sentence that concludes."""
    if pieces.THOUGHT.match(text) and not text.endswith((".", "!", "*", ")", "。")):
        return None  # An unfinished thought without tags.
    paragraph = unwrap(text.rsplit("\n\n", 1)[-1])[-2000:]
    pairs, lone, labels = [], [], set()
    for match in pieces.INNER_LABEL.finditer(paragraph):
        reading = pieces.read_label(paragraph[match.end() - 1 :][:400], choices)
        if reading is None or reading.how == "denied" or pieces.DENIAL.search(paragraph[: match.start()][-15:]):
            continue
        labels.add(reading.choice)
        if reading.how.startswith("label and text"):
            pairs.append(reading.choice)
        elif match[1]:
            lone.append(reading.choice)
    if pairs:
        return Reading(pairs[0], "label and text") if len(labels) == 1 else None
    sentence = pieces.SENTENCE_END.split(paragraph)[-1]
    if len({*lone}) != 1 or not lone[0] or not pieces.CONCLUSION.search(sentence) or pieces.DENIAL.search(sentence):
        return None
    other_value = choices.is_other_value(lone[0], " ".join(re.findall(r"\d+(?:\.\d+)?", sentence)))
    return None if other_value else Reading(lone[0], "label")


def _sentence(text: str, choices: Choices) -> Reading | None:
    """Read a short reply that restates the question and holds exactly one choice."""
    plain = unwrap(text)
    reading = pieces.read_mention(plain, choices) if plain.endswith((".", "!", "'")) else None
    return reading if reading and reading.how != "no choice named" else None


_RULES = {
    "whole": _whole,
    "answer line": read_marked,
    "first line": _first_line,
    "last line": _last_line,
    "inner label": _inner_label,
    "sentence": _sentence,
}
