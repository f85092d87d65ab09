"""Any model that litellm knows: one call → one HTTP request → one `Completion`, and one classification of what fails.

| what happened | by | what follows |
|---|---|---|
| content filter | litellm's type, an error code, or the finish reason | record: `ReplyError`, `content_filter` |
| prompt too long | litellm's type, an error code, or 413 | record: `too_long` |
| nothing said at all | no text and no reasoning, and not cut | record: `empty` |
| wrong key, no access | 401, 403 | stop: `ProviderStop` |
| unknown model or address | 404, 405 | stop |
| no money | 402, or the error code `insufficient_quota` | stop |
| no key, a missing package | no HTTP answer yet: litellm's list of keys; an ImportError | stop |
| refused parameter or request | any other 4xx, litellm's own too | stop; after a success, record: `refused` |
| too many requests, provider's fault | 408, 409, 429, 5xx | try again: `Transient`, after Retry-After where given |
| dropped, timed out, unreadable body | openai's types, no status, or no HTTP answer | try again |

The rows are tried in this order. A refusal stops the run only while nothing has been answered: then every call would be
refused alike, while later it is one odd item. A reply that was cut at the token limit is a `Completion` with
`finish="length"`: what it says is kept, and read as no answer. litellm's own retries, cache, dropping of parameters and
chatter are off.
"""

from __future__ import annotations

import asyncio
import logging
import os
import warnings
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from functools import cache
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

from cascade.errors import ProviderStop, ReplyError, Transient
from cascade.llms.redaction import one_line, redact
from cascade.types import LLM, Completion, Params, Prompt

_STOP = {
    401: "the key is wrong or missing",
    402: "there is no money left",
    403: "the key has no access",
    404: "there is no such model or address",
    405: "there is no such address",
}
_PASSING = frozenset({408, 409, 429})
_FILTERED = frozenset({"content_filter", "content_policy_violation"})
_TOO_LONG = frozenset({"context_length_exceeded", "exceed_context_size_error"})
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


@cache
def _library() -> ModuleType:
    """litellm, imported once, without its network calls and its chatter."""
    # Its price map would be fetched from the network at import.
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    with _quiet():
        import litellm
    litellm.suppress_debug_info = True
    litellm.telemetry = False
    litellm.drop_params = False
    litellm.cache = None
    # httpx is closed with the client; the aiohttp transport leaves sessions open behind it.
    litellm.disable_aiohttp_transport = True
    for name in ("LiteLLM", "LiteLLM Router", "LiteLLM Proxy"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    return litellm


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what pydantic says of the types of litellm and openai: nothing there is for our user to mend.

    It spans a whole client: filters are the process's, so calls in flight together may not each set and restore them.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"pydantic\.")
        warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"(litellm|openai|httpx)\b")
        yield


@asynccontextmanager
async def client(model: str, api_base: str | None, key: str | None, timeout: float) -> AsyncIterator[LLM]:
    """The model of that name. `api_base` is an OpenAI-compatible endpoint; `key` overrides the environment's.

    `timeout` is in seconds for a whole call, however slowly the reply trickles in. Raises ProviderStop for a name that
    litellm cannot place, where there is no endpoint to send it to.
    """
    litellm = _library()
    name, provider = place(model, api_base)
    target = {"model": name, "api_base": api_base, "timeout": timeout, "api_key": key or _no_key(provider, api_base)}
    sent = {name: value for name, value in target.items() if value is not None}
    loopback = _is_loopback(api_base)
    accepted, keyless = False, "api_key" not in sent and api_base is None

    async def complete(prompt: Prompt, params: Params) -> Completion:
        nonlocal accepted
        messages = [dict(message) for message in prompt.messages]
        call = litellm.acompletion(messages=messages, num_retries=0, max_retries=0, **sent, **params)
        try:
            reply = await asyncio.wait_for(call, timeout)
        except asyncio.TimeoutError:
            raise Transient("timeout", f"no whole reply within {timeout:g} s") from None
        except _openai().OpenAIError as error:
            raise _classified(error, model, accepted, keyless) from None
        accepted = True
        return _completion(reply, priced=not loopback)

    with _quiet(), _without_proxy(loopback):
        try:
            yield complete
        finally:
            await litellm.close_litellm_async_clients()
            litellm.in_memory_llm_clients_cache.flush_cache()


def _openai() -> ModuleType:
    """The package whose exceptions litellm's derive from."""
    import openai

    return openai


def place(model: str, api_base: str | None = None) -> tuple[str, str]:
    """The name under which litellm finds a provider, and the provider. Raises ProviderStop where there is none."""
    litellm = _library()
    try:
        return model, str(litellm.get_llm_provider(model=model, api_base=api_base)[1])
    except litellm.BadRequestError:
        if api_base:
            return f"openai/{model}", "openai"
    ways = "write PROVIDER/MODEL (openai/…, anthropic/…, gemini/…), or give --api-base"
    raise ProviderStop(f"--llm {model}: litellm knows no such model; {ways}")


def _no_key(provider: str, api_base: str | None) -> str | None:
    """A stand-in where an endpoint may need no key, but its client wants one."""
    return "none" if api_base and provider == "openai" and not os.environ.get("OPENAI_API_KEY") else None


def _is_loopback(api_base: str | None) -> bool:
    return api_base is not None and urlsplit(api_base).hostname in _LOOPBACK


