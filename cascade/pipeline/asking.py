"""The unanswered questions of a run, asked concurrently; one writer appends the replies to the log."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, Protocol, TypeVar

from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from cascade.errors import NOT_APPLICABLE, BudgetSpent, ProviderStop, ReplyError, RunError
from cascade.io.jsonl import RecordLog
from cascade.io.progress import Track, silent
from cascade.io.terminal import note
from cascade.llms import connect
from cascade.pipeline import rounds as exchanges
from cascade.prompting import evidence
from cascade.prompting.rounds import opening
from cascade.prompting.templates import Template
from cascade.runs import charges, directory
from cascade.runs.directory import Run
from cascade.runs.provenance import now
from cascade.runs.served import reported
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
    Round,
    RoundsSpec,
    RunSpec,
)

_MOST_UNANSWERED = 12  # in a row, or as many as are in flight
_TRANSIENT_KINDS = frozenset({"connection", "timeout", "rate_limit", "server", "unreadable"})

Done = TypeVar("Done")


class Result(Protocol):
    """A record of a call: the reply, or why there is none."""

    @property
    def result(self) -> Completion | Failure: ...


Asked = TypeVar("Asked")
Reply = TypeVar("Reply", bound=Result)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One sample of one item, ready to be asked; `failure` says why it cannot be, where a caption failed."""

    item: str
    sample: int
    prompt: Prompt
    captions: Mapping[str, str]
    failure: Failure | None = None


def ask(
    run: Run, captions: Sequence[CaptionRecord], log: RecordLog, execution: Execution, track: Track = silent
) -> None:
    """Ask whatever the run's log has no completion for, and append each answer as it comes.

    Raises ProviderStop where the provider refuses every call; what was answered by then is in the log.
    """
    missing = remaining(run.path, run.items, run.spec.llm.samples)
    if not missing:
        return
    params = run.spec.llm.params
    template = Template(name=run.spec.prompt.template, text=run.manifest.template)
    clips = {item.id: item.audio for item in run.items}
    shown = evidence.captions_shown(clips, captions, run.spec.prompt)
    earlier = directory.last_answers(run.path)
    with track("asking", len(missing)) as tick:

        def write(answer: Answer, *, is_result: bool = True) -> None:
            log.append(replace(answer, origin=execution.origin or UNSET), is_result=is_result)
            if is_result:
                tick(isinstance(answer.result, Completion))

        def questions() -> Iterator[Question]:
            for item, sample in missing:
                question = build_question(
                    item, sample, run.spec.prompt, template, shown.get(item.id, {}), run.spec.rounds
                )
                if question.failure:
                    write(_answer(question, question.failure, 0.0))
                else:
                    yield question

        async def ask_all() -> None:
            async with exchanges.opened(run.spec.rounds, execution) if run.spec.rounds else nullcontext() as engines:

                async def call(question: Question, llm: LLM) -> Answer:
                    if not engines:
                        return await ask_question(question, llm, params)

                    def save(answer: Answer) -> None:
                        write(answer, is_result=False)

                    before = earlier.get((question.item, question.sample))
                    taken = before.rounds or () if before else ()
                    clip = Path(run.manifest.audio_root, clips[question.item])
                    return await ask_in_rounds(question, llm, run.spec, clip, engines, taken, save)

                await fan_out(questions(), run.spec.llm, execution, call, write, earlier=earlier.values())

        run_coroutine(ask_all())


def count_earlier(path: Path, spec: LLMSpec, execution: Execution) -> None:
    """Charge what is in a run's logs to the budget; replies of unknown cost at the price that is known now."""
    price = connect.price(spec, execution)
    execution.budget.count(path, charges.charges(path, price.of if price else None))


