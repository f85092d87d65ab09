"""A second reader: a model that says which choice a reply gives, where the rules read none in it.

It is shown the reply without its thoughts, of a long one the end alone, and the choices in the order in which they were
shown to the model that replied; never the question, the captions or the gold answer. A reply that was cut at its token
limit, or has no text, is not asked about. A reading by the rules is never replaced: a separate column combines
both.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from cascade.io.digests import digest
from cascade.io.jsonl import OMITTED
from cascade.io.terminal import quantity
from cascade.prompting import evidence, templates
from cascade.prompting.templates import Template
from cascade.prompting.thinking import without_thoughts
from cascade.runs import costs
from cascade.runs.call_log import Inquiry, Question, Replies, SecondModel
from cascade.runs.served import Served, count_served
from cascade.types import Answer, Choice, Completion, Item, Prompt, RunSpec

LONGEST = 8000  # characters of a reply, from its end: models state their answer there
_CUT = "[the beginning is left out]\n"
_EDGE = " \t*_`"  # white space and emphasis around an answer
_CLOSING = re.compile(r"<\|[a-z_]{1,20}\|>|</s>")
_ANSWER = re.compile(rf"[{_EDGE}]*answer[{_EDGE}]*:(.*)", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownReply:
    """A reply as the reader is shown it, and its choices in their order."""

    item: str
    sample: int
    text: str
    choices: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Readings:
    """How many of the replies the rules read, how many more the `reader` (a model), and what became of the rest.

    `none`: the reader says that the reply gives no choice. `unreadable` and `failed` calls have no reading and are made
    again by the same command. Of the replies that are `not_asked`, `cut` ones were cut at the token limit or have no
    text beside thoughts; the others are still to be asked about.
    `tokens` and `cost` (US dollars; None is unknown) are those of the log, `served` says who answered.
    """

    model: str
    replies: int
    rules: int
    reader: int
    none: int
    unreadable: int
    failed: int
    not_asked: int
    cut: int
    tokens: Mapping[str, int]
    cost: float | None
    served: tuple[Served, ...] | None = field(default=None, metadata=OMITTED)

    @property
    def name(self) -> str:
        """The model without the digest of its file."""
        return self.model.split("@")[0]

    @property
    def column(self) -> str:
        """The name of the score by the combined readings."""
        return f"mmar read by {self.name}"

    def counts(self) -> dict[str, int]:
        """Return the counts by their names."""
        by_whom = {"read by rules": self.rules, f"read by {self.name}": self.reader, f"none by {self.name}": self.none}
        left = {"still to ask": self.not_asked - self.cut, "cut or empty": self.cut}
        return {**by_whom, **left, "calls failed": self.failed, "unreadable": self.unreadable}

    def __str__(self) -> str:
        text = f"read by rules {self.rules} of {self.replies}, by {self.name} {self.reader} more"
        text += f", {self.none} none, {self.cut} cut or empty"
        if self.not_asked > self.cut:
            text += f", {self.not_asked - self.cut} still to ask"
        if self.failed or self.unreadable:
            text += f", {quantity(self.failed, 'call')} failed, {quantity(self.unreadable, 'reading')} unreadable"
        return text


def show_reply(item: str, sample: int, reply: str, choices: Sequence[str]) -> ShownReply:
    """Return a reply as the reader is shown it; its text is `""` where nothing but thoughts is in it."""
    # A lone surrogate, as of a text that was cut, cannot be sent.
    text = without_thoughts(reply).encode("utf-8", "replace").decode().strip()
    if len(text) > LONGEST:
        text = _CUT + text[-LONGEST:]
    return ShownReply(item=item, sample=sample, text=text, choices=tuple(choices))


def show_replies(spec: RunSpec, items: Iterable[Item], answers: Iterable[Answer]) -> Iterator[ShownReply]:
    """Yield the replies of a run as a reader is shown them, with the choices in the order that the model saw."""
    known = {item.id: item for item in items}
    for answer in answers:
        if answer.item in known and isinstance(answer.result, Completion):
            item = known[answer.item]
            order = evidence.order_choices(item.choices, item.id, spec.prompt.order_seed, answer.sample)
            yield show_reply(item.id, answer.sample, answer.result.text, order)


def inquiry(replies: Sequence[ShownReply]) -> Inquiry[str]:
    """Return what a reader is asked: a call about each reply, which gives a choice, or `""` for none."""
    choices = {(reply.item, reply.sample): reply.choices for reply in replies}

    def questions(template: Template) -> list[Question]:
        asked = []
        for reply in replies:
            prompt = reader_prompt(template, reply)
            asked.append(Question(reply.item, reply.sample, prompt, evidence.prompt_digest(prompt)))
        return asked

    return Inquiry(questions, lambda question, reply: read_choice(reply, choices[question.item, question.call]))


def reader_prompt(template: Template, reply: ShownReply) -> Prompt:
    """Return the messages about one reply.

    The mark around the reply is a digest of it, so that no reply can hold its own mark. `order` are the answers of
    which the model `fake` gives one.
    """
    listed = _listed(reply.choices)
    fields = {"choices": "\n".join(listed), "mark": digest(reply.text).removeprefix("b2:")[:16], "reply": reply.text}
    return Prompt(messages=templates.fill(template, fields), order=(*listed, "none"))


def _listed(choices: Sequence[str]) -> list[str]:
    """Return the choices, each after a letter; after a number where there are more than letters."""
    names = "ABCDEFGHIJKLMNOPQRSTUVWXYZ" if len(choices) <= 26 else range(1, len(choices) + 1)
    return [f"{name}. {choice}" for name, choice in zip(names, choices, strict=False)]


def _bare(text: str) -> str:
    """Return a text on one line, without the white space and the emphasis around it."""
    return " ".join(text.split()).strip(_EDGE)


def read_choice(reply: Completion, choices: Sequence[str]) -> str:
    """Return the choice that the last line of a reader's reply names, or `""` for `none`.

    A choice is copied whole, with its letter or without; case, emphasis and outer white space do not count. Raises
    ValueError, with the reason, for any other reply.
    """
    if reply.is_cut:
        raise ValueError(reply.cut_where)
    lines = _CLOSING.sub("", without_thoughts(reply.text)).strip().splitlines()
    match = _ANSWER.fullmatch(lines[-1]) if lines else None
    if match is None:
        raise ValueError("the last line is no answer line")
    answer = _bare(match[1])
    bare = list(map(_bare, choices))
    if answer.rstrip(".").casefold() == "none":
        if "none" in (text.casefold() for text in bare):
            raise ValueError("the answer is none and a choice, too")
        return ""
    for fold in (str, str.casefold):
        named = set()
        for choice, text, line in zip(choices, bare, _listed(bare), strict=True):
            if fold(answer).rstrip(".") in (fold(text).rstrip("."), fold(line).rstrip(".")):
                named.add(choice)
        if len(named) == 1:
            return named.pop()
    raise ValueError("the answer is not one of the choices")


def combine(
    rules: Mapping[str, Mapping[int, Choice]], replies: Sequence[ShownReply], model: SecondModel, logged: Replies
) -> tuple[Readings, dict[str, dict[int, Choice]]]:
    """Return the counts, and the choice of each item and sample: the rules', or else the reader's in its log.

    `replies` are those that the rules leave unread.
    """
    name = model.llm.model.split("@")[0]
    counts: Counter[str] = Counter()
    combined = {item: dict(choices) for item, choices in rules.items()}
    for question, result in inquiry(replies).results(model, logged):
        choice = result.value or ""
        kind = result.kind
        if kind == "read":
            kind = "reader" if choice else "none"
        counts[kind] += 1
        how = f"{name}: {choice or result.reason or 'none'}"
        combined[question.item][question.call] = Choice(text=choice, how=how)
    total = sum(map(len, rules.values()))
    read = sum(bool(choice.text) for choices in rules.values() for choice in choices.values())
    cut = total - read - sum(counts.values())
    sent = [call.result for call in logged.values()]
    readings = Readings(
        model=model.llm.model,
        replies=total,
        rules=read,
        reader=counts["reader"],
        none=counts["none"],
        unreadable=counts["unreadable"],
        failed=counts["failed"],
        not_asked=cut + counts["missing"],
        cut=cut,
        tokens=costs.total_tokens(sent, ("input", "output")),
        cost=costs.total_cost(sent),
        served=count_served(logged.values()) or None,
    )
    return readings, combined
