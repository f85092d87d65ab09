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
from itertools import islice
from operator import itemgetter

from cascade.prompting.thinking import without_thoughts
from cascade.scoring.extraction import pieces
from cascade.scoring.extraction.choices import Choices, any_of, normalize, unwrap
from cascade.scoring.extraction.pieces import SHORT
from cascade.types import Choice

_LONGEST = 60_000  # characters that are read of a reply: the first and the last half of them
# Tokens that open or close a reply.
_TOKEN = re.compile(r"<(?:eo[a-z]|/?s|\|[a-z_]{2,20}\||end_of_turn)>|\[(?i:ANS)\]|</answer>\s{0,20}\Z")
_LISTED = r"[ \t]{0,8}(?:[-*•] )?[*_]{0,3}\(?%s[).:][*_]{0,3}[ \t]{0,4}"
_LIST_LINE = re.compile(rf"(?m)^{_LISTED % '([A-Z])'}\S")
_LIST = re.compile(rf"(?m)^{_LISTED % 'A'}(\S.{{0,60}})\n\s{{0,3}}{_LISTED % 'B'}")
_TURN = re.compile(r"(?im)^(?:#{1,4} )?(?:(?:question|q)(?: ?\d{1,4})?\s?[:.]|(?:human|user|assistant)\s?(?::|$))")
# What stands before a choice that ends a line: "is:", or bold type that closes there.
_BEFORE_END = re.compile(r"\b(?:is|as|be)\s?:\s{0,3}|\*\*(?=[^*]{1,600}\*\*\W{0,3}$)")
_MOST = 60  # marks that are read, from the last
_NOUN = r"(?:answer|choice|option|response|selection|letter|conclusion|prediction)"
_KIND = (
    r"(?:best|correct|right|final|my|appropriate|accurate|suitable|fitting|plausible|closest|logical|reasonable"
    r"|likel(?:y|iest)|most [a-z]{3,15})"
)
_IS = r"(?:is|would be|should be|must be|will be|seems to be|appears to be)(?: most likely| likely| probably| that)?\b"
_GAP = r"[\s*_`\"“”')\]】>$]{0,8}"
_OF = r"(?: (?:to|for|of|from|among|that|which|provided|given|here|in)\b[^.\n]{0,200}?| [a-z]{2,12})?"
_AS = r"(?:categori[sz]e|classify|describe|identify) [^.\n]{1,80}? as"
_ECHO = r"(?: text| copied word for word)?"  # the default prompt's own words, which small models repeat
# What a mark marks: the rest of the line or else the next line with a word, a tag's or braces' content, a JSON value.
_LINE = r"(?=(\W{0,600}[^\n]{0,600}))"
_BRACED = r"(?=((?:[^{}]|\{(?:[^{}]|\{[^{}]{0,99}\}){0,200}\}){0,600}))"
_VALUE = r"(?=\s{0,8}(?:\"((?:[^\"\\\n]|\\.){0,600})\"|'([^'\n]{0,600})'|(\w{1,40}))\s{0,8}(?:[,}\n]|\Z))"
# The marks by strength; the strongest decide. Text marked with strength 3 or 0 must match a choice as a whole.
_FORMS = (
    (3, rf"\\(?:boxed|fbox)\s{{0,3}}\{{{_BRACED}"),
    (3, r"<(?:final_)?(?:answer|choice)>(?=((?:[^<]|<(?!/)){0,600}))"),
    # "<Conclusion>B</Conclusion>", and any other element in a line of its own that ends the reply
    (0, r"^\s{0,8}<\w{1,20}>(?=([^<]{1,600})</\w{1,20}>\s{0,20}\Z)"),
    (3, rf"【答案】{_LINE}"),
    # "Answer: B", "Final answer (letter): B", "答案：A"
    (
        2,
        rf"(?:(?<![^\W_])(?<!a )(?<!this )(?:{_KIND} )?{_NOUN}{_ECHO}{_GAP}(?:\([^()\n]{{0,60}}\)|is)?{_GAP}[:=]"
        rf"|答案\s?:){_LINE}",
    ),
    # "The answer is B", "the best match for the description would be B", "I would choose B"
    (1, rf"\b(?:{_KIND} (?:{_NOUN}|match|one)|answer)\b{_GAP}{_OF}{_GAP}\s{_IS}:?{_LINE}"),
    (1, rf"\bI(?:'d| would| will|'ll)? (?:choose|pick|select|say|(?:go|answer) with|{_AS})\b{_LINE}"),
    # {"instrument": "Cello"}
    (0, rf"^\s{{0,20}}\{{?\s{{0,20}}[\"'][^\"'\n]{{1,60}}[\"']\s{{0,3}}:{_VALUE}"),
)
_COMPILED = [(strength, re.compile(form, re.IGNORECASE | re.MULTILINE)) for strength, form in _FORMS]
# In the clause before a mark, or in it, these words too say that the marked text may not be the answer.
_DOUBT = any_of(
    "other another each every everyone some why if first second initial previous perhaps maybe might common"
)
_SENTENCE = re.compile(r"[.!?\n。]")
_CLAUSE = re.compile(r"[.,;:!?\n。{]")
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
    choice = _read(_before_other_choices(text, known), known)
    return choice if choice.text else _read(text, known)


