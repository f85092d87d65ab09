"""What went wrong with a call, by type and status, and what follows from it.

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
| too many requests, provider's fault | 408, 409, 429, 5xx | try again: `Transient`, not before Retry-After |
| dropped, timed out, unreadable body | openai's types, no status, or no HTTP answer | try again |

The rows are tried in this order. A refusal stops the run only while nothing has been answered: then every call would be
refused alike, while later it is one odd item.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any

from cascade.errors import ProviderStop, ReplyError, Transient
from cascade.llms.redaction import one_line, redact

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


def classified(
    error: Any, litellm: Any, asked: str, *, accepted: bool, keyless: str | None
) -> ProviderStop | ReplyError:
    """The table above, for an error that the library raised.

    `asked` names the model as its user did; `accepted`: a call has succeeded; `keyless`: the model whose key is left to
    the environment.
    """
    said, codes, status = _words(error), _codes(error), getattr(error, "status_code", None) or 0
    if isinstance(error, litellm.ContentPolicyViolationError) or codes & _FILTERED:
        return ReplyError("content_filter", said)
    if isinstance(error, litellm.ContextWindowExceededError) or status == 413 or codes & _TOO_LONG:
        return ReplyError("too_long", said)
    if why := _stopping(error, litellm, status, codes, None if accepted else keyless):
        return ProviderStop(f"{asked}: {why}: {said}")
    if 400 <= status < 500 and status not in _PASSING:
        return ReplyError("refused", said) if accepted else ProviderStop(f"{asked}: refused: {said}{_hint(said)}")
    return Transient(_kind(error, status), said, _retry_after(error))


def _stopping(error: Any, litellm: Any, status: int, codes: set[str], keyless: str | None) -> str | None:
    """Why every further call would fail like this one; None where it might not. `keyless` may lack a key."""
    if status in _STOP or "insufficient_quota" in codes:
        return _STOP.get(status, _STOP[402])
    if _headers(error) is not None or 400 <= status < 500:
        return None
    if _behind(error, ImportError):
        return "a package that the provider needs is not installed"
    missing = litellm.validate_environment(model=keyless)["missing_keys"] if keyless else ()
    return f"{' and '.join(missing)} not set" if missing else None


def _behind(error: BaseException, kinds: type[BaseException] | tuple[type[BaseException], ...]) -> bool:
    """Whether the error, or one that it arose from, is of a kind."""
    return any(isinstance(link, kinds) for link in _chain(error))


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error, the one that it arose from, and so on."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _kind(error: Any, status: int) -> str:
    import openai  # litellm's exceptions derive from its

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
    bodies = [getattr(link, "body", None) for link in _chain(error)]
    return {str(body.get(name)) for body in bodies if isinstance(body, Mapping) for name in ("code", "type")}


def _hint(said: str) -> str:
    return "; unset it with --param temperature=none" if "temperature" in said else ""


def _headers(error: Any) -> Any:
    """The headers of the HTTP answer behind an error; None where there was no answer."""
    found = getattr(error, "litellm_response_headers", None)
    return found if found is not None else getattr(getattr(error, "response", None), "headers", None) or None


def _retry_after(error: Any) -> float | None:
    """The seconds that the provider asked to wait, given as a number or as a date; None where it did not.

    `retry-after-ms`, which OpenAI and Azure send beside it, says the same more finely, and comes first.
    """
    headers = _headers(error) or {}
    if (milliseconds := _number(headers.get("retry-after-ms"))) is not None:
        return milliseconds / 1000
    asked = headers.get("retry-after")
    return (_until(asked) if asked else None) if (seconds := _number(asked)) is None else seconds


def _number(asked: str | None) -> float | None:
    try:
        return max(0.0, float(asked or ""))
    except ValueError:
        return None


def _until(date: str) -> float | None:
    try:
        then = parsedate_to_datetime(date)
    except (TypeError, ValueError, OverflowError):
        return None
    return max(0.0, (then - datetime.now(timezone.utc)).total_seconds()) if then.tzinfo else None
