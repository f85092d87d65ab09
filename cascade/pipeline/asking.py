"""The questions put to a model: a bounded fan-out, one writer, and only what the log does not have yet."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, Protocol, TypeVar

from cascade.errors import ProviderStop, ReplyError, RunError
from cascade.io.jsonl import RecordLog
from cascade.io.progress import Track, silent
from cascade.llms import connect
from cascade.prompting import evidence
from cascade.prompting.templates import Template
from cascade.runs import directory
from cascade.runs.directory import Run
from cascade.runs.provenance import now
from cascade.types import (
    LLM,
    Answer,
    Caption,
    CaptionRecord,
    Completion,
    Execution,
    Failure,
    Item,
    LLMSpec,
    Params,
    Prompt,
    PromptSpec,
)

_SILENT = 12  # questions in a row without an answer, or as many as are in flight
_PASSING = frozenset({"connection", "timeout", "rate_limit", "server", "unreadable"})

Done = TypeVar("Done")


class Result(Protocol):
    """A record of a call: what came of it."""

    @property
    def result(self) -> Completion | Failure:
        """The reply, or why there is none."""


Asked = TypeVar("Asked")
Told = TypeVar("Told", bound=Result)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One sample of one item, ready to be asked; `failure` says why it cannot be, where a caption failed."""

    item: str
    sample: int
    prompt: Prompt
    captions: Mapping[str, str]
    failure: Failure | None = None


def ask(run: Run, heard: Sequence[CaptionRecord], log: RecordLog, execution: Execution, track: Track = silent) -> None:
    """Ask whatever the run's log has no completion for, and append each answer as it comes.

    Raises ProviderStop where the provider refuses every call; what was answered by then is in the log.
    """
    missing = remaining(run.path, run.items, run.spec.llm.samples)
    if not missing:
        return
    if execution.budget:
        execution.budget.count(run.path, directory.total_cost(run.path))
    template = Template(name=run.spec.prompt.template, text=run.manifest.template)
    shown = evidence.captions_shown({item.id: item.audio for item in run.items}, heard, run.spec.prompt)
    questions = (
        build_question(item, sample, run.spec.prompt, template, shown.get(item.id, {})) for item, sample in missing
    )
    with track("asking", len(missing)) as tick:

        def write(answer: Answer) -> None:
            log.append(answer)
            tick()

        params = run.spec.llm.params
        each = _without_failures(questions, write)
        run_coroutine(fan_out(each, run.spec.llm, execution, lambda one, llm: ask_one(one, llm, params), write))


def check_clips(run: Run, heard: Sequence[CaptionRecord]) -> None:
    """Raise RunError where a clip is no longer the one that an answer in the log is about: the two would be mixed."""
    shown = evidence.captions_shown({item.id: item.audio for item in run.items}, heard, run.spec.prompt)
    for (item, _), answer in directory.last_answers(run.path).items():
        keys = {slot: one.key for slot, one in shown.get(item, {}).items()}
        other = [slot for slot, key in answer.captions.items() if key and keys.get(slot) and keys[slot] != key]
        if other and isinstance(answer.result, Completion):
            raise RunError(
                f"{run.path}: {item!r} was answered from another clip than is there now ({other[0]}); "
                "restore the clip, or give --out another directory"
            )


def remaining(path: Path, items: Sequence[Item], samples: int) -> list[tuple[Item, int]]:
    """Each item and sample that a run directory, which need not be there yet, has no completion for."""
    done = directory.answered_samples(path) if (path / "log.jsonl").exists() else set()
    return [(item, sample) for item in items for sample in range(samples) if (item.id, sample) not in done]


def build_question(
    item: Item, sample: int, spec: PromptSpec, template: Template, heard: Mapping[str, CaptionRecord]
) -> Question:
    """The prompt of one sample of an item, made from its question, its choices and its captions only."""
    captions = {slot: heard[slot].caption or Caption(text="") for slot in spec.slots}
    return Question(
        item=item.id,
        sample=sample,
        prompt=evidence.build_prompt(spec, template, item.id, item.question, item.choices, captions, sample),
        captions={slot: heard[slot].key for slot in spec.slots},
        failure=_caption_failure(heard.values()),
    )


def _caption_failure(heard: Iterable[CaptionRecord]) -> Failure | None:
    problems = [f"{one.slot}: {one.failure.message}" for one in heard if one.failure]
    return Failure(kind="caption", message="; ".join(problems)) if problems else None


def _without_failures(questions: Iterable[Question], write: Callable[[Answer], None]) -> Iterator[Question]:
    """The questions that can be asked; the others are written down as failures on the way."""
    for one in questions:
        if one.failure:
            write(_answer(one, one.failure, 0.0))
        else:
            yield one


