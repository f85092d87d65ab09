"""Models: one request → one `Completion`. `fake`, `local`, and any name that litellm knows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from cascade.errors import MissingExtra, ProviderStop, ReplyError, UserError
from cascade.llms import credentials, embedded, fake, litellm, prices
from cascade.llms.budget import Budget, call_within
from cascade.llms.pacing import ConcurrencyLimit, paced
from cascade.llms.prices import Price
from cascade.llms.redaction import holds_secret, redact
from cascade.llms.retry import retrying
from cascade.types import LLM, Completion, Execution, LLMSpec, Params, Prompt

_REPLY_TOKENS = 256  # of the embedded model, which seldom knows when to stop
_ENOUGH_TOKENS = 16_384  # for a reasoning model's thoughts and its reply
# Whose own default would cut a long thought; the others reply as long as the model can, or as litellm's list says.
_SHORT = ("together_ai", "fireworks_ai", "deepinfra", "replicate", "huggingface")
# What is no parameter of the model: how a request is sent, and what would put a key into a run's directory.
_OURS = {
    "model": "--llm",
    "api_base": "--api-base",
    "base_url": "--api-base",
    "timeout": "--timeout",
    "request_timeout": "--timeout",
    "n": "--samples",
    "num_retries": "--retries",
    "max_retries": "--retries",
    **dict.fromkeys(("api_key", "headers", "extra_headers"), "the provider's variable in the environment"),
    **dict.fromkeys(("messages", "prompt"), "--prompt"),
    **dict.fromkeys(("stream", "cache", "caching", "mock_response", "fallbacks", "drop_params"), "nothing"),
}


def is_local(model: str) -> bool:
    """Whether the name is the embedded model's or a GGUF file's."""
    return model == "local" or model.startswith("local:")


def modules(model: str) -> set[str]:
    """The modules that stand between us and the model."""
    return set() if model == "fake" else {"xllamacpp"} if is_local(model) else {"litellm", "openai"}


def identify(model: str) -> tuple[str, dict[str, Path]]:
    """What stands in a spec for the name that was typed, and where the files are that it names, by digest."""
    return embedded.identify(model) if is_local(model) else (model, {})


def default_params(model: str, seed: int) -> dict[str, Any]:
    """The parameters that a model is sent unless they are unset. `seed` is ours: only our own models are sent it.

    The token budget is the provider's own, which is all that the model can say, but where that would cut a thought.
    """
    if model == "fake":
        return {"seed": seed}
    if is_local(model):
        return {
            "temperature": 0,
            "max_tokens": _REPLY_TOKENS if model == "local" else _ENOUGH_TOKENS // 4,
            "seed": seed,
        }
    short = model.partition("/")[0] in _SHORT
    return {"temperature": 0, **({"max_tokens": _ENOUGH_TOKENS} if short else {})}


def check(spec: LLMSpec, execution: Execution) -> None:
    """Raise before any clip is heard: MissingExtra for what is not installed, UserError for what is no parameter."""
    for name in sorted(spec.params.keys() & _OURS.keys()):
        raise UserError(f"--param {name}: this is no parameter of the model; use {_OURS[name]} instead")
    if holds_secret(spec.params) or redact(repr(dict(spec.params))) != repr(dict(spec.params)):
        raise UserError("--param: a value looks like a key, and would stand in the run; export the provider's variable")
    if execution.budget and not is_local(spec.model) and spec.model != "fake" and not price(spec, execution):
        raise UserError(f"--budget: the price of {spec.model} is unknown; say it with --price INPUT,OUTPUT")
    if spec.model == "fake":
        return
    if find_spec("litellm") is None:
        raise MissingExtra(f"the model {spec.model!r}", "litellm", "pip install 'audio-cascade[llm]'")
    if is_local(spec.model):
        embedded.check()


def check_access(spec: LLMSpec, execution: Execution, option: str = "--llm") -> None:
    """Raise ProviderStop for a model that nobody knows and for a key that is missing, before anything takes time.

    An endpoint of the user's own (`api_base`) may need neither. `option` is the flag that named the model.
    """
    if spec.model == "fake" or is_local(spec.model) or execution.api_base:
        return
    if credentials.provider(spec.model) and not credentials.missing(spec.model):
        return
    # litellm takes seconds to import, knows every name, and reads a .env file, where a key may be.
    litellm.provider_name(spec.model, asked=f"{option} {spec.model}")
    if variable := credentials.missing(spec.model):
        raise ProviderStop(f"{option} {spec.model}: the key is missing: export {variable}=…")


def price(spec: LLMSpec, execution: Execution) -> Price | None:
    """What the model's tokens cost; None is unknown. Our own models cost nothing, an own endpoint what is stated."""
    if spec.model == "fake" or is_local(spec.model):
        return Price(input=0.0, output=0.0, source="embedded", dearest=(0.0, 0.0), most=0)
    return prices.find(spec.model, execution.price, own=credentials.is_loopback(execution.api_base))