def check_clips(run: Run, captions: Sequence[CaptionRecord]) -> None:
    """Raise RunError where a clip has changed since it was answered: the run would mix two clips."""
    if not captions:
        return
    shown = evidence.captions_shown({item.id: item.audio for item in run.items}, captions, run.spec.prompt)
    for (item, _), answer in directory.last_answers(run.path).items():
        if not isinstance(answer.result, Completion):
            continue
        keys = {slot: caption.key for slot, caption in shown.get(item, {}).items()}
        for slot, key in answer.captions.items():
            if key and keys.get(slot) and keys[slot] != key:
                raise RunError(
                    f"{run.path}: {item!r} was answered from another clip than is there now ({slot}); "
                    "restore the clip, or give --out another directory"
                )


def remaining(path: Path, items: Sequence[Item], samples: int) -> list[tuple[Item, int]]:
    """Return each item and sample that a run directory, which need not be there yet, has no completion for."""
    done = directory.answered_samples(path) if (path / "log.jsonl").exists() else set()
    return [(item, sample) for item in items for sample in range(samples) if (item.id, sample) not in done]


def build_question(
    item: Item,
    sample: int,
    spec: PromptSpec,
    template: Template,
    captions: Mapping[str, CaptionRecord],
    rounds: RoundsSpec | UnsetType = UNSET,
) -> Question:
    """Return one sample of an item, its prompt made from its question, choices and captions (by slot) only.

    With `rounds` the prompt also says what the model may ask for before it answers.
    """
    texts = {slot: captions[slot].caption or Caption(text="") for slot in spec.slots}
    failures = {caption.slot: caption.failure for caption in captions.values() if caption.failure}
    kind = "caption"
    if NOT_APPLICABLE in {failure.kind for failure in failures.values()}:
        kind = NOT_APPLICABLE
    slots: dict[str, list[str]] = {}  # by message: a clip that cannot be decoded fails in each of its slots
    for slot, failure in failures.items():
        slots.setdefault(failure.message, []).append(slot)
    problem = "; ".join(f"{', '.join(names)}: {message}" for message, names in slots.items())
    prompt = evidence.build_prompt(spec, template, item.id, item.question, item.choices, texts, sample)
    return Question(
        item=item.id,
        sample=sample,
        prompt=opening(prompt, rounds) if rounds else prompt,
        captions={slot: captions[slot].key for slot in spec.slots},
        failure=Failure(kind=kind, message=problem) if failures else None,
    )


async def fan_out(
    questions: Iterator[Asked],
    spec: LLMSpec,
    execution: Execution,
    call: Callable[[Asked, LLM], Awaitable[Reply]],
    write: Callable[[Reply], None],
    option: str = "--llm",
    earlier: Collection[Result] = (),
) -> None:
    """Put each question to the model, with `execution.concurrency` calls at once, and write each reply as it comes.

    `option` is the flag that named the model; where the server reports another model than in the `earlier` replies or
    in those before, one line says so. Raises ProviderStop where nothing is answered any more.
    """
    first = next(questions, None)
    if first is None:
        return  # Nothing to ask: no model is started.
    async with connect.connect(spec, execution, option) as llm:
        silence = _SilenceLimit(max(_MOST_UNANSWERED, execution.concurrency), f"{option} {spec.model}")
        watch_model = _model_watch(f"{option} {spec.model}", earlier)
        stops: list[ProviderStop | BudgetSpent] = []

        async def worker(question: Asked | None) -> None:
            while question is not None and not stops:
                try:
                    reply = await call(question, llm)
                except (ProviderStop, BudgetSpent) as stop:
                    if isinstance(stop, ProviderStop) and not silence.answered:
                        raise  # Every call is refused alike: there is nothing to wait for.
                    stops.append(stop)  # Calls in flight are already charged: they are waited for.
                    return
                write(reply)
                watch_model(reply.result)
                silence.count(reply.result)
                question = next(questions, None)

        others = [worker(next(questions, None)) for _ in range(execution.concurrency - 1)]
        tasks = [asyncio.create_task(work) for work in (worker(first), *others)]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if stops:
            raise stops[0]