async def fan_out(
    questions: Iterator[Asked],
    spec: LLMSpec,
    execution: Execution,
    call: Callable[[Asked, LLM], Awaitable[Told]],
    write: Callable[[Told], None],
    option: str = "--llm",
) -> None:
    """Put each question to the model, so many at once as `execution` says, and write what comes, by one writer.

    `option` is the flag that named the model. Raises ProviderStop where nothing is answered any more.
    """
    first = next(questions, None)
    if first is None:
        return  # Nothing to ask: no model is started.
    async with connect.connect(spec, execution, option) as llm:
        dead = _SilenceLimit(max(_SILENT, execution.concurrency), f"{option} {spec.model}")
        stops: list[ProviderStop] = []

        async def worker(one: Asked | None) -> None:
            while one is not None and not stops:
                try:
                    answer = await call(one, llm)
                except ProviderStop as stop:
                    if not dead.answered:
                        raise  # every call is refused alike: there is nothing to wait for
                    stops.append(stop)  # the money is gone, say: what is in flight is paid for, and waited for
                    return
                write(answer)
                dead.heard(answer.result)
                one = next(questions, None)

        await _together([worker(first), *(worker(next(questions, None)) for _ in range(execution.concurrency - 1))])
        if stops:
            raise stops[0]


class _SilenceLimit:
    """Ends a run whose questions go unanswered one after the other: the network is gone, or the endpoint."""

    def __init__(self, most: int, model: str) -> None:
        self._most, self._model, self._count = most, model, 0
        self.answered = False  # once at least

    def heard(self, result: Completion | Failure) -> None:
        """Count what came. Raises ProviderStop when too many in a row were not answered, whatever was tried."""
        self.answered = self.answered or isinstance(result, Completion)
        passing = isinstance(result, Failure) and result.kind in _PASSING
        self._count = self._count + 1 if passing else 0
        if isinstance(result, Failure) and self._count >= self._most:
            raise ProviderStop(
                f"{self._model}: {self._count} questions in a row had no answer "
                f"({result.kind}: {result.message}); when it answers again, the same command goes on"
            )


async def _together(jobs: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Run coroutines side by side; the first error ends the others and is raised."""
    tasks = [asyncio.create_task(job) for job in jobs]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def run_coroutine(work: Coroutine[Any, Any, Done]) -> Done:
    """What comes of a coroutine; where a loop is running already, as in a notebook, by a loop in another thread."""
    if not _in_a_loop():
        return asyncio.run(work)
    begun: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[Done]]] = []

    async def cancellable() -> Done:
        task = asyncio.ensure_future(work)
        begun.append((asyncio.get_running_loop(), task))
        return await task

    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(asyncio.run, cancellable())
        try:
            return waiting.result()
        except KeyboardInterrupt:
            for loop, task in begun:
                loop.call_soon_threadsafe(task.cancel)
            raise


def _in_a_loop() -> bool:
    """Apart from what is run then: errors raised while this one is handled would carry it as their context."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def ask_single(one: Question, spec: LLMSpec, execution: Execution) -> Answer:
    """One question's answer, without a run."""

    async def answer() -> Answer:
        async with connect.connect(spec, execution) as llm:
            return await ask_one(one, llm, spec.params)

    return _answer(one, one.failure, 0.0) if one.failure else run_coroutine(answer())


async def ask_one(one: Question, llm: LLM, params: Params) -> Answer:
    """One question's answer; a reply that could not be had is a Failure in it.

    Samples after the first have seeds of their own, where there is a seed: the same one would say the same again.
    """
    if one.sample and isinstance(params.get("seed"), int):
        params = {**params, "seed": params["seed"] + one.sample}
    return _answer(one, *await timed_call(llm, one.prompt, params), params)


async def timed_call(llm: LLM, prompt: Prompt, params: Params) -> tuple[Completion | Failure, float]:
    """What came of a call, a reply or why there is none, and the seconds that it took."""
    started = perf_counter()
    try:
        result: Completion | Failure = await llm(prompt, params)
    except ReplyError as error:
        result = error.failure()
    return result, round(perf_counter() - started, 3)


def _answer(one: Question, result: Completion | Failure, seconds: float, params: Params | None = None) -> Answer:
    return Answer(
        item=one.item,
        sample=one.sample,
        prompt=evidence.prompt_digest(one.prompt),
        captions=one.captions,
        result=result,
        seconds=seconds,
        at=now(),
        params=params or {},
    )
