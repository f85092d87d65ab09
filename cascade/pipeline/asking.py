"""The unanswered questions of a run, asked concurrently; one writer appends the replies to the log."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any, TypeVar

from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from cascade.errors import UNFINISHED, BudgetSpent, ClipError, ProviderStop, ReplyError, RunError
from cascade.io.digests import digest_file
from cascade.io.jsonl import RecordLog
from cascade.io.progress import Track, silent
from cascade.io.terminal import note, quantity
from cascade.llms import connect
from cascade.pipeline import questions
from cascade.pipeline import rounds as exchanges
from cascade.pipeline.questions import Question
from cascade.pipeline.watching import HearingWatch, Result, SilenceLimit, watch_model_name
from cascade.prompting import evidence
from cascade.prompting.rounds import mismatch
from cascade.runs import charges, directory
from cascade.runs.directory import Run
from cascade.runs.provenance import now
from cascade.types import (
    LLM,
    Answer,
    CaptionRecord,
    Completion,
    Execution,
    Failure,
    Item,
    LLMSpec,
    Params,
    Prompt,
    Round,
    RunSpec,
)

_MOST_UNANSWERED = 12  # consecutive calls without an answer, or as many as are in flight

Value = TypeVar("Value")
Asked = TypeVar("Asked")
Reply = TypeVar("Reply", bound=Result)


def ask(
    run: Run,
    captions: Sequence[CaptionRecord],
    log: RecordLog,
    execution: Execution,
    read_reply: exchanges.ReadReply,
    track: Track = silent,
) -> None:
    """Ask every question that has no completion in the run's log, and append each answer when it arrives.

    If only items whose samples disagree have rounds, `read_reply` reads the choices of the samples after all of them
    are answered without rounds. Raises ProviderStop if the provider refuses every call or drops the audio; the log then
    keeps all earlier answers.
    """
    missing = remaining(run.path, run.items, run.spec.llm.samples)
    if missing:
        _ask_all(run, log, execution, questions.builder(run, captions), missing, track)
    if not (run.spec.rounds and run.spec.rounds.when):
        return
    split = list(exchanges.split_answers(run, read_reply))
    if not split:
        return
    items = quantity(len({item.id for item, _ in split}), "item")
    note(f"asked again with rounds: {items}, whose samples disagree")
    build = questions.builder(run, captions)
    failure = Failure(kind=UNFINISHED, message="the samples disagree: to be asked again with rounds")
    for item, answer in split:
        question = build(item, answer.sample, replace(answer, first=answer.result))
        log.append(_answer(question, failure, 0.0, run.spec.llm.params), is_result=False)
    _ask_all(run, log, execution, build, [(item, answer.sample) for item, answer in split], track)


def _ask_all(
    run: Run,
    log: RecordLog,
    execution: Execution,
    build: questions.Build,
    missing: Sequence[tuple[Item, int]],
    track: Track,
) -> None:
    """Ask the question that `build` returns for each missing item and sample, and append each answer to the log."""
    params, rounds, form = run.spec.llm.params, run.spec.rounds, questions.sent_form(run.spec.captioners)
    earlier = directory.last_answers(run.path)
    not_done: list[str] = []  # the findings that give a reason instead of a caption
    with track("asking", len(missing)) as tick:

        def write(answer: Answer) -> None:
            log.append(replace(answer, origin=execution.origin or UNSET))
            tick(isinstance(answer.result, Completion))
            findings = [finding for taken in answer.rounds or () for finding in taken.findings]
            not_done.extend(finding.text for finding in findings if finding.text.startswith(exchanges.NOT_DONE))

        # A model with completions in the log is not checked again.
        answered = any(answer.first or isinstance(answer.result, Completion) for answer in earlier.values())
        trusted = form is None or execution.accept_silent_audio or answered
        watch = HearingWatch(f"--llm {run.spec.llm.model}", len(missing), write, trusted=trusted)

        def sendable_questions() -> Iterator[Question]:
            for item, sample in missing:
                before = earlier.get((item.id, sample))
                if before and (problem := mismatch(run.spec.rounds, before)):
                    raise RunError(f"{run.path}/log.jsonl: {item.id!r}, sample {sample}: {problem}; restore the log")
                question = build(item, sample, before)
                if question.failure:
                    write(_answer(question, question.failure, 0.0))
                else:
                    yield question

        def converse_about(question: Question, engines: exchanges.Engines) -> exchanges.Converse:
            started = perf_counter()

            def save(rounds: Sequence[Round], unfinished: Failure) -> None:
                answer = _answer(question, unfinished, perf_counter() - started, params)
                log.append(replace(answer, origin=execution.origin or UNSET, rounds=tuple(rounds)), is_result=False)

            taken: Sequence[Round] = ()
            if question.before and question.before.rounds:
                taken = question.before.rounds
            forced = run.spec.llm.answer_as == "choice"
            return partial(exchanges.exchange, question.subject, engines, taken, save, forced)

        async def ask_all() -> None:
            opened = exchanges.opened(rounds, execution, form) if rounds else nullcontext()
            async with opened as engines:

                async def call(question: Question, llm: LLM) -> Answer:
                    converse = converse_about(question, engines) if engines and question.rounds else None
                    answer = await ask_question(question, llm, params, converse)
                    return watch.measured(question.prompt, answer)

                await fan_out(sendable_questions(), run.spec.llm, execution, call, watch.add, "--llm", earlier.values())

        try:
            run_coroutine(ask_all())
        finally:
            watch.close()
    if not_done:
        note(f"{quantity(len(not_done), 'request')} in rounds could not be carried out; the first: {not_done[0]}")


def count_earlier(path: Path, spec: RunSpec, execution: Execution) -> None:
    """Charge the calls in a run's logs to the budget; the current price applies to replies of unknown cost."""
    price = connect.price(spec.llm, execution)
    of_tokens = partial(price.of, audio=bool(spec.prompt.audio)) if price else None
    execution.host.budget.count(path, charges.charges(path, of_tokens))


