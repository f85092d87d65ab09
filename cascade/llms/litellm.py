"""Any model that litellm knows: one call → one HTTP request → one `Completion`, or one transcript of a clip.

What fails is classified in `faults`. A reply that was cut at the token limit is a `Completion` with `finish="length"`:
what it says is kept, and read as no answer. litellm's own retries, cache, dropping of parameters and chatter are off.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import re
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from functools import cache, lru_cache
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

from cascade.errors import ProviderStop, ReplyError, Transient
from cascade.llms import credentials, faults
from cascade.llms.redaction import hiding, redact
from cascade.types import LLM, Completion, Params, Prompt

_THOUGHT = re.compile(r"\s*(?:<think>)?(?P<thought>.*?)</think>|\s*<think>(?P<cut>.*)\Z", re.DOTALL)
# What a request says beside its parameters: the prompt in all its forms, and whatever may carry a key.
_UNLOGGED = frozenset(
    {"messages", "prompt", "input", "contents", "system", "system_instruction", "extra_headers", "file"}
)
_sent: ContextVar[dict[str, Any]] = ContextVar("_sent")


@cache
def _library() -> ModuleType:
    """litellm, imported once, without its network calls and its chatter."""
    # Its price map would be fetched from the network at import.
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    with _quiet():
        import litellm
    gc.freeze()  # what importing made stays for good: collections need not walk through it again
    litellm.suppress_debug_info = True
    litellm.telemetry = False
    litellm.drop_params = False
    litellm.cache = None
    litellm.input_callback.append(_watch(litellm))
    # For the clients that litellm makes itself: their aiohttp sessions would stay open behind a run.
    litellm.disable_aiohttp_transport = True
    # A call that is cancelled while litellm prepares it on a thread leaves its coroutine behind: nothing was sent.
    warnings.filterwarnings("ignore", message="coroutine 'OpenAIChatCompletion", category=RuntimeWarning)
    for name in ("LiteLLM", "LiteLLM Router", "LiteLLM Proxy"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    return litellm


def _watch(litellm: ModuleType) -> Any:
    """What notes, for each call, the parameters that litellm made of ours."""

    class Watch(litellm.integrations.custom_logger.CustomLogger):  # type: ignore[misc,name-defined]
        def log_pre_api_call(self, model: str, messages: Any, kwargs: dict[str, Any]) -> None:
            body = (kwargs.get("additional_args") or {}).get("complete_input_dict")
            if isinstance(body, Mapping) and (noted := _sent.get(None)) is not None:
                plain = {name: value for name, value in body.items() if name not in _UNLOGGED and value != {}}
                noted.update(_clean(json.dumps(plain, default=str)))

    return Watch()


@lru_cache(maxsize=8)  # every call of a run sends the same
def _clean(body: str) -> dict[str, Any]:
    return dict(json.loads(redact(body)))


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what pydantic says of the types of litellm and openai: nothing there is for our user to mend.

    It spans a whole client: filters are the process's, so calls in flight together may not each set and restore them.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"pydantic\.")
        warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"(litellm|openai|httpx)\b")
        yield


class LitellmClient:
    """A model's address, and one call at a time through it."""

    def __init__(self, model: str, api_base: str | None, key: str | None, timeout: float, asked: str) -> None:
        name, provider = provider_name(model, api_base, asked)
        target = {
            "model": name,
            "api_base": api_base,
            "timeout": timeout,
            "api_key": key or _no_key(provider, api_base),
        }
        self.sent = {name: value for name, value in target.items() if value is not None}
        self.asked, self.timeout, self.loopback = asked, timeout, credentials.is_loopback(api_base)
        self.host = urlsplit(api_base or "").netloc.rpartition("@")[2]  # an address may hold a password
        self.hidden = hiding()
        self._accepted = False
        self._keyless = model if "api_key" not in self.sent and api_base is None else None

    async def call(self, function: Callable[..., Awaitable[Any]], **params: Any) -> Any:
        """What the library's function returns. Raises ProviderStop, ReplyError or Transient, as `faults` has it."""
        import openai  # litellm's exceptions derive from its

        try:
            reply = await asyncio.wait_for(function(**self.sent, **params), self.timeout)
        except asyncio.TimeoutError:
            raise Transient("timeout", f"no whole reply within {self.timeout:g} s") from None
        except openai.OpenAIError as error:
            why = faults.classified(error, _library(), self.asked, accepted=self._accepted, keyless=self._keyless)
            if isinstance(why, Transient) and why.kind == "connection" and self.host:
                raise Transient(why.kind, f"{self.host}: {why}") from None
            raise why from None
        self._accepted = True
        return reply


@asynccontextmanager
async def client(
    model: str, api_base: str | None, key: str | None, timeout: float, asked: str = ""
) -> AsyncIterator[LLM]:
    """The model of that name. `api_base` is an OpenAI-compatible endpoint; `key` overrides the environment's.

    `timeout` is in seconds for a whole call, however slowly the reply trickles in; `asked` names the model in errors as
    its user did. Raises ProviderStop for a name that litellm cannot place, where there is no endpoint to send it to.
    """
    door = LitellmClient(model, api_base, key, timeout, asked or f"--llm {model}")

    async def complete(prompt: Prompt, params: Params) -> Completion:
        messages = [dict(message) for message in prompt.messages]
        sent: dict[str, Any] = {}
        _sent.set(sent)
        reply = await door.call(
            _library().acompletion, messages=messages, num_retries=0, max_retries=0, **{"no-log": True}, **params
        )
        return _completion(reply, not door.loopback, sent, door.hidden)

    with _quiet(), _without_proxy(door.loopback):
        async with _connections():
            yield complete


