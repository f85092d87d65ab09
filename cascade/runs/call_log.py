"""The log of a second model, `judge.jsonl` or `reader.jsonl`: its calls and replies, as a hash chain that only grows.

Its first line is the model, its parameters, and the prompt's text and digest; each other line is one call with the
reply as the model gave it. A reply belongs to an item, a call and the digest of the messages, so it counts for nothing
else than what the model was asked about.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from cascade.errors import RunError
from cascade.io import files, jsonl
from cascade.io.jsonl import RecordLog, record
from cascade.prompting import templates
from cascade.prompting.templates import Template
from cascade.runs import describe
from cascade.runs.costs import spent
from cascade.runs.directory import check_origin, check_seals
from cascade.runs.provenance import Session, now
from cascade.types import Completion, Failure, LLMSpec, Params, Prompt, Record, Repeats

JUDGE, READER = "judge", "reader"
_FORMAT = 1

T = TypeVar("T")


class SecondModel(Record, frozen=True, kw_only=True):
    """The first line of the log: the model and the prompt, `calls` an item, and the session that began the log."""

    format: int
    llm: LLMSpec
    template: str
    template_digest: str
    text: str
    calls: Repeats
    created: str
    session: Session

    @property
    def prompt(self) -> Template:
        """The template of the prompt."""
        return Template(name=self.template, text=self.text)


class LoggedCall(Record, frozen=True, kw_only=True):
    """One call: `prompt` is the digest of the messages, `seconds` its duration, `at` when it ended (UTC).

    `call` numbers a judge's calls about an item; for a reader it is the sample whose reply is read. `origin` is the
    address or the provider that was asked, where the model does not run here; logs of older versions have none.
    """

    item: str
    call: int
    prompt: str
    result: Completion | Failure
    seconds: float
    at: str
    params: Params = msgspec.field(default_factory=dict)
    origin: str | msgspec.UnsetType = msgspec.UNSET


Replies = Mapping[tuple[str, int, str], LoggedCall]  # by item, call and the digest of the messages


@dataclass(frozen=True, slots=True)
class Question:
    """What a second model is asked in one call; `digest` is that of the messages."""

    item: str
    call: int
    prompt: Prompt
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CallResult(Generic[T]):
    """What came of a call: `read`, with its value, or `unreadable`, `failed` or `missing`, with the reason."""

    kind: str
    value: T | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Inquiry(Generic[T]):
    """All that a second model is asked, by its prompt's template, and the value of a reply.

    `parse` raises ValueError, with the reason, for a reply that cannot be read. There are so many `calls` an item, with
    these `params`, whatever the model, unless the user sets them.
    """

    questions: Callable[[Template], list[Question]]
    parse: Callable[[Question, Completion], T]
    calls: int = 1
    params: Params = field(default_factory=dict)

    def results(self, model: SecondModel, replies: Replies) -> Iterator[tuple[Question, CallResult[T]]]:
        """Yield each question, in order, and what came of it."""
        for question in self.questions(model.prompt):
            call = replies.get((question.item, question.call, question.digest))
            result: CallResult[T]
            if call is None:
                result = CallResult(kind="missing", reason="not asked")
            elif isinstance(call.result, Failure):
                result = CallResult(kind="failed", reason=f"no reply: {call.result.kind}")
            else:
                try:
                    result = CallResult(kind="read", value=self.parse(question, call.result))
                except ValueError as error:
                    result = CallResult(kind="unreadable", reason=f"unreadable: {error}")
            yield question, result

    def left(self, model: SecondModel, replies: Replies) -> list[Question]:
        """Return the questions that have no readable reply yet, in order."""
        return [question for question, result in self.results(model, replies) if result.kind != "read"]


def new_model(llm: LLMSpec, template: Template, session: Session, calls: int) -> SecondModel:
    """Return the first line of a new log."""
    return SecondModel(
        format=_FORMAT,
        llm=llm,
        template=template.name,
        template_digest=template.digest,
        text=template.text,
        calls=calls,
        created=now(),
        session=session,
    )


@dataclass(frozen=True, slots=True)
class CallLog:
    """The log of a `JUDGE` or `READER` in a folder; neither need exist.

    `source` is the run or file that the log is about, if that is not the folder.
    """

    folder: Path
    role: str
    source: Path | None = None

    @property
    def file(self) -> Path:
        """The log's file."""
        return self.folder / f"{self.role}.jsonl"

    def exists(self) -> bool:
        """Return whether there is a log with at least a model in it."""
        return self.file.exists() and next(jsonl.read(self.file, growing=True), None) is not None

    def read(self) -> tuple[SecondModel, Replies]:
        """Return the model, and the last reply of each call. Raises RunError, with file and line, for a damaged log."""
        if not self.exists():
            raise RunError(f"{self.file}: no {self.role} was asked about this run yet; give --{self.role} MODEL")
        lines = jsonl.lines(self.file, growing=True)
        model = record(SecondModel, self.file, *next(lines))
        if model.format != _FORMAT:
            raise RunError(
                f"{self.file} has format {model.format}, this cascade reads {_FORMAT}: use the one that made it"
            )
        templates.check_template(model.prompt, f"{self.file}:1: the template {model.template!r}", self.role)
        calls = (record(LoggedCall, self.file, *line) for line in lines)
        return model, {(call.item, call.call, call.prompt): call for call in calls}

    def replies(self) -> Replies:
        """Return the last reply of each call; none where there is no log."""
        return self.read()[1] if self.exists() else {}

    def charges(self) -> Iterator[float | None]:
        """Yield what each call counts against a budget, as `spent` says, with those that were made again."""
        if self.exists():
            for line in islice(jsonl.lines(self.file, growing=True), 1, None):
                yield spent(record(LoggedCall, self.file, *line).result)

    @contextmanager
    def open(self, wanted: SecondModel, *, same_model: bool = False) -> Iterator[RecordLog]:
        """Open the log to append to, locked for this process; begin a new one with the model.

        A new log is removed where an error comes before the first reply. Raises RunError where the log was altered or
        is another model's or, without `same_model`, of another origin, or where another process is writing it.
        """
        for run in {self.folder, self.source or self.folder}:
            if (run / "run.json").exists():
                check_seals(run)  # No question is asked about answers that were changed after they were written.
        new_folders = files.make_folder(self.folder)
        with RecordLog(self.file) as log:
            is_new = self.file.stat().st_size == 0
            if is_new:
                log.append(wanted, is_result=False)
            else:
                self.check_same(wanted, same_model=same_model)
            try:
                yield log
            except BaseException:
                if is_new and not log.appended:
                    files.remove([self.file], new_folders)
                raise

    def check_same(self, wanted: SecondModel, *, same_model: bool = False) -> None:
        """Raise RunError where the log is by another model, or with another prompt, than `wanted`.

        Raises it for another origin, too, unless `same_model` says that both serve one model.
        """
        if not self.exists():
            return
        model, _ = self.read()
        if describe.same_model(model.llm, wanted.llm) and model.text == wanted.text:
            check_origin(self.file, model.llm, wanted.llm, same_model=same_model)
            return
        values = {
            "model": (model.llm.model, wanted.llm.model),
            "parameters": (dict(model.llm.params), dict(wanted.llm.params)),
            "prompt": (model.template_digest, wanted.template_digest),
        }
        differences = "; ".join(f"{name}: {old} there, {new} here" for name, (old, new) in values.items() if old != new)
        raise RunError(f"{self.file} is by another {self.role} ({differences}); give --out another folder")
