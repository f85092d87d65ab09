"""Reading a reply: raw text → one of the choices verbatim, or none, and by which rule. It never guesses.

The order of the rules:

1. Thoughts (`<think>…</think>`, also an unfinished one) are set aside.
2. The last marker wins: an answer line (`Answer: …`, "the answer is …", in several languages), `<answer>…</answer>`,
   `\\boxed{…}`, a JSON field, a second thought ("Wait, actually …"). The rest of its line is read; if that is empty,
   the next line. A second thought that does not name its choice plainly cancels the answers before it.
3. Without a marker, a last paragraph that is only a choice or a letter is read.
4. Otherwise the whole reply is read. A choice alone in its first line or sentence counts if the rest does not cancel
   it; in prose a choice must stand in the last sentence, and the reply must not be a plan or be cut.
5. A reply that continues with another question counts only if its first part names no other choice.

A segment names a choice by its text, by its label (A, B, … or 1, 2, …, in the order shown), or by both. Choices that
are denied beside another one ("a cello, not a violin") or stand in an explanation ("because …") are ignored, and a
choice that is weighed ("Korea: no evidence", "option B suggests …") is not named. A segment is no answer if it names
two different choices, if a label and a text disagree, if the choice is negated or refused, or if a label could also be
the beginning or a word of another choice. Precision comes before recall: an unread reply is counted as such, but a
wrongly read one corrupts the score.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice

from cascade.prompting.thinking import without_thoughts
from cascade.scoring.extraction.labels import inner, labelled, leading, lists, lone, stands_for_other, without_denied
from cascade.scoring.extraction.markers import MarkedSpan, marked_spans
from cascade.scoring.extraction.mentions import SHORT, Reading, led, mentioned, stray_label, tells
from cascade.scoring.extraction.negation import denied_part, explained, helpless, negates, refuses, undone, unfinished
from cascade.scoring.extraction.words import core, nearly, same, spans, tokens, without
from cascade.types import Choice

_LONGEST = 20_000  # characters of a reply without a marker: a longer one is no answer
_LATEX_TEXT = re.compile(r"\\(?:text|textbf|textit|mathrm|mathbf|boxed)\s*\{([^{}]*)\}")
_EMPHASIS = re.compile(r"[*_`~\"“”\[\]$✅✔☑👉\ufe0f\u200b]+")
_PAIRED_FIELD = re.compile(r'"(?:\w+_)?(?:letter|label|text)"\s*:\s*"([^"\n]{1,300})"')
_COLON = re.compile(r"\W*\w{1,2}\W{0,2}:")
_ROUGH = re.compile(r"[~<>≤≥±≈]\s*\d[^<>]*$")
# "Choice B, that …, is contradicted", "Korea, a country that …, has …": the sentence weighs the choice at its start.
_WEIGHED = re.compile(
    r"^[^.!?\n]{0,300}?[,)][\"'”*_]{0,3}\s+(?:\w+ly\s+)?(?!(?:as|this|its|his|thus|yes|perhaps|always|unless|sounds)\b)"
    r"(?:is|was|are|were|has|\w{4,}(?<!s)s)\s",
    re.IGNORECASE,
)
_FIRST_LINE = re.compile(r"\n")
_FIRST_SENTENCE = re.compile(r"(?<=\w\w[.!])\s+|(?<=。)")
_IT_IS_NOT = re.compile(r"\b(?:this|that|it|these)\b[^.,;\n]{0,30}(?:\bnot\b|n['’]t\b)", re.IGNORECASE)
_WOULD = re.compile(r"[^.;\n]{0,60}\bwould\b", re.IGNORECASE)
_NEXT_TURN = re.compile(r"^\W*(?:question|q|user|human)\W*:", re.MULTILINE | re.IGNORECASE)
_FILLER = re.compile(
    r"[^\w?？؟]*(?:\b(?:the|an?|is|it|as|in|fact|really|definitely|probably|perhaps|maybe|most|likely|then|instead|i|think"
    r"|believe|guess|would|say|s|should|must|be|that|so|thus|therefore|hence)\b[^\w?？؟]*)*",
    re.IGNORECASE,
)


def extract(reply: str, choices: Sequence[str]) -> Choice:
    """Return the choice that a reply settles on, verbatim; `text == ""` where it settles on none.

    `choices` must be in the order that the model saw, because letters and numbers refer to it. `how` is the rule that
    found the choice (`"answer line: text"`, `"whole: label"`, …) or the reason why there is none.
    """
    text = _once(without_thoughts(reply).strip())
    chosen = _settled(text, choices)
    if (turn := _NEXT_TURN.search(text)) and turn.start():
        own = _settled(text[: turn.start()].strip(), choices)
        if own.text not in ("", chosen.text):
            return Choice(text="", how="another question")
    return chosen


def _once(reply: str) -> str:
    """Return the reply, or its line where the reply only repeats the same line."""
    lines = {line.strip() for line in reply.splitlines()} - {""}
    return lines.pop() if len(lines) == 1 else reply


def _settled(reply: str, choices: Sequence[str]) -> Choice:
    if not reply:
        return Choice(text="", how="empty")
    if (indexes := same(reply, choices)) is not None:
        return _choice(Reading(named=indexes, how="text"), "whole", choices)
    for span in marked_spans(reply):
        reading = _marked(span, choices)
        if span.final or reading.named or reading.refused:
            clash = reading.named and not reading.refused and _contradicted(reply, reading.named, choices)
            if clash:
                reading = replace(reading, refused="label against text")
            return _choice(reading, span.where, choices)
    if last := _last_paragraph(reply, choices):
        return _choice(last, "last paragraph", choices)
    if len(reply) > _LONGEST:
        return Choice(text="", how="whole: too long")
    return _choice(_read(reply, choices, free=True), "whole", choices)


def _choice(reading: Reading, where: str, choices: Sequence[str]) -> Choice:
    texts = {choices[index] for index in reading.named}
    if reading.refused or len(texts) != 1:
        reason = reading.refused or ("several choices" if texts else "no choice named")
        return Choice(text="", how=f"{where}: {reason}")
    return Choice(text=texts.pop(), how=f"{where}: {reading.how}")


def _contradicted(reply: str, named: frozenset[int], choices: Sequence[str]) -> bool:
    """Return whether the reply pairs a letter with another text than the choices do."""
    for line in reply.splitlines()[:100]:
        label, rest = leading(_bare(line[:SHORT]))
        paired = same(rest, choices) if label else None
        if (
            paired
            and (index := labelled(label, choices)) is not None
            and choices[index] not in {choices[i] for i in paired}
        ):
            return bool(named & (paired | {index}))
    last = _plain(reply.rsplit("\n", 1)[-1][:SHORT], choices)
    if last and not last.named & named:
        return True
    fields = (_plain(field, choices) for field in islice(_PAIRED_FIELD.findall(reply), 50))
    return any(field and not field.named & named for field in fields)


def _marked(span: MarkedSpan, choices: Sequence[str]) -> Reading:
    if span.negated:
        return Reading(refused="negated")
    if span.where != "second thought":
        return _read(span.text, choices, free=False)
    return _plain(span.text, choices) or Reading(refused="taken back")


def _read(segment: str, choices: Sequence[str], *, free: bool) -> Reading:
    """Read what the segment names. `free` is a whole reply without a marker, in which common words name nothing."""
    segment = _LATEX_TEXT.sub(r"\1", segment.replace("~", " ") if "\\" in segment else segment)
    segment = segment.lstrip(": \t\r\n").rstrip()
    if (indexes := same(segment, choices)) is not None:
        rough = _ROUGH.match(segment) and segment not in choices
        return Reading(named=indexes, how="text", refused="not exactly" if rough else "")
    if plain := _before_explanation(segment, choices) or _opening(segment, choices):
        return plain
    bare = _bare(segment)
    label, rest = leading(bare)
    if free and (label or led(segment, choices)) and _WEIGHED.match(explained(segment)[0]):
        return Reading(refused="only in passing")
    if (index := labelled(label, choices)) is not None:
        if free and _COLON.match(bare) and core(rest) and not same(rest, choices):
            return Reading(refused="no choice named")  # "B: service unavailable".
        return _with_label(index, rest, label, choices, free=free)
    if len(segment) < SHORT and not (free and unfinished(segment)) and (plain := _plain(segment, choices)):
        return plain
    reading = mentioned(segment, choices, free=free)
    if not reading.named and not reading.refused and (close := nearly(bare, choices)):
        if stray_label(bare, (), close, choices):
            return Reading(named=close, refused="label or text")
        return Reading(named=close, how="text")
    return reading


def _before_explanation(segment: str, choices: Sequence[str]) -> Reading | None:
    """Read a choice alone before a "because", unless a choice has one itself."""
    head, explanation = explained(segment)
    if not explanation or undone(explanation) or lists(explanation) or any(explained(choice)[1] for choice in choices):
        return None
    return _plain(head, choices)


def _opening(segment: str, choices: Sequence[str]) -> Reading | None:
    """Read a choice alone in the first line or sentence, if the rest does not cancel it."""
    for form in (_FIRST_LINE, _FIRST_SENTENCE):
        first, *rest = form.split(segment.strip(), maxsplit=1)
        named = _worded(first, choices) if rest else frozenset()
        if named and all(tells(tokens(choices[index]), free=True) for index in named) and not helpless(rest[0]):
            return Reading(named, "opening", refused="taken back" if _takes_back(rest[0], named, choices) else "")
    return None


def _worded(text: str, choices: Sequence[str]) -> frozenset[int]:
    """Return the choice whose words are the text, after its own label or none."""
    label, rest = leading(_bare(text))
    named = same(rest, choices) or frozenset() if label else frozenset()
    if named and labelled(label, choices) in named:
        return named
    plain = _plain(text, choices)
    return plain.named if plain and plain.how == "text" else frozenset()


def _takes_back(rest: str, named: frozenset[int], choices: Sequence[str]) -> bool:
    """Return whether the rest cancels a choice: it asks, lists, denies, is cut, or names another choice."""
    last = rest.rstrip().rsplit("\n", 1)[-1].rstrip("*_`)\"'” ")
    if len(last.split()) > 4 and not last.endswith((".", "!", "。")):
        return True
    if "?" in rest or lists(rest) or refuses(rest) or _IT_IS_NOT.search(rest):
        return True
    if inner(rest, choices, free=True) - named:
        return True
    for index, start, end in spans(rest, choices):
        set_aside = denied_part(rest, start, end, number=False) or (index not in named and _WOULD.match(rest[end:]))
        if bool(set_aside) is (index in named):
            return True
    return False


def _plain(text: str, choices: Sequence[str]) -> Reading | None:
    """Read a text that is a choice with at most articles and the like around it; None for any other text."""
    if (indexes := same(text, choices)) is not None:
        return Reading(named=indexes, how="text")
    label, rest = leading(_bare(text))
    if label and not core(rest):
        index = labelled(label, choices)
        if index is None or stands_for_other(label, index, choices):
            return None
        return Reading(frozenset({index}), "label")
    mentions = spans(text, choices)
    named = frozenset(index for index, _, _ in mentions)
    left = without(text, [(start, end) for _, start, end in mentions])
    plain = len(named) == 1 and _FILLER.fullmatch(left) and not negates(left)
    return Reading(named, "text") if plain and not stray_label(text, mentions, named, choices) else None


def _bare(text: str) -> str:
    return unicodedata.normalize("NFKC", _EMPHASIS.sub("", text)).strip()


def _last_paragraph(reply: str, choices: Sequence[str]) -> Reading | None:
    """Read a last paragraph that is a choice or a letter alone, after prose or after a list of all the choices."""
    *before, last = reply.rsplit("\n\n", 1)
    lines = [line for line in "".join(before).splitlines() if line.strip()]
    if not lines or lines[-1].rstrip("*_ ").endswith(":") or "\n" in last.strip():
        return None
    alone = [reading.named for line in lines[-50:] if (reading := _line_of_list(line, choices))]
    if alone and len(frozenset().union(*alone)) < len(choices):
        return None
    if unfinished(last) or (not alone and unfinished("\n".join(lines)[-2000:])):
        return None
    return _plain(last, choices)


def _line_of_list(line: str, choices: Sequence[str]) -> Reading | None:
    bare = _bare(line.lstrip("-•*> "))
    return _plain(leading(bare)[1], choices) or _plain(bare, choices)


# By label


def _with_label(index: int, rest: str, label: str, choices: Sequence[str], *, free: bool) -> Reading:
    """Read a label and the rest after it: the same choice in words, another one, more labels, or an explanation."""
    rest = without_denied(rest, label)
    exact = same(rest, choices)
    text = exact or (led(rest, choices) | mentioned(rest, choices, free=True, prose=False).named)
    if text:
        agrees = {choices[i] for i in text} == {choices[index]}
        doubt = "" if exact else _doubt(rest, choices, index)
        return Reading(named=text, how="label and text", refused=doubt if agrees else "label against text")
    if free and "\n" in rest.strip() and not rest.startswith("\n"):
        return Reading(refused="no choice named")  # This is the first line of a list or a story.
    if doubt := _doubt(rest, choices, index):
        return Reading(refused=doubt)
    if stands_for_other(label, index, choices):
        return Reading(refused="label or text")
    return Reading(named=frozenset({index}), how="label")


def _doubt(rest: str, choices: Sequence[str], index: int) -> str:
    """Return why the rest after a label cancels it, or `""`."""
    if lone(rest, choices) - {index} or lists(rest):
        return "several choices"
    if refuses(rest):
        return "refused"
    cuts = [(start, end) for place, start, end in spans(rest, choices) if place == index]
    head, _ = explained(without(rest, cuts))
    return "negated" if negates(head) and not led(rest, choices) else ""
