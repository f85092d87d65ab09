"""Connect to a model (`fake`, `local`, or any name that litellm knows): one request gives one `Completion`."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from importlib.util import find_spec
from operator import attrgetter
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from cascade.errors import MissingExtra, MissingKey, ProviderStop, UserError
from cascade.llms import credentials, embedded, fake, forced_choice, litellm, origins, prices
from cascade.llms.budget import call_within, recording_charges
from cascade.llms.pacing import ConcurrencyLimit, paced, retrying
from cascade.llms.prices import Price
from cascade.llms.redaction import holds_secret, redact
from cascade.types import LLM, Completion, Execution, LLMSpec, Params, Prompt

_LOCAL_TOKENS = 256  # for the embedded model, which seldom ends a reply by itself
_REASONING_TOKENS = 16_384  # for a reasoning model's thoughts and its reply
# The default max_tokens of these providers would truncate long reasoning.
_LOW_TOKEN_DEFAULTS = ("together_ai", "fireworks_ai", "deepinfra", "replicate", "huggingface")
# These are no parameters of a model: they say how a request is sent, or would put a key into the run directory.
_NOT_PARAMETERS = {
    "model": "--llm",
    "n": "--samples",
    **dict.fromkeys(("api_base", "base_url"), "--api-base"),
    **dict.fromkeys(("timeout", "request_timeout"), "--timeout"),
    **dict.fromkeys(("num_retries", "max_retries"), "--retries"),
    **dict.fromkeys(("api_key", "headers", "extra_headers"), "the provider's variable in the environment"),
    **dict.fromkeys(("messages", "prompt"), "--prompt"),
    **dict.fromkeys(("stream", "cache", "caching", "mock_response", "fallbacks", "drop_params"), ""),
}


def is_local(model: str) -> bool:
    """Return whether the name is the embedded model's or a GGUF file's."""
    return model == "local" or model.startswith("local:")


def modules(model: str) -> set[str]:
    """Return the modules that a call of the model passes through; a run records their versions."""
    if model == "fake":
        return set()
    if is_local(model):
        return {"xllamacpp"}
    return {"litellm", "openai"}


def identify(model: str) -> tuple[str, dict[str, Path]]:
    """Return a spec's name for the model that the user typed, and the files that it names, by digest."""
    return embedded.identify(model) if is_local(model) else (model, {})


def default_params(model: str, seed: int) -> dict[str, Any]:
    """Return the parameters that a model is sent unless the user unsets them. Only our own models are sent the seed."""
    if model == "fake":
        return {"seed": seed}
    if is_local(model):
        longest = _LOCAL_TOKENS if model == "local" else _REASONING_TOKENS // 4
        return {"temperature": 0, "max_tokens": longest, "seed": seed}
    if model.partition("/")[0] in _LOW_TOKEN_DEFAULTS:
        return {"temperature": 0, "max_tokens": _REASONING_TOKENS}
    return {"temperature": 0}


def takes_temperature(model: str, params: Params) -> bool:
    """Return whether a model takes the temperature 0; only of one that may reason litellm, which is slow, is asked."""
    if model == "fake" or is_local(model) or find_spec("litellm") is None:
        return True
    listed = credentials.listed(model) or {}
    reasons = listed.get("supports_reasoning") or re.search(r"(^|/)(o\d|gpt-[5-9])", model)
    return not reasons or litellm.takes_temperature(model, params)


def check(spec: LLMSpec, execution: Execution, *, audio: bool = False) -> None:
    """Raise MissingExtra for a package that is not installed, UserError for what is no parameter of a model.

    With `audio`, raises UserError for a model that is known to take none.
    """
    if audio and not execution.accept_silent_audio:
        source = ""
        if is_local(spec.model):
            source = "the embedded models take"
        elif not execution.api_base and not credentials.takes_audio(spec.model):
            source = "by litellm's list the model takes"  # The list does not know models of the user's own server.
        if source:
            raise UserError(
                f"--llm {spec.model.partition('@')[0]}: {source} no audio; leave audio out of --captions, or name a "
                "model that hears (gemini/gemini-2.5-flash, gpt-audio, …)"
            )
    for name in sorted(spec.params.keys() & _NOT_PARAMETERS.keys()):
        option = _NOT_PARAMETERS[name]
        advice = f"use {option} instead" if option else "leave it out"
        raise UserError(f"--param {name}: this is no parameter of the model; {advice}")
    if holds_secret(spec.params) or redact(repr(dict(spec.params))) != repr(dict(spec.params)):
        raise UserError(
            "--param: a value looks like a key, and would be written into the run; export the provider's variable"
        )
    if spec.answer_as == "choice" and "response_format" in spec.params:
        raise UserError(
            f"--param response_format: --answer-as choice sets it; leave it out, or {forced_choice.OTHERWISE}"
        )
    if execution.budget:
        known = price(spec, execution)
        if known is None or (audio and known.audio is None):
            what = "audio sent to " if audio and known else ""
            raise UserError(f"--budget: the price of {what}{spec.model} is unknown; say it with --price INPUT,OUTPUT")
    if spec.model == "fake":
        return
    if find_spec("litellm") is None:
        raise MissingExtra(f"the model {spec.model!r}", "litellm", "pip install 'audio-cascade[llm]'")
    if is_local(spec.model) and find_spec("xllamacpp") is None:
        raise MissingExtra("the embedded model", "xllamacpp", "pip install 'audio-cascade[local]'")


