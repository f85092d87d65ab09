"""Mentions: choices whose words stand in a segment of text, and labels inside it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from cascade.scoring.extraction.labels import inner, lone, weighed
from cascade.scoring.extraction.negation import (
    CLAUSE_END,
    denied_part,
    explained,
    helpless,
    negates,
    negates_elsewhere,
    not_only,
    open_ended,
    presented,
    refuses,
    stands_alone,
    unfinished,
)
from cascade.scoring.extraction.words import Span, core, is_number, spans, tokens, without

# Words of any sentence, which name a choice only as a clause of their own ("No, he does not.").
_COMMON = frozenset(
    {"yes", "no", "true", "false", "none", "unknown", "one", "two", "both", "all", "not", "and", "or"}
    | {"a", "an", "the", "i", "he", "she", "it", "they", "we", "you"}
)
SHORT = 300  # characters of prose in which a mention is an answer: longer prose weighs choices, or is cut
_NUMBERED = re.compile(r"no\.?\s*\d", re.IGNORECASE)
_LISTING = re.compile(r"(?::|(?<!\w)\w[.)])\s*$")
_SENTENCES = re.compile(r"(?<=[.!?])\s+|\n+|(?<=[。！？])")


@dataclass(frozen=True, slots=True)
class Reading:
    """The indexes of the choices that a segment names, by which rule (`how`), and why it is no answer (`refused`)."""

    named: frozenset[int] = frozenset()
    how: str = ""
    refused: str = ""


def led(segment: str, choices: Sequence[str]) -> frozenset[int]:
    """Return the choice that is the first clause of the segment ("No, he does not."), unless a colon follows."""
    head = CLAUSE_END.split(segment[:500], maxsplit=1)[0]
    first = "" if segment[len(head) :].startswith(":") else core(head)
    return frozenset(index for index, choice in enumerate(choices) if first and core(choice) == first)


def mentioned(segment: str, choices: Sequence[str], *, free: bool, prose: bool = True) -> Reading:
    """Read the choices whose words stand in the segment in order, and the labels in it (`(B)`, `option 2`).

    A word of any sentence names no choice, but it counts as another choice beside a named one.
    """
    segment = _kept(segment, choices)
    everything = spans(segment, choices)
    telling = [span for span in everything if tells(tokens(choices[span[0]]), free=free)]
    labels = inner(segment, choices, free=free)
    first = led(segment, choices)
    texts = frozenset(index for index, _, _ in telling) | first
    if free and prose and weighed(segment):
        return Reading(refused="only in passing")
    if not texts | labels:
        return Reading(refused="refused" if refuses(segment) else "")
    named = {index for index, _, _ in everything} | texts | labels
    if len({choices[index] for index in named | _longer(segment, texts, choices)}) > 1:
        clash = len(texts) == 1 and len(labels) == 1
        return Reading(named=texts | labels, refused="label against text" if clash else "several choices")
    if doubt := _denial(segment, telling, choices, free=free and not labels, led=bool(first)):
        return Reading(refused=doubt)
    if free and prose and (doubt := _loose(segment, telling, labels | first)):
        return Reading(refused=doubt)
    if not free and prose and not first and any(_in_phrase(segment, span, choices) for span in telling):
        return Reading(refused="only in passing")
    if texts and prose and stray_label(segment, telling, texts, choices):
        return Reading(named=texts, refused="label against text")
    return Reading(named=texts | labels, how="mention" if texts else "label")


def _kept(segment: str, choices: Sequence[str]) -> str:
    """Return the segment without the choices that it denies beside another one."""
    mentions = spans(segment, choices)
    if len({choices[index] for index, _, _ in mentions}) < 2 or not_only(segment):
        return segment
    return without(
        segment, [part for _, start, end in mentions if (part := denied_part(segment, start, end, number=False))]
    )


def _denied(segment: str, span: Span, choices: Sequence[str]) -> tuple[int, int] | None:
    index, start, end = span
    return denied_part(segment, start, end, number=any(map(is_number, tokens(choices[index])[:1])))


def _longer(segment: str, texts: frozenset[int], choices: Sequence[str]) -> frozenset[int]:
    """Return choices whose words are all there and include those of a named choice: "the horn of a car"."""
    bags = [frozenset(tokens(choice)) for choice in choices]
    if not any(bags[index] < bag for index in texts for bag in bags):
        return frozenset()
    words = frozenset(tokens(segment))
    return frozenset(i for i, bag in enumerate(bags) if bag <= words and any(bags[index] < bag for index in texts))


def _denial(segment: str, mentions: Sequence[Span], choices: Sequence[str], *, free: bool, led: bool) -> str:
    """Return why the segment refuses to answer or denies its mentions, or `""`; an answer line denies by any "no"."""
    left = without(segment, [(start, end) for _, start, end in mentions])
    if led and not mentions:
        return "refused" if helpless(left) or "?" in left or _NUMBERED.match(left) else ""
    if any(open_ended(segment[end : end + 20]) for _, _, end in mentions):
        return "several choices"
    if refuses(left):
        return "refused"
    if negates_elsewhere(left) or (negates(left) and not (free or not negates(explained(left)[0]))):
        return "negated"
    return "negated" if any(_denied(segment, span, choices) for span in mentions) else ""


def _loose(segment: str, mentions: Sequence[Span], labels: frozenset[int]) -> str:
    """Return why a mention in prose is no answer, or `""`: too long, a plan, cut, or not in the last sentence."""
    if len(segment) > SHORT or unfinished(segment):
        return "unfinished"
    last = [part for part in _SENTENCES.split(segment) if any(char.isalnum() for char in part)][-1:]
    at = segment.rfind(last[0]) if last else 0
    if not labels and _LISTING.search(segment[max(0, at - 10) : at]):
        return "unfinished"
    presents = any(
        start >= at and stands_alone(segment[end : end + 40]) and presented(segment[at:start], segment[end : end + 40])
        for _, start, end in mentions
    )
    return "" if labels or presents else "only in passing"


def _in_phrase(segment: str, span: Span, choices: Sequence[str]) -> bool:
    """Return whether a mention may be part of a longer phrase: "a car alarm", "dog, bell, then dog"."""
    index, start, end = span
    words = frozenset[str]().union(*map(tokens, choices)) - _COMMON - {"in", "on", "at", "to", "of", "from", "is"}
    before = tokens(segment[max(0, start - 80) : start])
    alone = len(tokens(choices[index])) > 1 or stands_alone(segment[end : end + 40])
    return not alone or any(word in words for word in before if not is_number(word) or len(choices[index]) > 3)


def stray_label(segment: str, mentions: Sequence[Span], texts: frozenset[int], choices: Sequence[str]) -> bool:
    """Return whether a letter in the segment labels another choice than the text names: "the cello, so A"."""
    left = without(segment, [(start, end) for _, start, end in mentions], " x ")  # "A x" is no label.
    return bool(lone(left, choices) - texts - {None})


def tells(words: Sequence[str], *, free: bool) -> bool:
    """Return whether these words can name a choice in a sentence: no lone common word, in a whole reply no number."""
    word = words[0]
    if len(words) > 1:
        return True
    return word not in _COMMON and not (free and (word.isdigit() or (len(word) == 1 and word.isascii())))
