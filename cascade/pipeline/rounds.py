"""Rounds in which a model asks for more about a clip before it answers: an exchange of messages and findings.

Each finding is a caption of a part of the clip and is cached like any other: by the engine, its parameters, and the
bytes of the part. Each part is cut once and named by its digest. After each round the exchange so far is written to the
log, so that a run that was killed resumes after that round.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace as changed
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

from msgspec.structs import replace

from cascade.captioners.registry import Engine
from cascade.captioners.remote import audio_llm
from cascade.captioning import segments
from cascade.captioning.backends import local
from cascade.captioning.cache import CaptionCache
from cascade.captioning.generate import clip_digest
from cascade.errors import UNFINISHED, ClipError, ItemError, Refused, ReplyError
from cascade.io.digests import caption_key
from cascade.io.encoding import AudioForm
from cascade.llms import connect
from cascade.prompting import evidence
from cascade.prompting import rounds as messages
from cascade.prompting.listening import question_digest
from cascade.prompting.rounds import ToolRequest
from cascade.runs import directory
from cascade.runs.costs import spent
from cascade.runs.directory import Run
from cascade.types import (
    LLM,
    Answer,
    Caption,
    CaptionerSpec,
    CaptionInput,
    Choice,
    Completion,
    Execution,
    Failure,
    Finding,
    Item,
    LLMSpec,
    Params,
    Prompt,
    Round,
    RoundsSpec,
)

# A function that takes the prompt, parameters and model, asks in rounds, and returns the result and its rounds.
Converse = Callable[[Prompt, Params, LLM], Coroutine[Any, Any, tuple[Completion | Failure, tuple[Round, ...]]]]

NOT_DONE = "not done: "  # the start of a finding that gives the reason why there is no caption

# A function that takes a reply and the choices as they were shown, and returns the choice that the reply settles on.
ReadReply = Callable[[Completion, Sequence[str]], Choice]


def split_answers(run: Run, read_reply: ReadReply) -> Iterator[tuple[Item, Answer]]:
    """Yield the answers without rounds of the items whose samples do not all settle on one choice.

    A reply without a choice counts as a disagreement. An item is skipped while a sample of it has no reply.
    """
    answers, samples = directory.last_answers(run.path), run.spec.llm.samples
    for item in run.items:
        own = [answers[item.id, sample] for sample in range(samples) if (item.id, sample) in answers]
        choices: list[str] = []
        for answer in own:
            reply = answer.first or answer.result
            order = evidence.order_choices(item.choices, item.id, run.spec.prompt.order_seed, answer.sample)
            if isinstance(reply, Completion):
                choices.append(read_reply(reply, order).text)
        if len(choices) == samples and messages.disagree(choices):
            yield from ((item, answer) for answer in own if not answer.first)


class Engines:
    """The engines that a model may ask, each built on first use, with their findings in the cache."""

    def __init__(
        self, spec: RoundsSpec, execution: Execution, listeners: Mapping[str, LLM], form: AudioForm | None
    ) -> None:
        """Set up the engines. A control in `form` replaces the clip for the engines too, as it does for the model."""
        self.spec, self._form = spec, form
        self._specs = {engine.slot: engine for engine in spec.engines}
        self._execution, self._listeners = execution, listeners
        self._loop = asyncio.get_running_loop()
        self._threads = ThreadPoolExecutor(max(2, execution.host.concurrency), "rounds")
        self._cache = CaptionCache(execution.cache)
        self._locks = {slot: threading.Lock() for slot in self._specs}
        self._making: dict[str, threading.Lock] = {}  # by caption key: each caption is made once
        self._calls: set[Future[Completion]] = set()  # the calls to listeners that are in flight
        self._built: dict[str, Any] = {}
        self._parts = segments.parts_folder(execution.cache)

    async def answer(self, clip: Path, request: ToolRequest) -> Finding:
        """Return the finding for a request about a clip; if the request fails, the finding gives the reason."""
        started = perf_counter()
        key, text = "", f"{NOT_DONE}{request.problem}"
        cost: float | None = 0.0
        if not request.problem:
            try:
                work = partial(self._caption, clip, request)
                key, caption, cost = await self._loop.run_in_executor(self._threads, work)
                text = caption.text.strip()[:_LONGEST] or "nothing was recognised"
            except ItemError as error:
                # A file name may reveal the content of the clip, so it is removed.
                text, cost = f"{NOT_DONE}{error}".replace(clip.name, "the clip"), error.cost or 0.0
        seconds = round(perf_counter() - started, 3)
        arguments = request.arguments
        return Finding(tool=request.tool, arguments=arguments, text=text, key=key, seconds=seconds, cost=cost)

    def _caption(self, clip: Path, request: ToolRequest) -> tuple[str, Caption, float | None]:
        """Return the key and the caption of a part of a clip, and what this call cost. Raises ItemError."""
        spec, arguments = self._specs[request.tool], request.arguments
        if "question" in arguments:
            # On one line: a line such as "# system" would begin another part of the prompt.
            question = " ".join(arguments["question"].split())
            spec = replace(spec, params={**spec.params, "prompt": _LISTEN.format(question)})
        folder = Path(self._parts.name)
        if self._form and self._form.content != "clip":
            clip = segments.altered(clip, self._form, folder)
        part = segments.cut(clip, arguments.get("start"), arguments.get("end"), folder)
        digest = clip_digest(part)
        if isinstance(digest, Failure):
            raise ClipError(digest.message)
        labels = question_digest("", arguments["labels"]) if "labels" in arguments else ""
        key = caption_key(spec.slot, spec.name, spec.version, spec.params, digest, labels)
        with self._making.setdefault(key, threading.Lock()):  # Samples may send the same request at once.
            if (cached := self._cache.get(key)) and not Engine(spec.name).rejects(cached):
                return key, cached, 0.0
            if spec.slot in self._listeners:
                caption = audio_llm.caption_clip(audio_llm.Params(**spec.params), partial(self._wait, spec.slot), part)
            elif labels:
                caption = self._run_engine(spec, CaptionInput(clip=part, choices=tuple(arguments["labels"])))
            else:
                caption = self._run_engine(spec, part)
            cost = caption.meta.get("cost", 0.0)
            if Engine(spec.name).rejects(caption):
                error = ItemError("unreadable", "the reply's text is a page or another format than was asked for")
                error.cost = cost
                raise error
            self._cache.put(spec, digest, caption, labels)
        return key, caption, cost

    def _wait(self, listener: str, prompt: Prompt, params: Params) -> Completion:
        """Return a listener's reply. Its call runs on the event loop of the model's own calls."""

        async def ask() -> Completion:
            return await self._listeners[listener](prompt, params)

        call = asyncio.run_coroutine_threadsafe(ask(), self._loop)
        self._calls.add(call)
        try:
            return call.result()
        finally:
            self._calls.discard(call)

    def _run_engine(self, spec: CaptionerSpec, part: Path | CaptionInput) -> Caption:
        """Return the caption by a local engine, which runs one call at a time. Raises ItemError."""
        with self._locks[spec.slot]:
            if spec.slot not in self._built:
                self._built[spec.slot] = Engine(spec.name).build(spec, self._execution.host)
            [(_, result)] = local.caption_clips(self._built[spec.slot], [part], 1, 0)
        if isinstance(result, Failure):
            raise ClipError(result.message)
        return result

    def close(self) -> None:
        """Cancel calls, and close the engines and the cache. Do not call this on the event loop, which ends calls."""
        for call in tuple(self._calls):
            call.cancel()
        self._threads.shutdown(cancel_futures=True)
        for captioner in self._built.values():
            getattr(captioner, "close", lambda: None)()
        self._parts.cleanup()
        self._cache.close()


_LONGEST = 50_000  # characters of a finding: the length of a transcript of one hour
_LISTEN = "Listen to this part of a recording and say what you hear that bears on the question. Question: {}"


@asynccontextmanager
async def opened(spec: RoundsSpec, execution: Execution, form: AudioForm | None) -> AsyncIterator[Engines]:
    """Open the engines of a run's rounds; a listener shares the loop and the connections of the model.

    `form` is how the clip itself is sent, or None if it is not sent.
    """
    async with AsyncExitStack() as stack:
        listeners: dict[str, LLM] = {}
        for engine in spec.engines:
            if Engine(engine.name).is_listener:
                model = str(engine.params["model"])
                how = changed(execution, api_base=execution.host.endpoints.get(model), origin="", price=None)
                llm = LLMSpec(model=model)
                listeners[engine.slot] = await stack.enter_async_context(connect.connect(llm, how, engine.slot))
        engines = Engines(spec, execution, listeners, form)
        stack.push_async_callback(asyncio.to_thread, engines.close)
        yield engines


async def exchange(
    clip: Path,
    engines: Engines,
    taken: Sequence[Round],
    save: Callable[[Sequence[Round], Failure], None],
    forced: bool,
    prompt: Prompt,
    params: Params,
    llm: LLM,
) -> tuple[Completion | Failure, tuple[Round, ...]]:
    """Return the result of an exchange and its rounds. The exchange continues after the earlier rounds, `taken`.

    `prompt` says what the model may ask for. `save` is called after each round with the rounds so far and a failure in
    place of the result. With `forced`, a separate last call asks for the answer in the form of a choice. Raises
    ProviderStop and BudgetSpent.
    """
    spec, rounds = engines.spec, list(taken)
    finished = bool(rounds) and not rounds[-1].findings  # The last message made no request.
    while True:
        last = finished or len(rounds) >= spec.most
        asked = messages.continued(prompt, rounds, spec)
        if forced and not last:
            asked = replace(asked, order=())  # A prompt without choices gets a free reply.
        try:
            reply = await llm(asked, {**params, **messages.tool_params(spec, last=last)})
        except Refused as stop:
            advice = "; if the model takes no functions, give --tools text" if spec.form == "calls" else ""
            raise Refused(f"{stop}{advice}") from None
        except ReplyError as error:
            return error.failure(), tuple(rounds)
        requests = [] if last else messages.read_requests(reply, spec)
        if not requests and (last or not forced):
            return reply, tuple(rounds)
        work = (engines.answer(clip, request) for request in requests)
        results = await asyncio.gather(*work, return_exceptions=True)
        findings = [result for result in results if isinstance(result, Finding)]
        stops = [result for result in results if isinstance(result, BaseException)]
        if not stops:
            rounds.append(Round(reply=reply, findings=tuple(findings)))
        finished = not requests
        cost = (spent(reply) or 0.0) + sum(finding.cost or 0.0 for finding in findings)
        message = f"the answer is still to come after {len(rounds)} of at most {spec.most} rounds"
        # If a listener stops the run, the next start asks this round again, so its cost must be counted now.
        save(rounds, Failure(kind=UNFINISHED, message=message, cost=cost or None))
        if stops:
            raise stops[0]