def counter(model: str) -> tuple[Callable[[Prompt], int], str]:
    """What counts a prompt's tokens, and how it does."""
    if model == "fake":
        return lambda prompt: 0, "fake"
    return litellm.count_tokens, "cl100k_base (other tokenizers differ by some per cent)"


@asynccontextmanager
async def connect(spec: LLMSpec, execution: Execution, option: str = "--llm") -> AsyncIterator[LLM]:
    """The model, ready to be asked, with retries; `option` is the flag that named it.

    Raises UserError where it cannot be had.
    """
    if spec.model == "fake":
        yield fake.complete
        return
    if not is_local(spec.model):
        name = f"{option} {spec.model}"
        async with litellm.client(spec.model, execution.api_base, None, execution.timeout, name) as llm:
            within = budgeted(llm, price(spec, execution), execution.budget)
            yield retrying(
                paced(within, ConcurrencyLimit(execution.concurrency), execution.rpm, execution.tpm), execution.retries
            )
        return
    path = execution.host.files[spec.model.rpartition("@")[2]]
    reply = int(spec.params.get("max_tokens", _REPLY_TOKENS))
    servers, threads = embedded.plan_workers(path, reply, execution.host.threads, execution.concurrency)
    async with AsyncExitStack() as opened:
        slots = []
        for _ in range(servers):
            at = opened.enter_context(embedded.serving(path, reply, threads))
            asked = litellm.client("openai/local", at.api_base, at.key, execution.timeout)
            slots.append(retrying(await opened.enter_async_context(asked), execution.retries))
        yield _embedded(slots, spec.model)


def budgeted(llm: LLM, price: Price | None, purse: Budget | None) -> LLM:
    """The model's call at the stated price, within what may be spent."""
    stated = price if price and price.source == "--price" else None

    async def priced(prompt: Prompt, params: Params) -> Completion:
        try:
            reply = await llm(prompt, params)
        except ReplyError as error:
            if stated and error.tokens:
                error.cost = stated.of(*error.tokens)
            raise
        if not stated or reply.input_tokens is None:
            return reply
        return replace(reply, cost=stated.of(reply.input_tokens, reply.output_tokens or 0))

    async def complete(prompt: Prompt, params: Params) -> Completion:
        bound = price.bound(prompt, params) if price else None
        return await call_within(purse, bound, lambda: priced(prompt, params), lambda reply: reply.cost)

    return complete


def _embedded(slots: Sequence[LLM], model: str) -> LLM:
    """One call at a time in each slot, at no cost, under the model's own name."""
    # A slot is a server of its own: batched arithmetic would let a reply depend on its neighbours.
    free: asyncio.Queue[LLM] = asyncio.Queue()
    for slot in slots:
        free.put_nowait(slot)

    async def complete(prompt: Prompt, params: Params) -> Completion:
        slot = await free.get()
        try:
            return replace(await slot(prompt, params), model=model, cost=0.0)
        finally:
            free.put_nowait(slot)

    return complete
