"""What a piece of a reply names: a choice, a label, a label with its choice, or a sentence that holds one choice."""

from __future__ import annotations

import re
from typing import NamedTuple

from cascade.scoring.extraction.choices import Choices, Mention, any_of, unwrap
from cascade.scoring.extraction.marks import HYPOTHESIS

SHORT = 300  # characters of a sentence, or a reply, in which a mention counts
_LABEL = re.compile(
    r"((?i:option|choice|letter|选项)\s?:?\s?[(\[]?|[(\[]\s?)?(?:([A-Z])(?=\s{0,3}(?:[).:,;、。!\]\n—→=<【]|$)"
    r"|\s{1,3}(?:[-–(]|(?:because|since|as|is|and|or)\b)|选项|项|[\u4e00-\u9fff])|([a-z])(?=[).:\]]|\s{0,3}$))"
)
INNER_LABEL = re.compile(r"(?<![^\W_])([(\[]|(?:[Oo]ption|[Cc]hoice|answer|is|be):?\s?\(?)?[A-Z](?=[).:\]\s]|$)")
_MORE_LABELS = re.compile(r"[)\]]?\s{0,2}(?:,|、|and|or|&|/)\s{0,2}(?:and |or )?\(?(?!I\s|A\s[a-z])[A-Z](?![^\W_])")
_SEPARATOR = re.compile(r"(?:(?:or|which is|i\.e\.,?)\s|[\s).:,;\]、。–—=→>']|-(?!\s?[\d.]))*")
SENTENCE_END = re.compile(r"(?<=[.!?])(?:\s|(?=[A-Z][a-z]))|(?<=。)|\n")
_BOUNDARY = re.compile(r"\s*(?:$|[.,;:!)\]\n'(—–。]|-\s|(?:because|since|as|is|was|which|due)\b)")
_ENGLISH = any_of("the this that there it he she they we i is are was were sounds")
CONCLUSION = any_of("correct answer best most right likely fits matches conclude choose therefore thus so hence")
DENIAL = any_of(
    r"not \w+n't no never neither nor none nobody nothing cannot unable without except unlike instead rather incorrect"
    r" wrong unlikely hardly either absent lack\w* fails? less (?<!at\s)least opposite false eliminat\w+ exclud\w+"
    r" reject\w* rule[ds]?_out whether unless although let consider doubt unclear impossible"
)
_REFUSAL = any_of("unable unclear cannot can't impossible would_need")
_DENIED_AFTER = re.compile(
    r"[')\]:]{0,3}\s{0,2}(?:(?:is|are|was|would be)\s(?:\w+\s){0,5}(?:not|incorrect|wrong|unlikely"
    r"|implausible|ruled out|eliminated|excluded|less|least)|isn't)\b"
    r"|[\s(]{0,2}(?:rejected|[❌✗?])|[.,]?\s?(?:I|we) (?:can|am|do)|\w{0,4}[不错非]"
)
# Words beside a mention that make it one of several, or a part of another value or phrase ("K-pop", "happy to help").
_BEFORE = re.compile(r"(?i)(?:\b(?:or|and|than|between|over|under|at least|at most)\s(?:an?\s|the\s)?|\w-)$")
_AFTER = re.compile(r"\s+(?:or|to)\b|-|\s?[-+/*=^]\s?\w|[^.,]{0,20}\bwould\b")


class Reading(NamedTuple):
    """The index of the choice that a text names, or None, and the rule or the reason."""

    choice: int | None
    how: str