def check_clips(run: Run, captions: Sequence[CaptionRecord]) -> None:
    """Raise RunError if a clip has changed since a question about it was answered: the run would mix two clips."""
    if not captions:
        return
    shown = evidence.captions_shown(run.clips, captions, run.spec.prompt)
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
    """Return each item and sample without a completion in the run directory, which need not exist yet."""
    answered = directory.answered_samples(path) if (path / "log.jsonl").exists() else set()
    return [(item, sample) for item in items for sample in range(samples) if (item.id, sample) not in answered]


async def fan_out(
    questions: Iterator[Asked],
    spec: LLMSpec,
    execution: Execution,
    call: Callable[[Asked, LLM], Awaitable[Reply]],
    write: Callable[[Reply], None],
    option: str,
    earlier: Collection[Result],
) -> None:
    """Put each question to the model, with the concurrency of `execution`, and write each reply when it arrives.

    `option` is the flag that named the model. One line on stderr reports a server whose model name differs from that of
    the `earlier` replies or of previous ones. Raises ProviderStop if the model no longer answers.
    """
    first = next(questions, None)
    if first is None:
        return  # No model is started if there is nothing to ask.
    async with connect.connect(spec, execution, option) as llm:
        silence = SilenceLimit(max(_MOST_UNANSWERED, execution.host.concurrency), f"{option} {spec.model}")
        watch_model = watch_model_name(f"{option} {spec.model}", earlier)
        stops: list[ProviderStop | BudgetSpent] = []

        async def worker(question: Asked | None) -> None:
            while question is not None and not stops:
                try:
                    reply = await call(question, llm)
                    write(reply)
                except (ProviderStop, BudgetSpent) as stop:
                    if isinstance(stop, ProviderStop) and not silence.answered:
                        raise  # The provider refuses every call, so there is no reply to wait for.
                    stops.append(stop)  # Calls in flight are already charged, so their replies are awaited.
                    return
                watch_model(reply.result)
                silence.count(reply.result)
                question = next(questions, None)

        others = [worker(next(questions, None)) for _ in range(execution.host.concurrency - 1)]
        tasks = [asyncio.create_task(work) for work in (worker(first), *others)]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if stops:
            raise stops[0]