@asynccontextmanager
async def transcriber(
    model: str, api_base: str | None, timeout: float, asked: str
) -> AsyncIterator[Callable[[bytes, Params], Awaitable[dict[str, Any]]]]:
    """A transcription model: a function from a clip as a WAV file, and parameters, to what the endpoint says of it.

    That is `text`, the price in `cost` (US dollars, None unknown) and, where the format has them, `language` and
    `segments`. The rest as in `client`.
    """
    door = LitellmClient(model, api_base, None, timeout, asked)

    async def transcribe(clip: bytes, params: Params) -> dict[str, Any]:
        # The same name for every clip: a file's own may name the video, or the answer.
        file = ("clip.wav", clip, "audio/wav")
        reply = await door.call(_library().atranscription, file=file, max_retries=0, **params)
        said: Any = reply.model_dump() if hasattr(reply, "model_dump") else {}
        if not isinstance(said.get("text"), str):
            raise Transient("unreadable", "the reply has no text")
        return {**said, "cost": None if door.loopback else _cost(reply)}

    with _quiet(), _without_proxy(door.loopback):
        async with _connections():
            yield transcribe


@asynccontextmanager
async def _connections() -> AsyncIterator[None]:
    """Connections that stay open between calls, however many are in flight; httpx's own pool costs more than a request.

    The innermost of nested clients uses the connections of the outermost.
    """
    litellm: Any = _library()
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
    litellm.aclient_session = httpx.AsyncClient(transport=transport, follow_redirects=True, timeout=None)
    try:
        yield
    finally:
        await litellm.aclient_session.aclose()
        litellm.aclient_session = None
        await litellm.close_litellm_async_clients()
        litellm.in_memory_llm_clients_cache.flush_cache()


def provider_name(model: str, api_base: str | None = None, asked: str = "") -> tuple[str, str]:
    """The name under which litellm finds a provider, and the provider. Raises ProviderStop where there is none."""
    litellm = _library()
    try:
        return model, str(litellm.get_llm_provider(model=model, api_base=api_base)[1])
    except litellm.BadRequestError:
        if api_base:
            return f"openai/{model}", "openai"
    ways = "write PROVIDER/MODEL (openai/…, anthropic/…, gemini/…), or give --api-base"
    raise ProviderStop(f"{asked or f'--llm {model}'}: litellm knows no such model; {ways}")


def _no_key(provider: str, api_base: str | None) -> str | None:
    """A stand-in where an endpoint may need no key, but its client wants one."""
    return "none" if api_base and provider == "openai" and not os.environ.get("OPENAI_API_KEY") else None


@contextmanager
def _without_proxy(loopback: bool) -> Iterator[None]:
    """Calls to this machine go straight there, whatever proxy the environment names."""
    names = ("NO_PROXY", "no_proxy") if loopback else ()
    before = {name: os.environ.get(name) for name in names}
    for name in names:
        os.environ[name] = ",".join(filter(None, [before[name], *credentials.LOOPBACK]))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _completion(reply: Any, priced: bool, sent: Params, hidden: Callable[[Any], Any]) -> Completion:
    """litellm's response as a record. Raises ReplyError where it says nothing, Transient where it is no response."""
    if not getattr(reply, "choices", None):
        raise Transient("unreadable", "the reply has no choices")
    choice = reply.choices[0]
    tokens = _counted(getattr(reply, "usage", None))
    cost = _cost(reply) if priced and tokens else None
    text, reasoning = thoughts(choice.message.content or "", getattr(choice.message, "reasoning_content", None) or "")
    if choice.finish_reason == "content_filter":
        raise _charged(ReplyError("content_filter", "the provider's filter held the reply back"), tokens, cost)
    if not text.strip() and not reasoning.strip() and choice.finish_reason != "length":
        empty = ReplyError("empty", f"the reply has no text (finish reason {choice.finish_reason!r})")
        raise _charged(empty, tokens, cost)
    details = getattr(getattr(reply, "usage", None), "completion_tokens_details", None)
    return Completion(
        text=hidden(text),
        reasoning=hidden(reasoning),
        finish=hidden(choice.finish_reason),
        model=hidden(reply.model) if isinstance(reply.model, str) else None,
        input_tokens=tokens[0] if tokens else None,
        output_tokens=tokens[1] if tokens else None,
        reasoning_tokens=getattr(details, "reasoning_tokens", None),
        cost=cost,
        sent=sent,
    )


def count_tokens(prompt: Prompt) -> int:
    """The prompt's tokens by the encoding that lies in litellm's package, with what stands around each message."""
    encoding = _library().encoding
    return 3 + sum(
        4 + len(encoding.encode(str(message["content"]), disallowed_special=())) for message in prompt.messages
    )


def thoughts(text: str, reasoning: str) -> tuple[str, str]:
    """The reply and what was thought before it, where the text itself has `<think>`, a cut one too, or a lone end."""
    if reasoning or not (found := _THOUGHT.match(text)):
        return text, reasoning
    return text[found.end() :], found["cut"] if found["thought"] is None else found["thought"]


def _counted(usage: Any) -> tuple[int, int] | None:
    """The tokens in and out, where the provider counted them: litellm makes up zeros where it did not."""
    told = getattr(usage, "prompt_tokens", 0), getattr(usage, "completion_tokens", 0)
    return told if any(told) and all(isinstance(one, int) and one >= 0 for one in told) else None


def _charged(error: ReplyError, tokens: tuple[int, int] | None, cost: float | None) -> ReplyError:
    error.tokens, error.cost = tokens, cost
    return error


def _cost(reply: Any) -> float | None:
    """The price of the call in US dollars by litellm's price map; None where the model is not in it."""
    cost = getattr(reply, "_hidden_params", {}).get("response_cost")
    return float(cost) if cost is not None else None