@contextmanager
def _without_proxy(loopback: bool) -> Iterator[None]:
    """Calls to this machine go straight there, whatever proxy the environment names."""
    names = ("NO_PROXY", "no_proxy") if loopback else ()
    before = {name: os.environ.get(name) for name in names}
    for name in names:
        os.environ[name] = ",".join(filter(None, [before[name], *_LOOPBACK]))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _classified(error: Any, model: str, accepted: bool, keyless: bool) -> ProviderStop | ReplyError:
    """The table above. `accepted`: a call has succeeded; `keyless`: the key is left to the environment."""
    litellm = _library()
    said, codes, status = _words(error), _codes(error), getattr(error, "status_code", None) or 0
    if isinstance(error, litellm.ContentPolicyViolationError) or codes & _FILTERED:
        return ReplyError("content_filter", said)
    if isinstance(error, litellm.ContextWindowExceededError) or status == 413 or codes & _TOO_LONG:
        return ReplyError("too_long", said)
    if why := _stopping(error, status, codes, model if keyless and not accepted else None):
        return ProviderStop(f"--llm {model}: {why}: {said}")
    if 400 <= status < 500 and status not in _PASSING:
        return ReplyError("refused", said) if accepted else ProviderStop(f"--llm {model}: refused: {said}{_hint(said)}")
    return Transient(_kind(error, status), said, _retry_after(error))


def _stopping(error: Any, status: int, codes: set[str], keyless: str | None) -> str | None:
    """Why every further call would fail like this one; None where it might not. `keyless` may lack a key."""
    if status in _STOP or "insufficient_quota" in codes:
        return _STOP.get(status, _STOP[402])
    if _headers(error) is not None or 400 <= status < 500:
        return None
    if _behind(error, ImportError):
        return "a package that the provider needs is not installed"
    missing = _library().validate_environment(model=keyless)["missing_keys"] if keyless else ()
    return f"{' and '.join(missing)} not set" if missing else None


def _behind(error: BaseException, kinds: type[BaseException] | tuple[type[BaseException], ...]) -> bool:
    """Whether the error, or one that it arose from, is of a kind."""
    link: BaseException | None = error
    while link is not None:
        if isinstance(link, kinds):
            return True
        link = link.__cause__ or link.__context__
    return False


def _kind(error: Any, status: int) -> str:
    openai = _openai()
    if isinstance(error, openai.APITimeoutError) or _behind(error, (asyncio.TimeoutError, TimeoutError)):
        return "timeout"
    if _headers(error) is None:
        # litellm gives these the status 500; no server said so.
        return "connection" if _behind(error, (openai.APIConnectionError, OSError)) else "unreadable"
    return "rate_limit" if status == 429 else "server"


def _words(error: Any) -> str:
    """What the provider said, on one line, without litellm's names for it and without any key."""
    said = str(getattr(error, "message", error)).rpartition("Exception - ")[2].removeprefix("litellm.")
    for foreign in ("Traceback (most recent call last)", "To drop unsupported openai params"):
        said = said.partition(foreign)[0]
    return one_line(redact(said)).rstrip(". ")


def _codes(error: Any) -> set[str]:
    """The provider's own names for what went wrong, on the error or on one that it arose from."""
    codes: set[str] = set()
    link: BaseException | None = error
    while link is not None:
        body = getattr(link, "body", None)
        if isinstance(body, Mapping):
            codes |= {str(body.get(name)) for name in ("code", "type")}
        link = link.__cause__ or link.__context__
    return codes


def _hint(said: str) -> str:
    return "; unset it with --param temperature=none" if "temperature" in said else ""


def _headers(error: Any) -> Any:
    """The headers of the HTTP answer behind an error; None where there was no answer."""
    found = getattr(error, "litellm_response_headers", None)
    return found if found is not None else getattr(getattr(error, "response", None), "headers", None) or None


def _retry_after(error: Any) -> float | None:
    """The seconds that the provider asked to wait, given as a number or as a date; None where it did not."""
    asked = (_headers(error) or {}).get("retry-after")
    if not asked:
        return None
    try:
        return max(0.0, float(asked))
    except ValueError:
        return _until(asked)


def _until(date: str) -> float | None:
    try:
        then = parsedate_to_datetime(date)
    except (TypeError, ValueError):
        return None
    return max(0.0, (then - datetime.now(timezone.utc)).total_seconds()) if then.tzinfo else None


def _completion(reply: Any, priced: bool) -> Completion:
    """litellm's response as a record. Raises ReplyError where it says nothing, Transient where it is no response."""
    if not getattr(reply, "choices", None):
        raise Transient("unreadable", "the reply has no choices")
    choice = reply.choices[0]
    text, reasoning = choice.message.content or "", getattr(choice.message, "reasoning_content", None) or ""
    if choice.finish_reason == "content_filter":
        raise ReplyError("content_filter", "the provider's filter held the reply back")
    if not text.strip() and not reasoning.strip() and choice.finish_reason != "length":
        raise ReplyError("empty", f"the reply has no text (finish reason {choice.finish_reason!r})")
    usage = getattr(reply, "usage", None)
    if not getattr(usage, "total_tokens", 0):
        usage = None  # litellm makes up zeros where the provider does not count
    details = getattr(usage, "completion_tokens_details", None)
    return Completion(
        text=text,
        reasoning=reasoning,
        finish=choice.finish_reason,
        model=reply.model,
        input_tokens=getattr(usage, "prompt_tokens", None),
        output_tokens=getattr(usage, "completion_tokens", None),
        reasoning_tokens=getattr(details, "reasoning_tokens", None),
        cost=_cost(reply) if priced and usage else None,
    )


def _cost(reply: Any) -> float | None:
    """The price of the call in US dollars by litellm's price map; None where the model is not in it."""
    cost = getattr(reply, "_hidden_params", {}).get("response_cost")
    return float(cost) if cost is not None else None