def check_access(spec: LLMSpec, execution: Execution, option: str = "--llm") -> None:
    """Raise ProviderStop for a model that cannot be asked, and MissingKey if its key is missing.

    The model is unknown, has no address, or does not take the JSON schema of a forced choice. `option` is the flag that
    named it.
    """
    if spec.model == "fake" or is_local(spec.model):
        return
    label = f"{option} {spec.model}"
    if problem := credentials.unsendable(spec.model, execution.api_base):
        raise ProviderStop(f"{label}: {problem}")
    if execution.api_base:
        return
    if credentials.unserved(spec.model):
        raise ProviderStop(f"{label}: the address that serves it is missing: give --api-base URL")
    provider = credentials.provider(spec.model)
    if not provider:
        litellm.resolve(spec.model, label=label)  # litellm takes seconds to import, but knows all models.
    if spec.answer_as == "choice":
        listed = (credentials.listed(spec.model) or {}).get("supports_response_schema")
        if listed is False or (provider and not litellm.takes_schema(spec.model)):
            raise ProviderStop(f"{label}: the model takes no JSON schema; {forced_choice.OTHERWISE}")
    # This check comes last, because a plan ignores a missing key.
    if variable := credentials.missing(spec.model):
        raise MissingKey(f"{label}: the key is missing: export {variable}=…")


def price(spec: LLMSpec, execution: Execution) -> Price | None:
    """Return the price of the model's tokens; None is unknown. Our own models cost nothing."""
    if spec.model == "fake" or is_local(spec.model):
        return Price(input=0.0, output=0.0, source="embedded", dearest=(0.0, 0.0), most=0, audio=0.0)
    return prices.find(spec.model, execution.price, own=origins.is_loopback(execution.api_base))


def counter(spec: LLMSpec) -> tuple[Callable[[Prompt], int], str]:
    """Return a function that counts a prompt's tokens, with those of a schema as text, and the name of its method."""
    if spec.model == "fake":
        return lambda prompt: 0, "fake"
    # The embedded server makes a grammar of the schema: the model does not read it.
    schema = spec.answer_as == "choice" and not is_local(spec.model)

    def count(prompt: Prompt) -> int:
        texts = prompt.texts()
        if schema:
            texts.append(json.dumps(forced_choice.response_format(spec, prompt.order, direct=False)))
        return litellm.count_tokens(*texts)

    counted = "; the schema of the choices counts as its text" if schema else ""
    return count, f"cl100k_base (other tokenizers differ by some per cent){counted}"


@asynccontextmanager
async def connect(spec: LLMSpec, execution: Execution, option: str = "--llm") -> AsyncIterator[LLM]:
    """Open the model for calls, with retries; `option` is the flag that named it. Raises UserError where it fails."""
    async with _open(spec, execution, option) as llm:
        if spec.answer_as == "choice":
            label = f"{option} {spec.model.partition('@')[0]}"
            with forced_choice.forced(llm, spec, label, direct=is_local(spec.model)) as forced:
                yield forced
        else:
            yield llm


@asynccontextmanager
async def _open(spec: LLMSpec, execution: Execution, option: str) -> AsyncIterator[LLM]:
    if spec.model == "fake":
        yield fake.complete
        return
    if not is_local(spec.model):
        label, cost = f"{option} {spec.model}", price(spec, execution)
        async with litellm.chat_model(spec.model, execution.api_base, None, execution.timeout, label, cost) as model:
            # litellm has read a .env file by now, whose address the log would not know.
            if execution.origin and execution.origin != (asked := origins.origin(spec.model, execution.api_base)):
                raise ProviderStop(f"{label}: a .env file sets the address {asked}; give it as --api-base {asked}")

            async def affordable(prompt: Prompt, params: Params) -> Completion:
                bound = cost.bound(prompt, params) if cost else None
                return await call_within(execution.budget, bound, partial(model, prompt, params), attrgetter("cost"))

            limit = ConcurrencyLimit(execution.concurrency)
            calls = retrying(paced(affordable, limit, execution.rpm, execution.tpm), execution.retries)
            yield recording_charges(calls) if execution.budget else calls
        return
    path = execution.host.files[spec.model.rpartition("@")[2]]
    reply_tokens = int(spec.params.get("max_tokens", _LOCAL_TOKENS))
    count, threads = embedded.plan_workers(path, reply_tokens, execution.host.threads, execution.concurrency)
    async with AsyncExitStack() as opened:
        workers = []
        for _ in range(count):
            server = opened.enter_context(embedded.serving(path, reply_tokens, threads))
            worker = litellm.chat_model("openai/local", server.api_base, server.key, execution.timeout)
            workers.append(retrying(await opened.enter_async_context(worker), execution.retries))
        yield _shared_among(workers, spec.model)


def _shared_among(workers: Sequence[LLM], model: str) -> LLM:
    """Return a call that waits for a free worker; each worker has one call at a time, at no cost."""
    # A worker is a server of its own, because batched arithmetic would let a reply depend on the others in its batch.
    free: asyncio.Queue[LLM] = asyncio.Queue()
    for worker in workers:
        free.put_nowait(worker)

    async def complete(prompt: Prompt, params: Params) -> Completion:
        worker = await free.get()
        try:
            return replace(await worker(prompt, params), model=model, cost=0.0)
        finally:
            free.put_nowait(worker)

    return complete