def _model_watch(asked: str, earlier: Collection[Result]) -> Callable[[Completion | Failure], None]:
    """Return a function that takes each result, and says once that the server reports another model than before."""
    seen = {reported(reply.result) for reply in earlier if isinstance(reply.result, Completion)}
    silent = len(seen) > 1  # That was said before.

    def watch(result: Completion | Failure) -> None:
        nonlocal silent
        if silent or not isinstance(result, Completion):
            return
        seen.add(reported(result))
        if len(seen) > 1:
            silent = True
            models = " and ".join(sorted(", ".join(filter(None, model)) or "no name" for model in seen))
            note(f"{asked}: the server reports several models in one log: {models}; score and verify count both")

    return watch


class _SilenceLimit:
    """A count of questions in a row without an answer; too many stop the run: the endpoint is out of reach."""

    def __init__(self, most: int, model: str) -> None:
        self._most, self._model, self._count = most, model, 0
        self.answered = False  # once at least

    def count(self, result: Completion | Failure) -> None:
        """Count a result. Raises ProviderStop when too many in a row had no answer, whatever was tried."""
        if isinstance(result, Completion):
            self.answered = True
        if isinstance(result, Completion) or result.kind not in _TRANSIENT_KINDS:
            self._count = 0
            return
        self._count += 1
        if self._count >= self._most:
            raise ProviderStop(
                f"{self._model}: {self._count} questions in a row had no answer "
                f"({result.kind}: {result.message}); when it answers again, the same command goes on"
            )


def run_coroutine(work: Coroutine[Any, Any, Done]) -> Done:
    """Return the result of a coroutine; where a loop runs already, as in a notebook, use one in another thread."""
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
    # A function of its own: an error raised while a RuntimeError is handled would carry it as its context.
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def ask_single(question: Question, spec: LLMSpec, execution: Execution) -> Answer:
    """Return one question's answer, without a run."""

    async def answer() -> Answer:
        async with connect.connect(spec, execution) as llm:
            return await ask_question(question, llm, spec.params)

    if question.failure:
        return _answer(question, question.failure, 0.0)
    return run_coroutine(answer())


async def ask_question(question: Question, llm: LLM, params: Params) -> Answer:
    """Return one question's answer; a call that failed gives a Failure.

    Samples after the first have seeds of their own, where there is a seed: with the same one the reply would repeat.
    """
    params = _sample_params(question.sample, params)
    return _answer(question, *await timed_call(llm, question.prompt, params), params)


def _sample_params(sample: int, params: Params) -> Params:
    if sample and isinstance(params.get("seed"), int):
        return {**params, "seed": params["seed"] + sample}
    return params


async def ask_in_rounds(
    question: Question,
    llm: LLM,
    spec: RunSpec,
    clip: Path,
    engines: exchanges.Engines,
    taken: Sequence[Round],
    save: Callable[[Answer], None],
) -> Answer:
    """Return one question's answer after rounds in which the model may ask for more; `save` is given each round."""
    params, started = _sample_params(question.sample, spec.llm.params), perf_counter()
    assert spec.rounds

    def answer(result: Completion | Failure, passed: Sequence[Round]) -> Answer:
        seconds = round(perf_counter() - started, 3)
        return replace(_answer(question, result, seconds, params), rounds=tuple(passed) or UNSET)

    result, passed = await exchanges.exchange(
        question.prompt,
        params,
        llm,
        spec.rounds,
        clip,
        engines,
        taken,
        lambda passed, unfinished: save(answer(unfinished, passed)),
        forced=spec.llm.answer_as == "choice",
    )
    return answer(result, passed)


async def timed_call(llm: LLM, prompt: Prompt, params: Params) -> tuple[Completion | Failure, float]:
    """Return the completion or the failure of a call, and its duration in seconds."""
    started = perf_counter()
    try:
        result: Completion | Failure = await llm(prompt, params)
    except ReplyError as error:
        result = error.failure()
    return result, round(perf_counter() - started, 3)


def _answer(question: Question, result: Completion | Failure, seconds: float, params: Params | None = None) -> Answer:
    return Answer(
        item=question.item,
        sample=question.sample,
        prompt=evidence.prompt_digest(question.prompt),
        captions=question.captions,
        result=result,
        seconds=seconds,
        at=now(),
        params=params or {},
    )
