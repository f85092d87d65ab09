"""The log of a judge, `judge.jsonl`: what it was asked and its replies, as a hash chain that only grows.

Its first line is the judge: the model, its parameters, and the prompt's text and digest; each other line is one call
with the reply as the model gave it. A reply belongs to an item, a call and the digest of the messages, so it counts for
no other answer, reasoning or criteria than those that the judge was asked about.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
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
    """One criterion of an item's rubric; `choices` are the scores that it allows."""

    name: str
    scoring_point: str
    choices: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What a judge sees of one item: the gold `answer` and `thinking`, and the `response` that it judges."""

    item: str
    question: str
    answer: str
    thinking: str
    criteria: tuple[Criterion, ...]
    response: str


class Judge(Record, frozen=True, kw_only=True):
    """The first line of the log: the model and the prompt, and the session that began the log."""

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
        """The template of the prompt."""
        return Template(name=self.template, text=self.text)


class Judgement(Record, frozen=True, kw_only=True):
    """One call: `prompt` is the digest of the messages, `seconds` its duration, `at` when it ended (UTC)."""

    item: str
    call: int
    prompt: str
    result: Completion | Failure
    seconds: float
    at: str
    params: Params = msgspec.field(default_factory=dict)


Replies = Mapping[tuple[str, int, str], Judgement]  # by item, call and the digest of the messages


def new_judge(llm: LLMSpec, template: Template, session: Session) -> Judge:
    """Return the judge of a new log."""
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


def judge_prompt(template: Template, case: Case) -> Prompt:
    """Return the messages for one item; `order` are a best and a worst reply, of which the model `fake` gives one."""
    criteria, best, worst = [], [], []
    for number, criterion in enumerate(case.criteria, 1):
        allowed = ", ".join(f"{choice:g}" for choice in criterion.choices)
        criteria.append(f"{number}. {criterion.name}\n   {criterion.scoring_point}\n   Allowed scores: {allowed}")
        best.append({"name": criterion.name, "score": max(criterion.choices)})
        worst.append({"name": criterion.name, "score": min(criterion.choices)})
    fields = {
        "question": case.question,
        "answer": case.answer,
        "thinking": case.thinking,
        "criteria": "\n".join(criteria),
        "response": case.response,
    }
    return Prompt(
        messages=templates.fill(template, fields),
        order=tuple(jsonl.dumps({"scores": scores}) for scores in (best, worst)),
    )


@contextmanager
def open_judge_log(folder: Path, wanted: Judge) -> Iterator[RecordLog]:
    """Open a folder's log to append to, locked for this process; begin a new one with the judge.

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
    """Raise RunError where the folder's log is by another judge (model or prompt) than `wanted`."""
    if not has_judge(folder):
        return
    judge, _ = read_judge_log(folder)
    if judge.llm == wanted.llm and judge.text == wanted.text:
        return
    values = {
        "model": (judge.llm.model, wanted.llm.model),
        "parameters": (dict(judge.llm.params), dict(wanted.llm.params)),
        "prompt": (judge.template_digest, wanted.template_digest),
    }
    differences = "; ".join(f"{name}: {old} there, {new} here" for name, (old, new) in values.items() if old != new)
    raise RunError(f"{folder / FILE} is by another judge ({differences}); give --out another folder")


def has_judge(folder: Path) -> bool:
    """Return whether the folder has a log with at least a judge in it."""
    file = folder / FILE
    return file.exists() and next(jsonl.read(file, growing=True), None) is not None


def read_judge_log(folder: Path) -> tuple[Judge, Replies]:
    """Return the judge, and the last reply of each call. Raises RunError, with file and line, for a damaged log."""
    file = folder / FILE
    lines = _lines(file)
    first = next(lines, None)
    if first is None:
        raise RunError(f"{file}: there is no judge in it yet; give --judge MODEL")
    judge = record(Judge, file, *first)
    if judge.format != _FORMAT:
        raise RunError(f"{file} has format {judge.format}, this cascade reads {_FORMAT}: use the one that made it")
    judgements = (record(Judgement, file, *line) for line in lines)
    return judge, {(judgement.item, judgement.call, judgement.prompt): judgement for judgement in judgements}


def judge_cost(folder: Path) -> float:
    """Return the known cost of all calls in the log, in US dollars, including those that were made again."""
    if not has_judge(folder):
        return 0.0
    file = folder / FILE
    calls = islice(_lines(file), 1, None)
    return sum(record(Judgement, file, *line).result.cost or 0.0 for line in calls)


def _lines(file: Path) -> Iterator[tuple[int, bytes]]:
    if not file.exists():
        raise RunError(f"{file}: nothing was judged here yet; give --judge MODEL")
    return jsonl.lines(file, growing=True)
