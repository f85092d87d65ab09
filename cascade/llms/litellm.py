"""Any model that litellm knows: one call → one HTTP request → one `Completion`, or one transcript of a clip.

`faults` classifies failures. A reply that was cut is a `Completion` with the provider's word for that in `finish`; its
text is kept, and read as no answer. litellm's own retries, cache, dropping of parameters and log messages are off.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import importlib.util
import json
import logging
import math
import os
import re
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from functools import cache, wraps
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

from msgspec import UNSET

from cascade.errors import ProviderStop, ReplyError, Transient
from cascade.io.jsonl import as_unicode
from cascade.llms import credentials, exchange, faults, origins
from cascade.llms.exchange import Exchange
from cascade.llms.prices import Price
from cascade.llms.redaction import one_line, redact, secret_remover
from cascade.types import LLM, Completion, Params, Prompt, ToolCall

_THOUGHT = re.compile(r"\s*(?:<think>)?(?P<thought>.*?)</think>|\s*<think>(?P<cut>.*)\Z", re.DOTALL)
# A request's fields that are no parameters: the prompt in all its forms, and whatever may carry a key.
_UNLOGGED = {
    *("messages", "prompt", "input", "contents", "system", "system_instruction"),
    *("extra_headers", "file", "tools"),
}


@cache
def _library() -> ModuleType:
    """Import litellm once, without its network calls and its log messages."""
    # Otherwise the import would fetch its price map from the network.
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    with _quiet():
        import litellm
    gc.freeze()  # The imported objects stay for good: collections need not walk through them again.
    litellm.suppress_debug_info = True
    litellm.telemetry = False
    litellm.drop_params = False
    litellm.cache = None
    # The aiohttp sessions of clients that litellm makes itself would stay open after a run.
    litellm.disable_aiohttp_transport = True
    # A call that is cancelled while litellm prepares it on a thread leaves its coroutine behind: nothing was sent.
    warnings.filterwarnings(
        "ignore", message="coroutine 'OpenAI(ChatCompletion|AudioTranscription)", category=RuntimeWarning
    )
    for name in ("LiteLLM", "LiteLLM Router", "LiteLLM Proxy"):
        logging.getLogger(name).setLevel(logging.CRITICAL)

    class SentParameters(litellm.integrations.custom_logger.CustomLogger):
        """Records, for each call, the parameters that litellm made of ours."""

        def log_pre_api_call(self, model: str, messages: Any, kwargs: dict[str, Any]) -> None:
            body = (kwargs.get("additional_args") or {}).get("complete_input_dict")
            record = exchange.current.get(None)
            if isinstance(body, Mapping) and record is not None:
                params = {name: value for name, value in body.items() if name not in _UNLOGGED and value != {}}
                record.sent.update(json.loads(redact(json.dumps(params, default=str))))

    litellm.input_callback.append(SentParameters())
    _guard_clients()
    return litellm


def _guard_clients() -> None:
    """Guard every client that litellm makes itself."""
    handlers: Any = importlib.import_module("litellm.llms.custom_httpx.http_handler")

    def guarded(create: Callable[..., Any]) -> Callable[..., Any]:
        return wraps(create)(lambda *args, **kwargs: exchange.guard(create(*args, **kwargs)))

    for handler in (handlers.AsyncHTTPHandler, handlers.HTTPHandler):
        handler.create_client = guarded(handler.create_client)


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress warnings about the types of litellm and openai, which our user cannot mend.

    Warning filters belong to the process, so this spans a whole client: calls in flight together may not each set and
    restore them.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"pydantic\.")
        warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"(litellm|openai|httpx)\b")
        yield


class LitellmClient:
    """A model's address and key, and the classification of what its calls raise."""

    def __init__(self, model: str, api_base: str | None, key: str | None, timeout: float, label: str) -> None:
        name, provider = resolve(model, api_base, label)
        # litellm may have read keys from a .env file by now.
        if not key and (problem := credentials.unsendable(model, api_base)):
            raise ProviderStop(f"{label}: {problem}")
        if not key and api_base and provider == "openai" and not os.environ.get("OPENAI_API_KEY"):
            key = "none"  # The endpoint may need no key, but openai's client does.
        target = {"model": name, "api_base": api_base, "timeout": timeout, "api_key": key or None}
        self.target = {name: value for name, value in target.items() if value is not None}
        self.label, self.timeout, self.loopback = label, timeout, origins.is_loopback(api_base)
        self.address = origins.given(model, api_base) or ""
        self.host = urlsplit(self.address).netloc
        self.remove_secrets = secret_remover()
        self._accepted = False
        self._keyless = model if not key and api_base is None else None

    async def call(self, function: Callable[..., Awaitable[Any]], **params: Any) -> tuple[Any, Exchange]:
        """Return the library function's result, and the exchange behind it.

        Raises ProviderStop, ReplyError or Transient, as `faults` says.
        """
        import openai  # litellm's exceptions derive from openai's.

        exchanged = Exchange()
        exchange.current.set(exchanged)
        try:
            reply = await asyncio.wait_for(function(**self.target, **params), self.timeout)
        except asyncio.TimeoutError:
            raise Transient("timeout", f"no whole reply within {self.timeout:g} s") from None
        except openai.OpenAIError as error:
            if isinstance(exchanged.fault, ProviderStop):
                raise ProviderStop(f"{self.label}: {exchanged.fault}") from None
            fault = exchanged.fault or faults.classify(
                error, _library(), self.label, accepted=self._accepted, keyless=self._keyless
            )
            if isinstance(fault, Transient) and fault.kind == "connection":
                place = self.host + origins.proxy_of(self.address or "https:")
                raise Transient(fault.kind, f"{place.strip()}: {fault}" if place else str(fault)) from None
            raise fault from None
        if exchanged.host and self.host not in ("", exchanged.host):
            raise ProviderStop(f"{self.label}: {exchanged.host} is asked, not {self.host}; give its address")
        self._accepted = True
        return reply, exchanged


