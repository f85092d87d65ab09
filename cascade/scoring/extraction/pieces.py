"""What a piece of a reply names: a choice, a label, a label with its choice, or a sentence that holds one choice."""

from __future__ import annotations

import re

from cascade.scoring.extraction.choices import Choices, any_of, unwrap
from cascade.types import Choice

SHORT = 300  # characters of a sentence, or a reply, in which a mention counts
_LABEL = re.compile(
    r"((?i:option|choice|letter|选项)\s?:?\s?[(\[]?|[(\[]\s?)?(?:([A-Z])(?=\s{0,3}(?:[).:,;、。!\]\n—→=<【]|$)"
    r"|\s{1,3}(?:[-–(]|(?:because|since|as|is|and|or)\b)|选项|项|[\u4e00-\u9fff])|([a-z])(?=[).:\]]|\s{0,3}$))"
)
INNER_LABEL = re.compile(r"(?<![^\W_])([(\[]|(?:[Oo]ption|[Cc]hoice|answer|is|be):?\s?\(?)?[A-Z](?=[).:\]\s]|$)")
_MORE_LABELS = re.compile(r"[)\]]?\s{0,2}(?:,|、|and|or|&|/)\s{0,2}(?:and |or )?\(?(?!I\s|A\s[a-z])[A-Z](?![^\W_])")
_SEPARATOR = re.compile(r"(?:(?:or|which is|i\.e\.,?)\s|[\s).:,;\]、。–—=→>']|-(?!\s?[\d.]))*")
SENTENCE_END = re.compile(r"(?<=[.!?])(?:\s|(?=[A-Z][a-z]))|(?<=。)|\n")
_BOUNDARY = re.compile(r"\s*(?:$|:(?!\s?\d)|[.,;!)\]\n'(—–。]|-\s|(?:because|since|as|is|was|which|due)\b)")
_ENGLISH = any_of("the this that there it he she they we i is are was were sounds")
TAKEN_BACK = re.compile(
    r"(?i)(?:^|[.!?\n,])[\s*]{0,3}(?:no|(?:no )?wait|actually|oops|hmm+|correction|update|edit)(?=[,:.!])"
    r"|\b(?:I meant|I retract|scratch that|second thought|actually no|hold on|re-?consider\w*"
    r"|let me (?:double|re)\W?(?:check|think))\b"
)
THOUGHT = re.compile(r"(?i)(?:okay|ok|alright|hmm+|let me|let's|so,? i)\b")
CONCLUSION = any_of("correct answer best most right likely fits matches aligns conclude choose therefore thus so hence")
_THEREFORE = any_of("therefore thus hence conclude")
DENIAL = any_of(
    r"not \w+n't no never neither nor none nobody nothing cannot unable without except unlike instead rather incorrect"
    r" wrong unlikely hardly either absent lack\w* fails? less (?<!at\s)least opposite false eliminat\w+ exclud\w+"
    r" reject\w* rule[ds]?_out whether unless although let consider doubt unclear impossible"
)
HYPOTHESIS = re.compile(r"(?i)\b(?:if|unless)\b.*\bwould\b|\bwould\b.*\b(?:if|unless)\b")
_REFUSAL = any_of("unable unclear cannot can't impossible would_need")
_DENIED_AFTER = re.compile(
    r"[')\]:]{0,3}\s{0,2}(?:(?:is|are|was|would be)\s(?:\w+\s){0,5}(?:not|incorrect|wrong|unlikely"
    r"|implausible|ruled out|eliminated|excluded|less|least)|isn't)\b"
    r"|[^.,;]{0,8}\swould (?!be|fit)|[\s(]{0,2}(?:rejected|[❌✗?])|[.,]?\s?(?:I|we) (?:can|am|do)|\w{0,4}[不错非]"
)
# Words beside a mention that make it one of several, or a part of another value or phrase ("K-pop", "happy to help").
_BEFORE = re.compile(r"(?i)(?:\b(?:or|and|than|between|over|under|at least|at most)\s(?:an?\s|the\s)?|\w-)$")
_AFTER = re.compile(r"\s+(?:or|to (?:help|assist))\b|-|\s?[-+/*=^∧∨]\s?\w|[^.,]{0,20}\bwould\b")