def _shorten(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST // 2] + "\n\n" + text[-_LONGEST // 2 :]


def _before_other_choices(text: str, choices: Choices) -> str:
    """Return the text before a list of choices that are not this question's: an exercise without a heading."""
    others = (first.start() for first in _LIST.finditer(text) if not choices.leading(unwrap(first[1]))[0])
    return text[: next(others, None)].strip() or text


def _read(text: str, choices: Choices) -> Choice:
    """Return the reading of the first rule that applies."""
    for name, rule in _RULES.items():
        if reading := rule(text, choices):
            return Choice(text=reading.text, how=f"{name}: {reading.how}")
    return Choice(text="", how="no choice named")


def _whole(text: str, choices: Choices) -> Choice | None:
    """Read a reply that is a choice or a label and nothing else, the same line again and again, or a forced choice."""
    if (body := text.removeprefix("```json").strip("`\n ")).startswith("{"):
        with suppress(ValueError, RecursionError):
            return pieces.read_alone(str(json.loads(body).get("answer")), choices)
    lines = {line.strip() for line in text.splitlines()} - {""}
    return pieces.read_alone(lines.pop()[: 2 * SHORT], choices) if len(lines) == 1 else None


def _answer_line(text: str, choices: Choices) -> Choice | None:
    """Read the strongest marks; if several disagree, use the last if it retracts those before it.

    A mark in a negation or a supposition does not count, nor does a guess in untagged thinking that continues.
    """
    matches = [(match.end(), strength, match) for strength, form in _COMPILED for match in form.finditer(text)]
    best, decided, begins = -1, Choice(text="", how=""), len(text)
    for end, strength, match in islice(sorted(matches, key=itemgetter(0, 1), reverse=True), _MOST):
        marked = next(filter(None, match.groups()), "")
        before = text[max(0, match.start() - 120) : match.start()]
        sentence = _SENTENCE.split(before)[-1] + match[0] + _SENTENCE.split(marked)[0]
        clause = _CLAUSE.split(before)[-1] + match[0]
        tainted = pieces.DENIAL.search(clause) or _DOUBT.search(clause) or pieces.HYPOTHESIS.search(sentence)
        after = end + len(marked)
        guess = strength == 1 and pieces.THOUGHT.match(text) and "\n\n" in text[after:].strip()
        example = "e.g." in before[-16:]  # An echo of the prompt: "(e.g., The answer is B)".
        if strength < best or guess or example or not marked.strip(" *_`\n") or (tainted and strength in (1, 2)):
            continue
        reading = pieces.read_value(marked, choices, whole=strength in (0, 3))
        vague = reading.how in ("no choice named", "denied or weighed") and (strength < 2 or len(marked) > 100)
        if not reading.text and (best >= 0 or vague):
            continue
        if best < 0 and pieces.TAKEN_BACK.search(text, match.start()):
            return Choice(text="", how="taken back")
        if best >= 0 and decided.text and reading.text != decided.text:
            if not pieces.TAKEN_BACK.search(text, after, begins):
                return Choice(text="", how="several answers")
        elif strength > best:
            best, decided, begins = strength, reading, match.start()
    return decided if best >= 0 else None


def _first_line(text: str, choices: Choices) -> Choice | None:
    """Read a label or a choice that stands at the start, before an explanation."""
    first, _, after = text.partition("\n")
    reading = pieces.read_value(first[: 2 * SHORT], choices)
    if first[:1].isdigit() or reading.how in ("mention", "no choice named", "denied or weighed", "several choices"):
        return None
    others = [pieces.read_alone(line, choices) for line in after.splitlines()[:20]]
    if len(set(_LIST_LINE.findall(text))) > 1 or any(other and other.text != reading.text for other in others):
        return None
    return Choice(text="", how="taken back") if pieces.TAKEN_BACK.search(text, 1) else reading


def _last_line(text: str, choices: Choices) -> Choice | None:
    """Read a label or a choice that ends the reply: alone in the last line, after "is:", or in bold type."""
    above, last = ["", *filter(str.strip, text.splitlines())][-2:]
    ends = [_BEFORE_END.split(line)[-1] for line in (above, last)]
    earlier = pieces.read_alone(above, choices) or pieces.read_alone(ends[0], choices)
    reading = pieces.read_alone(last, choices) or pieces.read_alone(ends[1], choices)
    listed = re.match(r"[-•]|\d+[.)]", last) or _LIST_LINE.match(above)
    if reading is None or listed or (earlier and earlier != reading):
        return None  # There is none, or it ends a list, or it is one of several answers.
    start = unwrap(last.removesuffix(ends[1]))[-2000:]
    others = {choice for choice, _, _ in choices.mentions(start)} - {reading.text}
    claim = start or (above if above.endswith(":") else "")
    return None if others or pieces.DENIAL.search(pieces.SENTENCE_END.split(claim)[-1]) else reading


def _inner_label(text: str, choices: Choices) -> Choice | None:
    """Read the only label in a sentence that concludes, or else in the last paragraph with its own choice beside it."""
    if pieces.THOUGHT.match(text) and not text.endswith((".", "!", "*", ")", "。")):
        return None  # An unfinished thought without tags.
    paragraph = unwrap(text.rsplit("\n\n", 1)[-1])[-2000:]
    for part, concludes in ((pieces.conclusion(paragraph), True), (paragraph, False)):
        labels = (match for match in pieces.INNER_LABEL.finditer(part) if match[1] or not concludes)
        labels = (match for match in labels if not pieces.DENIAL.search(part[: match.start()][-15:]))
        readings = [pieces.read_label(part[match.end() - 1 :][:400], choices) for match in labels]
        named = {reading.text for reading in readings if reading and reading.how != "denied"}
        paired = any(reading and reading.how.startswith("label and text") for reading in readings)
        if len(named) == 1 and all(named) and (paired or concludes):
            numbers = " ".join(re.findall(r"\d+(?:\.\d+)?", part))
            other_value = not paired and choices.is_other_value(next(iter(named)), numbers)
            return None if other_value else Choice(text=named.pop(), how="label and text" if paired else "label")
    return None


def _sentence(text: str, choices: Choices) -> Choice | None:
    """Read a short reply, or a last sentence that concludes, which holds exactly one choice."""
    plain = unwrap(text)
    if not plain.endswith((".", "!", "?", "'", ")", "]", ">", "}")):
        return None
    reading = pieces.read_mention(plain, choices)
    final = pieces.read_mention(pieces.conclusion(plain), choices)
    reading = final if final.text else reading
    return reading if reading.how != "no choice named" else None


_RULES = {
    "whole": _whole,
    "answer line": _answer_line,
    "first line": _first_line,
    "last line": _last_line,
    "inner label": _inner_label,
    "sentence": _sentence,
}