@asynccontextmanager
async def chat_model(
    model: str, api_base: str | None, key: str | None, timeout: float, label: str = "", price: Price | None = None
) -> AsyncIterator[LLM]:
    """Open the chat model of that name. `api_base` is an OpenAI-compatible endpoint; `key` overrides the environment's.

    `timeout` is in seconds for a whole call, however slowly the reply arrives; `label` names the model in errors as its
    user did; a `price` that the user states replaces litellm's. Raises ProviderStop for an unknown name.
    """
    client = LitellmClient(model, api_base, key, timeout, label or f"--llm {model}")

    async def complete(prompt: Prompt, params: Params) -> Completion:
        messages = as_unicode(prompt.messages)
        options: dict[str, Any] = {"num_retries": 0, "max_retries": 0, "no-log": True}
        if "tools" in params:
            options["_skip_mcp_handler"] = True  # It would need the package mcp, which our functions do not.
        try:
            reply, exchanged = await client.call(_library().acompletion, messages=messages, **options, **params)
        except ReplyError as error:
            # A provider charges for what it wrote before it failed.
            error.tokens = _tokens(exchange.current.get().whole.get("usage"))
            if price and error.tokens:
                error.cost = price.of(*error.tokens, audio=bool(prompt.seconds))
            error.unpriced = error.cost is None and exchange.current.get().has_reply
            raise
        return _completion(reply, client, exchanged, price, prompt, params)

    async with _connections(client):
        yield complete


@asynccontextmanager
async def transcription_model(
    model: str, api_base: str | None, timeout: float, label: str
) -> AsyncIterator[Callable[[bytes, Params], Awaitable[dict[str, Any]]]]:
    """Open a transcription model: a function from a WAV file's bytes and parameters to the endpoint's answer.

    The answer has `text`, the price in `cost` (US dollars, None unknown) and, where the format has them, `language` and
    `segments`. Arguments and errors are those of `chat_model`.
    """
    client = LitellmClient(model, api_base, None, timeout, label)

    async def transcribe(clip: bytes, params: Params) -> dict[str, Any]:
        # Every clip is sent under the same name: a file's own may name the video, or the answer.
        file = ("clip.wav", clip, "audio/wav")
        reply, exchanged = await client.call(_library().atranscription, file=file, max_retries=0, **params)
        answer = exchanged.whole
        if not isinstance(answer.get("text"), str):
            raise Transient("unreadable", "the reply has no text")
        return {**answer, "cost": None if client.loopback else _cost(reply)}

    async with _connections(client):
        yield transcribe