def run_coroutine(work: Coroutine[Any, Any, Value]) -> Value:
    """Return the result of a coroutine. If a loop already runs, as in a notebook, use a loop in another thread."""
    if not _in_a_loop():
        return asyncio.run(work)
    started: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[Value]]] = []

    async def cancellable() -> Value:
        task = asyncio.ensure_future(work)
        started.append((asyncio.get_running_loop(), task))
        return await task

    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(asyncio.run, cancellable())
        try:
            return waiting.result()
        except KeyboardInterrupt:
            for loop, task in started:
                loop.call_soon_threadsafe(task.cancel)
            raise


def _in_a_loop() -> bool:
    # In a separate function, because an error that is raised inside `except` has the RuntimeError as its context.
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def ask_single(question: Question, spec: LLMSpec, execution: Execution) -> Answer:
    """Return one question's answer, without a run. Raises ProviderStop if the model seems not to hear the clip."""

    async def answer() -> Answer:
        async with connect.connect(spec, execution) as llm:
            return await ask_question(question, llm, spec.params)

    if question.failure:
        return _answer(question, question.failure, 0.0)
    reply = run_coroutine(answer())
    trusted = question.clip is None or execution.accept_silent_audio
    watch = HearingWatch(f"--llm {spec.model}", 1, lambda answer: None, trusted=trusted)
    watch.add(watch.measured(question.prompt, reply))
    return reply


async def ask_question(
    question: Question, llm: LLM, params: Params, converse: exchanges.Converse | None = None
) -> Answer:
    """Return one question's answer; a failed call gives a Failure. `converse` asks in rounds.

    If there is a seed, later samples use different seeds, because the same seed would repeat the reply. The clip is
    encoded here, so that memory holds only the clips of concurrent calls and the last few.
    """
    if question.sample and isinstance(params.get("seed"), int):
        params = {**params, "seed": params["seed"] + question.sample}
    prompt = question.prompt
    sent: str | UnsetType = UNSET
    if question.clip is not None and question.encode is not None:
        try:
            if await asyncio.to_thread(digest_file, question.clip) != prompt.clip:
                raise ClipError(f"{question.clip.name}: the file changed while the run was made")
            part, sent = await asyncio.to_thread(question.encode, question.clip)
        except (ClipError, OSError) as error:
            return _answer(question, Failure(kind="audio", message=str(error)), 0.0, params)
        prompt = evidence.with_audio(prompt, part)
    if converse is None:
        return replace(_answer(question, *await timed_call(llm, prompt, params), params), audio=sent)
    started = perf_counter()
    result, rounds = await converse(prompt, params, llm)
    answer = _answer(question, result, perf_counter() - started, params)
    return replace(answer, audio=sent, rounds=rounds or UNSET)


async def timed_call(llm: LLM, prompt: Prompt, params: Params) -> tuple[Completion | Failure, float]:
    """Return the completion or the failure of a call, and its duration in seconds."""
    started = perf_counter()
    try:
        result: Completion | Failure = await llm(prompt, params)
    except ReplyError as error:
        result = error.failure()
    return result, round(perf_counter() - started, 3)


def _answer(question: Question, result: Completion | Failure, seconds: float, params: Params | None = None) -> Answer:
    answer = Answer(
        item=question.item,
        sample=question.sample,
        prompt=evidence.prompt_digest(question.prompt),
        captions=question.captions,
        result=result,
        seconds=round(seconds, 3),
        at=now(),
        params=params or {},
    )
    if before := question.before:
        seconds = round(before.seconds + seconds, 3)
        answer = replace(answer, seconds=seconds, rounds=before.rounds, first=before.first)
    return answer