def read_label(text: str, choices: Choices) -> Reading | None:
    """Read a label at the start by what follows it: nothing, its choice, another value, more labels, a reason."""
    match = _LABEL.match(text)
    letter = match[2] or match[3] if match else ""
    index = choices.labelled(letter) if letter else None
    if match is None or index is None:
        return None
    rest = _SEPARATOR.sub("", text[match.end() :], count=1)
    lead, named = choices.leading(rest), choices.equal(rest.split("\n")[0])
    bare = not any(map(str.isalnum, rest)) if named is None else choices.equal(rest) is not None
    if named is None and lead and _BOUNDARY.match(rest, lead.end):
        named = lead.choice
    reason = ""
    if _MORE_LABELS.match(text, match.end()):
        reason = "several choices"
    elif named not in (None, index):
        reason = "label against text"
    elif not bare and _DENIED_AFTER.match(rest, lead.end if lead and named is not None else 0):
        reason = "denied"
    elif named is None and not match[1] and choices.abbreviates(letter, index):
        reason = "label or text"
    elif named is None and not CONCLUSION.search(rest) and choices.is_other_value(index, rest):
        reason = "label with another value"
    how = "label" if named is None else "label and text"
    return Reading(None, reason) if reason else Reading(index, how if bare else f"{how}, explained")


def read_alone(text: str, choices: Choices) -> Reading | None:
    """Read a text that is nothing but a choice, a label, or a label with its choice."""
    text = unwrap(text).strip("<>")
    # A prompt may show no labels, so that "A" is the choice "A".
    label = None if choices.is_verbatim(text) else read_label(text, choices)
    if label and label.how in ("label", "label or text", "label and text", "label against text"):
        return label
    index = choices.equal(text)
    doubted = index is not None and text[-1:] in "?❌✗" and not choices.texts[index].endswith(text[-1:])
    return None if index is None or doubted else Reading(index, "text")


def read_value(text: str, choices: Choices, *, whole: bool = False) -> Reading:
    """Read what a marked text names; a choice must be the `whole` of a formula."""
    text = unwrap(text).lstrip(":= ")
    if alone := read_alone(text, choices):
        return alone
    lead = None if whole else choices.leading(text)
    if lead and _BOUNDARY.match(text, lead.end):
        doubt = _doubt(text, lead, choices)
        return Reading(None, doubt) if doubt else Reading(lead.choice, "text")
    if label := read_label(text, choices):
        return label
    return Reading(None, "no choice named") if whole else read_mention(SENTENCE_END.split(text, maxsplit=1)[0], choices)


def _doubt(text: str, lead: Mention, choices: Choices) -> str:
    """Return why the rest of its sentence cancels the choice that begins a text, or `""`."""
    sentence = SENTENCE_END.split(text, maxsplit=1)[0][: 2 * SHORT]
    named = [mention.choice for mention in choices.mentions(sentence)]
    claim = re.split(r"\b(?:because|since|as)\b", sentence[lead.end :], maxsplit=1)[0]
    if _DENIED_AFTER.match(claim) or (lead.choice in named and DENIAL.search(claim)):
        return "denied"
    labels = [choices.labelled(match[0][-1]) for match in INNER_LABEL.finditer(sentence, lead.end) if match[1]]
    return "" if {lead.choice, *named, *labels} <= {lead.choice, None} else "several choices"


def read_mention(text: str, choices: Choices) -> Reading:
    """Read a short English text that holds exactly one choice, and no word beside it that denies, asks or weighs."""
    mentions = choices.mentions(text) if len(text) <= SHORT else []
    beside = any(_BEFORE.search(text[:start]) or _AFTER.match(text, end) for _, start, end in mentions)
    several = len({mention.choice for mention in mentions}) > 1
    if several or beside or (mentions and choices.has_other_number(mentions[0].choice, text)):
        return Reading(None, "several choices")
    if not mentions or not _ENGLISH.search(text):
        return Reading(None, "no choice named")
    rest = text
    for _, start, end in mentions:
        rest = rest[:start] + "\0" * (end - start) + rest[end:]
    sentences = [sentence for sentence in re.split(r"(?<=[.!?])\s", rest) if "\0" in sentence]
    denied = _REFUSAL.search(rest) or any(
        "?" in sentence or DENIAL.search(sentence) or HYPOTHESIS.search(sentence) for sentence in sentences
    )
    return Reading(None, "denied or weighed") if denied else Reading(mentions[0].choice, "mention")