@asynccontextmanager
async def _connections(client: LitellmClient) -> AsyncIterator[None]:
    """Keep connections open between calls, because httpx's pool is slow; nested clients share the outermost's."""
    litellm: Any = _library()
    with _quiet(), _without_proxy(client):
        if litellm.aclient_session is not None:
            yield
            return
        import aiohttp
        import httpx
        from litellm.llms.custom_httpx.aiohttp_transport import LiteLLMAiohttpTransport
        from litellm.llms.custom_httpx.http_handler import get_ssl_configuration

        connector = aiohttp.TCPConnector(limit=0, ssl=get_ssl_configuration())  # type: ignore[arg-type]
        session = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())
        transport = LiteLLMAiohttpTransport(client=session)
        litellm.aclient_session = exchange.guard(
            httpx.AsyncClient(transport=transport, follow_redirects=True, timeout=None)
        )
        try:
            yield
        finally:
            await litellm.aclient_session.aclose()
            litellm.aclient_session = None
            await litellm.close_litellm_async_clients()
            litellm.in_memory_llm_clients_cache.flush_cache()


@contextmanager
def _without_proxy(client: LitellmClient) -> Iterator[None]:
    """Send calls to this machine directly, whatever proxy the environment names."""
    names = ("NO_PROXY", "no_proxy") if origins.is_loopback(client.address) else ()
    before = {name: os.environ.get(name) for name in names}
    for name, value in before.items():
        os.environ[name] = ",".join(filter(None, [value, urlsplit(client.address).hostname]))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def resolve(model: str, api_base: str | None = None, label: str = "") -> tuple[str, str]:
    """Return litellm's name of the model, and its provider. Raises ProviderStop for a model that it does not know."""
    litellm = _library()
    if model.startswith("aiohttp_openai/"):  # The one client of litellm's that cannot be guarded.
        raise ProviderStop(f"{label or f'--llm {model}'}: its replies would have no bounds; write openai/… instead")
    try:
        return model, str(litellm.get_llm_provider(model=model, api_base=api_base)[1])
    except litellm.BadRequestError:
        if api_base:
            return f"openai/{model}", "openai"
    ways = "write PROVIDER/MODEL (openai/…, anthropic/…, gemini/…), or give --api-base"
    raise ProviderStop(f"{label or f'--llm {model}'}: litellm knows no such model; {ways}")


def takes_schema(model: str) -> bool:
    """Return whether litellm can send the model a `response_format`; for others a call would be refused."""
    return "response_format" in (_library().get_supported_openai_params(model=model) or ())


def takes_temperature(model: str, params: Params) -> bool:
    """Return whether litellm can send the model the temperature 0 beside these parameters; an unknown name takes it."""
    litellm = _library()
    effort = {"reasoning_effort": params["reasoning_effort"]} if "reasoning_effort" in params else {}
    try:
        name, provider, *_ = litellm.get_llm_provider(model=model)
        litellm.utils.get_optional_params(model=name, custom_llm_provider=provider, temperature=0, **effort)
    except litellm.UnsupportedParamsError:
        return False
    except litellm.BadRequestError:
        return True
    return True


def _completion(
    reply: Any, client: LitellmClient, exchanged: Exchange, price: Price | None, prompt: Prompt, params: Params
) -> Completion:
    """Return litellm's response as a record. Raises ReplyError for an empty one, Transient for what is no response."""
    if not getattr(reply, "choices", None):
        raise Transient("unreadable", "the reply has no choices")
    choice, usage = reply.choices[0], getattr(reply, "usage", None)
    tokens = _tokens(usage)
    cost = _cost(reply) if tokens and not client.loopback else None
    audio_tokens = _count(getattr(usage, "prompt_tokens_details", None), "audio_tokens")
    if prompt.seconds and not (audio_tokens and price and price.audio is not None):
        cost = None  # litellm has taken the audio for text, which is cheaper.
    if tokens and price and price.source == "--price":
        cost = price.of(*tokens)
    text = choice.message.content or ""
    reasoning = getattr(choice.message, "reasoning_content", None) or ""
    if not reasoning and (match := _THOUGHT.match(text)):
        text, reasoning = text[match.end() :], match["thought"] or match["cut"] or ""
    finish = exchanged.finish(choice.finish_reason)
    calls = _tool_calls(choice.message, client.remove_secrets) if "tools" in params else ()
    error = None
    if refusal := exchanged.refusal:
        error = ReplyError("refusal", one_line(redact(refusal)))
    elif choice.finish_reason == "content_filter":
        error = ReplyError("content_filter", "the provider's filter held the reply back")
    elif (finish or "").lower() in faults.BROKEN_OFF.split():
        error = Transient("server", f"the server broke the reply off (finish reason {finish})")
    elif not text.strip() and not reasoning.strip() and not calls and choice.finish_reason != "length":
        error = ReplyError("empty", f"the reply has no text (finish reason {one_line(redact(repr(finish)))})")
    if error:
        error.tokens, error.cost, error.unpriced = tokens, cost, cost is None
        raise error
    input_tokens, output_tokens = tokens or (None, None)
    fingerprint = _short(getattr(reply, "system_fingerprint", None), client.remove_secrets)
    return Completion(
        text=client.remove_secrets(text),
        reasoning=client.remove_secrets(reasoning),
        finish=_short(finish or None, client.remove_secrets),
        model=_short(reply.model, client.remove_secrets),
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        reasoning_tokens=_count(getattr(usage, "completion_tokens_details", None), "reasoning_tokens"),
        cost=cost,
        sent=exchanged.sent,
        fingerprint=UNSET if fingerprint is None else fingerprint,
        calls=calls or UNSET,
        thinking_blocks=tuple(_thinking_blocks(choice.message, client.remove_secrets) if calls else ()) or UNSET,
        audio_tokens=audio_tokens if prompt.seconds and audio_tokens is not None else UNSET,
    )