def read_label(text: str, choices: Choices) -> Choice | None:
    """Read a label at the start by what follows it: nothing, its choice, another value, more labels, a reason."""
    match = _LABEL.match(text)
    letter = match[2] or match[3] if match else ""
    own = choices.labels.get(letter.upper())
    if match is None or not own:
        return None
    rest = _SEPARATOR.sub("", text[match.end() :], count=1)
    named, (lead, end) = choices.equal(rest.split("\n")[0]), choices.leading(rest)
    bare = choices.equal(rest) != "" if named else not any(map(str.isalnum, rest))
    if not named and lead and _BOUNDARY.match(rest, end):
        named = lead
    reasons = {
        "several choices": _MORE_LABELS.match(text, match.end()),
        "label against text": named not in ("", own),
        "denied": not bare and _DENIED_AFTER.match(rest, end if named else 0),
        "label or text": not named and not match[1] and choices.abbreviates(letter, own),
        "label with another value": not named and not CONCLUSION.search(rest) and choices.is_other_value(own, rest),
    }
    for reason, holds in reasons.items():
        if holds:
            return Choice(text="", how=reason)
    how = "label and text" if named else "label"
    return Choice(text=own, how=how if bare else f"{how}, explained")


def conclusion(text: str) -> str:
    """Return the sentence of a text that concludes and denies nothing, its last or one with "Therefore", or `""`."""
    sentences = SENTENCE_END.split(text[-2000:])
    final = [sentence for sentence in sentences if _THEREFORE.search(sentence)][-1:] + sentences[-1:]
    concluding = [sentence for sentence in final if CONCLUSION.search(sentence) and not DENIAL.search(sentence)]
    return concluding[-1] if concluding else ""


def read_alone(text: str, choices: Choices) -> Choice | None:
    """Read a text that is nothing but a choice, a label, or a label with its choice."""
    text = unwrap(text).strip("<>")
    # A prompt may show no labels, so that "A" is the choice "A".
    label = None if text in choices.plain.values() else read_label(text, choices)
    if label and label.how in ("label", "label or text", "label and text", "label against text"):
        return label
    choice = choices.equal(text)
    doubted = text.endswith(("?", "❌", "✗")) and not choice.endswith(text[-1:])
    return Choice(text=choice, how="text") if choice and not doubted else None


def read_value(text: str, choices: Choices, *, whole: bool = False) -> Choice:
    """Read what a marked text names; a choice must be the `whole` of a formula."""
    text = unwrap(text).lstrip(":= ")
    if alone := read_alone(text, choices):
        return alone
    sentence = SENTENCE_END.split(text, maxsplit=1)[0][: 2 * SHORT]
    lead, end = choices.leading(text)
    if lead and _BOUNDARY.match(text, end) and not whole:
        named = {choice for choice, _, _ in choices.mentions(sentence)}
        claim = re.split(r"\b(?:because|since|as)\b", sentence[end:], maxsplit=1)[0]
        if _DENIED_AFTER.match(claim) or (lead in named and DENIAL.search(claim)):
            return Choice(text="", how="denied")
        labels = [match[0][-1] for match in INNER_LABEL.finditer(sentence, end) if match[1]]
        named |= {choices.labels.get(label, lead) for label in labels}
        return Choice(text="", how="several choices") if named - {lead} else Choice(text=lead, how="text")
    if label := read_label(text, choices):
        return label
    return Choice(text="", how="no choice named") if whole else read_mention(sentence, choices)


def read_mention(text: str, choices: Choices) -> Choice:
    """Read a short English text that holds exactly one choice, and no word beside it that denies, asks or weighs."""
    mentions = choices.mentions(text) if len(text) <= SHORT else []
    beside = any(_BEFORE.search(text[:start]) or _AFTER.match(text, end) for _, start, end in mentions)
    named = {choice for choice, _, _ in mentions}
    if len(named) > 1 or beside or any(choices.has_other_number(choice, text) for choice in named):
        return Choice(text="", how="several choices")
    if not named or not _ENGLISH.search(text):
        return Choice(text="", how="no choice named")
    rest = text
    for _, start, end in mentions:
        rest = rest[:start] + "\0" * (end - start) + rest[end:]
    sentences = re.split(r"(?<=[.!?])\s", rest)
    claims = [sentence for sentence in sentences if "\0" in sentence or _REFUSAL.search(sentence)]
    denied = any("?" in claim or DENIAL.search(claim) or HYPOTHESIS.search(claim) for claim in claims)
    return Choice(text="", how="denied or weighed") if denied else Choice(text=named.pop(), how="mention")
