"""Any model that litellm knows: one call → one HTTP request → one `Completion`, and one classification of what fails.

| what happened | by | what follows |
|---|---|---|
| wrong key, no access | 401, 403 | stop: `ProviderStop` |
| unknown model or address | 404, 405 | stop |
| no money | 402; 429 with the code `insufficient_quota` | stop |
| refused parameter or request | 400, 422, unsupported by litellm | stop; once a call has succeeded, record: `refused` |
| too many requests, provider's fault | 408, 409, 429, 5xx | try again: `Transient`, after Retry-After where given |
| dropped, timed out, unreadable body | no status, or a status below 400 | try again |
| content filter | litellm's type, or the finish reason | record: `ReplyError`, kind `content_filter` |
| prompt too long | litellm's type, or 413 | record: `too_long` |
| nothing said at all | an empty text that was not cut | record: `empty` |

A reply that was cut at the token limit is a `Completion` with `finish="length"`: what it says is kept, and read as no
answer. litellm's own retries, cache, dropping of parameters and chatter are off.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from functools import cache
from types import ModuleType
from typing import Any

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
_KINDS = {408: "timeout", 429: "rate_limit"}


@cache
def _library() -> ModuleType:
    """litellm, imported once, without its network calls and its chatter."""
    # Its price map would be fetched from the network at import.
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    with warnings.catch_warnings():
        # Its own code trips over deprecations of its dependencies; they say nothing to our user.
        warnings.simplefilter("ignore")
        import litellm
    litellm.suppress_debug_info = True
    litellm.telemetry = False
    litellm.drop_params = False
    litellm.cache = None
    # httpx is closed with the client; the aiohttp transport leaves sessions open behind it.
    litellm.disable_aiohttp_transport = True
    logging.getLogger("LiteLLM").setLevel(logging.CRITICAL)
    return litellm


@asynccontextmanager
async def client(model: str, api_base: str | None, key: str | None, timeout: float) -> AsyncIterator[LLM]:
    """The model of that name. `api_base` is an OpenAI-compatible endpoint; `key` overrides the environment's.

    Raises ProviderStop for a name that litellm cannot place, where there is no endpoint to send it to.
    """
    litellm = _library()
    target = {"model": _placed(litellm, model, api_base), "api_base": api_base, "timeout": timeout}
    target["api_key"] = key or ("none" if api_base and "OPENAI_API_KEY" not in os.environ else None)
    accepted = False

    async def complete(prompt: Prompt, params: Params) -> Completion:
        nonlocal accepted
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                reply = await litellm.acompletion(
                    messages=[dict(message) for message in prompt.messages],
                    num_retries=0,
                    max_retries=0,
                    **{name: value for name, value in target.items() if value is not None},
                    **params,
                )
        except litellm.exceptions.OpenAIError as error:
            raise _classified(litellm, error, model, accepted) from None
        accepted = True
        return _completion(reply)

    try:
        yield complete
    finally:
        await litellm.close_litellm_async_clients()
        litellm.in_memory_llm_clients_cache.flush_cache()


def _placed(litellm: ModuleType, model: str, api_base: str | None) -> str:
    """The name under which litellm finds a provider."""
    known = model in litellm.model_cost or model.split("/")[0] in litellm.provider_list
    if known:
        return model
    if api_base:
        return f"openai/{model}"
    ways = "write PROVIDER/MODEL (openai/…, anthropic/…, gemini/…), or give --api-base"
    raise ProviderStop(f"--llm {model}: litellm knows no such model; {ways}")


def _classified(litellm: ModuleType, error: Any, model: str, accepted: bool) -> ProviderStop | ReplyError:
    """The table above."""
    said = one_line(redact(str(getattr(error, "message", error)).removeprefix("litellm.")))
    status = getattr(error, "status_code", None) or 0
    if isinstance(error, litellm.ContentPolicyViolationError):
        return ReplyError("content_filter", said)
    if isinstance(error, litellm.ContextWindowExceededError) or status == 413:
        return ReplyError("too_long", said)
    if status in _STOP or "insufficient_quota" in said:
        return ProviderStop(f"--llm {model}: {_STOP.get(status, _STOP[402])}: {said}")
    if (
        isinstance(error, litellm.exceptions.APIConnectionError | litellm.Timeout)
        or status in _PASSING
        or status >= 500
    ):
        return Transient(_kind(litellm, error, status), said, _retry_after(error))
    if status >= 400:
        refused = ReplyError("refused", said)
        return refused if accepted else ProviderStop(f"--llm {model}: refused: {said}{_hint(said)}")
    return Transient("unreadable", said)


def _kind(litellm: ModuleType, error: Any, status: int) -> str:
    if isinstance(error, litellm.Timeout):
        return "timeout"
    return _KINDS.get(status, "connection" if isinstance(error, litellm.exceptions.APIConnectionError) else "server")


def _hint(said: str) -> str:
    return "; unset it with --param temperature=none" if "temperature" in said else ""


def _retry_after(error: Any) -> float | None:
    """The seconds that the provider asked to wait, given as a number or as a date; None where it did not."""
    headers = getattr(error, "litellm_response_headers", None) or getattr(
        getattr(error, "response", None), "headers", None
    )
    asked = (headers or {}).get("retry-after")
    if not asked:
        return None
    try:
        return max(0.0, float(asked))
    except ValueError:
        return _until(asked)


def _until(date: str) -> float | None:
    try:
        then = parsedate_to_datetime(date)
    except ValueError:
        return None
    return max(0.0, (then - datetime.now(timezone.utc)).total_seconds()) if then.tzinfo else None


def _completion(reply: Any) -> Completion:
    """litellm's response as a record. Raises ReplyError where it says nothing, Transient where it is no response."""
    if not getattr(reply, "choices", None):
        raise Transient("unreadable", "the reply has no choices")
    choice = reply.choices[0]
    text, reasoning = choice.message.content or "", getattr(choice.message, "reasoning_content", None) or ""
    if choice.finish_reason == "content_filter":
        raise ReplyError("content_filter", "the provider's filter held the reply back")
    if not text.strip() and choice.finish_reason != "length":
        raise ReplyError("empty", f"the reply has no text (finish reason {choice.finish_reason!r})")
    usage = getattr(reply, "usage", None)
    details = getattr(usage, "completion_tokens_details", None)
    return Completion(
        text=text,
        reasoning=reasoning,
        finish=choice.finish_reason,
        model=reply.model,
        input_tokens=getattr(usage, "prompt_tokens", None),
        output_tokens=getattr(usage, "completion_tokens", None),
        reasoning_tokens=getattr(details, "reasoning_tokens", None),
        cost=_cost(reply),
    )


def _cost(reply: Any) -> float | None:
    """The price of the call in US dollars by litellm's price map; None where the model is not in it."""
    cost = getattr(reply, "_hidden_params", {}).get("response_cost")
    return float(cost) if cost is not None else None