def _short(name: Any, remove_secrets: Callable[[str], str]) -> str | None:
    """Return a name that a server reports, without secrets and cut to `LONGEST_NAME`; None if it is not text."""
    if not isinstance(name, str):
        return None
    return remove_secrets(name)[: exchange.LONGEST_NAME]


def _tool_calls(message: Any, remove_secrets: Callable[[str], str]) -> tuple[ToolCall, ...]:
    """Return the calls of functions in a message; what has no function with a name is passed over."""
    calls: list[ToolCall] = []
    for call in getattr(message, "tool_calls", None) or ():
        function = getattr(call, "function", None)
        name, arguments = getattr(function, "name", None), getattr(function, "arguments", None)
        if isinstance(name, str) and name:
            identifier = remove_secrets(str(getattr(call, "id", "") or f"call-{len(calls)}"))
            calls.append(ToolCall(id=identifier, name=remove_secrets(name), arguments=remove_secrets(arguments or "")))
    return tuple(calls)


def _thinking_blocks(message: Any, remove_secrets: Callable[[str], str]) -> Iterator[dict[str, str]]:
    """Yield the thinking blocks of a message that calls functions; Anthropic's have a type, a text and a signature."""
    blocks = getattr(message, "thinking_blocks", None)
    for block in blocks if isinstance(blocks, list) else ():
        if isinstance(block, Mapping):
            yield {name: remove_secrets(value) for name, value in block.items() if isinstance(value, str)}


def _tokens(usage: Any) -> tuple[int, int] | None:
    """Return the tokens in and out; None if the provider did not count them, for which litellm substitutes zeros."""
    tokens_in, tokens_out = _count(usage, "prompt_tokens"), _count(usage, "completion_tokens")
    if tokens_in is None or tokens_out is None or not (tokens_in or tokens_out):
        return None
    return tokens_in, tokens_out


def _count(usage: Any, name: str) -> int | None:
    value = usage.get(name) if isinstance(usage, Mapping) else getattr(usage, name, None)
    return value if isinstance(value, int) and 0 <= value <= exchange.MOST_TOKENS else None


def _cost(reply: Any) -> float | None:
    """Return the price of a call in US dollars by litellm's price map; None for a model that it does not list."""
    cost = getattr(reply, "_hidden_params", {}).get("response_cost")
    # Details of the usage that the provider made up may give a cost below zero.
    return float(cost) if cost is not None and 0 <= cost < math.inf else None


@cache
def _encoding() -> Any:
    """Load the encoding as litellm does, without importing litellm, which takes seconds."""
    package = importlib.util.find_spec("litellm")
    if package and package.origin:
        os.environ["TIKTOKEN_CACHE_DIR"] = str(Path(package.origin).parent / "litellm_core_utils" / "tokenizers")
    return importlib.import_module("tiktoken").get_encoding("cl100k_base")


def count_tokens(*texts: str) -> int:
    """Return the tokens of messages by the encoding in litellm's package, with a chat format's tokens a message."""
    encoding = _encoding()
    counts = [len(encoding.encode(text, disallowed_special=())) for text in texts]
    return 3 + sum(4 + count for count in counts)
