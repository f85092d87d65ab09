"""What a judge was shown and what it said: `judge.jsonl`, a sealed log that only grows.

Its first line is the judge: the model, its parameters, and the prompt's text and digest; each other line is one call,
raw as the model gave it. What was said is found again by the item, the call and the digest of the messages, so that it
counts for the very answer, reasoning and criteria that it was said of and for no others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from cascade.errors import RunError
from cascade.io import jsonl
from cascade.io.jsonl import RecordLog, record
from cascade.prompting import templates
from cascade.prompting.templates import Template
from cascade.runs.provenance import Session, now
from cascade.types import Completion, Failure, LLMSpec, Params, Prompt, Record

FILE = "judge.jsonl"
CALLS = 5  # an item; arXiv 2602.14224
_FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Criterion:
    """One point of an item's rubric; `choices` are the scores that it allows."""

    name: str
    scoring_point: str
    choices: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What a judge is shown of one item: `answer` and `thinking` are the gold ones, `response` is what is judged."""

    item: str
    question: str
    answer: str
    thinking: str
    criteria: tuple[Criterion, ...]
    response: str


class Judge(Record, frozen=True, kw_only=True):
    """The first line of the log: who judges, by which prompt. `session` is the sitting that began it."""

    format: int
    llm: LLMSpec
    template: str
    template_digest: str
    text: str
    calls: int
    created: str
    session: Session

    @property
    def prompt(self) -> Template:
        """The prompt."""
        return Template(name=self.template, text=self.text)


class Judgement(Record, frozen=True, kw_only=True):
    """One call: `prompt` is the digest of the messages, `seconds` the time it took, `at` when it ended (UTC)."""

    item: str
    call: int
    prompt: str
    result: Completion | Failure
    seconds: float
    at: str
    params: Params = msgspec.field(default_factory=dict)


Replies = Mapping[tuple[str, int, str], Judgement]  # by item, call and the digest of the messages


def new_judge(llm: LLMSpec, template: Template, session: Session) -> Judge:
    """A new log's judge."""
    return Judge(
        format=_FORMAT,
        llm=llm,
        template=template.name,
        template_digest=template.digest,
        text=template.text,
        calls=CALLS,
        created=now(),
        session=session,
    )


# What is shown


def judge_prompt(template: Template, case: Case) -> Prompt:
    """The messages for one item. `order` are the ends of the scale as replies: the model `fake` gives one of them."""
    fields = {
        "question": case.question,
        "answer": case.answer,
        "thinking": case.thinking,
        "criteria": "\n".join(f"{place}. {_told(one)}" for place, one in enumerate(case.criteria, 1)),
        "response": case.response,
    }
    return Prompt(
        messages=templates.fill(template, fields),
        order=tuple(_reply(case.criteria, end) for end in (max, min)),
    )


def _told(one: Criterion) -> str:
    allowed = ", ".join(f"{choice:g}" for choice in one.choices)
    return f"{one.name}\n   {one.scoring_point}\n   Allowed scores: {allowed}"


def _reply(criteria: Sequence[Criterion], end: Callable[[Sequence[float]], float]) -> str:
    return jsonl.dumps({"scores": [{"name": one.name, "score": end(one.choices)} for one in criteria]})


# The log


@contextmanager
def open_judge_log(folder: Path, wanted: Judge) -> Iterator[RecordLog]:
    """The folder's log, to be appended to, locked for this process; a new one begins with the judge.

    Raises RunError where the log is another judge's, or another process is writing it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / FILE
    with jsonl.Appender(file) as appender:
        log = RecordLog(appender, file)
        if file.stat().st_size:
            check_same_judge(folder, wanted)
        else:
            log.append(wanted)
        yield log


def check_same_judge(folder: Path, wanted: Judge) -> None:
    """Raise RunError where the folder's log is by another judge, model or prompt, than `wanted`."""
    there = read_judge_log(folder)[0] if has_judge(folder) else wanted
    if there.llm == wanted.llm and there.text == wanted.text:
        return
    pairs = {
        "model": (there.llm.model, wanted.llm.model),
        "parameters": (dict(there.llm.params), dict(wanted.llm.params)),
        "prompt": (there.template_digest, wanted.template_digest),
    }
    other = "; ".join(f"{what}: {old} there, {new} here" for what, (old, new) in pairs.items() if old != new)
    raise RunError(f"{folder / FILE} is by another judge ({other}); give --out another folder")


def has_judge(folder: Path) -> bool:
    """Whether the folder has a log with at least a judge in it."""
    file = folder / FILE
    return file.exists() and next(jsonl.read(file, growing=True), None) is not None


def read_judge_log(folder: Path) -> tuple[Judge, Replies]:
    """The judge, and the last line of each call. Raises RunError, with file and line, for what cannot be read."""
    file = folder / FILE
    lines = _lines(file)
    head = next(lines, None)
    if head is None:
        raise RunError(f"{file}: there is no judge in it yet; give --judge MODEL")
    judge = record(Judge, file, *head)
    if judge.format != _FORMAT:
        raise RunError(f"{file} has format {judge.format}, this cascade reads {_FORMAT}: use the one of then")
    found = (record(Judgement, file, *line) for line in lines)
    return judge, {(one.item, one.call, one.prompt): one for one in found}


def judge_cost(folder: Path) -> float:
    """What all calls have cost together, in US dollars, where it is known; those that were tried again too."""
    calls = list(_lines(folder / FILE))[1:] if has_judge(folder) else []
    return sum(record(Judgement, folder / FILE, *line).result.cost or 0.0 for line in calls)


def _lines(file: Path) -> Iterator[tuple[int, bytes]]:
    if not file.exists():
        raise RunError(f"{file}: nothing was judged here yet; give --judge MODEL")
    return jsonl.lines(file, growing=True)
