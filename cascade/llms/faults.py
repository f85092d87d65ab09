"""Which failure a call met, by type and status, and what follows from it.

| what happened | recognised by | what follows |
|---|---|---|
| content filter | litellm's type, an error code or the finish reason | the item fails: `content_filter` |
| refusal | the reply's field `refusal` | the item fails: `refusal` |
| prompt too long | litellm's type, an error code or status 413 | the item fails: `too_long` |
| empty reply | no text and no reasoning, and not cut | the item fails: `empty` |
| wrong key, no access | 401, 403 | the run stops |
| unknown model or address | 404, 405 | the run stops |
| no money | 402 or the code `insufficient_quota` | the run stops |
| redirect to another origin | scheme, host or port of the new address | the run stops; nothing was sent there |
| no key, missing package | no HTTP answer, and litellm's list of keys or an ImportError | the run stops |
| refused parameter or request | any other 4xx | the run stops; after a first success, the item fails: `refused` |
| rate limit, server fault | 408, 409, 429, 5xx | another try, not before Retry-After, of five minutes at most |
| connection lost, time-out, unreadable body | the client library's type, no JSON, more than 16 MiB | another try |
| reply broken off | a finish reason that names a fault, as `abort` and `error` do | another try |
| reply cut | any other finish reason that is no natural end | the reply is kept, and unread |

The rows are tried in this order. An error that comes with a success status has the status that fits its code or type,
503 where neither is known. A refused request stops the run only before the first success: every call would be refused
alike. Later it concerns this item only.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any

from cascade.errors import ProviderStop, Refused, ReplyError, Transient
from cascade.llms.redaction import one_line, redact

_STOP = {
    401: "the key is wrong or missing",
    402: "there is no money left",
    403: "the key has no access",
    404: "there is no such model or address",
    405: "there is no such address",
}
_LONGEST_WAIT = 300.0  # seconds
_PASSING = frozenset({408, 409, 429})
_FILTERED = frozenset({"content_filter", "content_policy_violation"})
_TOO_LONG = frozenset({"context_length_exceeded", "exceed_context_size_error"})
# The status of an error by its code or type, for an error that comes within a success; any other is a server fault.
_STATUS = {
    **dict.fromkeys((*_FILTERED, *_TOO_LONG, "invalid_request_error", "invalid_argument", "badrequesterror"), 400),
    **dict.fromkeys(("authentication_error", "authenticationerror", "invalid_api_key", "unauthenticated"), 401),
    **dict.fromkeys(("billing_error", "insufficient_quota", "payment_required"), 402),
    **dict.fromkeys(("permission_error", "permission_denied", "permissiondeniederror"), 403),
    **dict.fromkeys(("not_found_error", "notfounderror", "not_found", "model_not_found"), 404),
    "request_too_large": 413,
    **dict.fromkeys(("rate_limit_error", "ratelimiterror", "rate_limit_exceeded", "resource_exhausted"), 429),
}
# Finish reasons by which a server says that it broke the reply off.
BROKEN_OFF = """
abort aborted error failed cancelled canceled user_cancel network_error timeout timed_out server_error
insufficient_system_resource overloaded unavailable
"""


def classify(error: Any, litellm: Any, label: str, *, accepted: bool, keyless: str | None) -> ProviderStop | ReplyError:
    """Return the exception that the table above gives for an error of the library.

    `label` names the model as its user did; `accepted` is whether a call has succeeded; `keyless` is a model whose key
    the environment should hold.
    """
    # The provider's message without litellm's prefixes and additions, and its codes, also of what the error arose from.
    message = str(getattr(error, "message", error)).rpartition("Exception - ")[2].removeprefix("litellm.")
    for appended in ("Traceback (most recent call last)", "To drop unsupported openai params", "To drop these, set"):
        message = message.partition(appended)[0]
    message = one_line(redact(message)).rstrip(". ")
    bodies = [getattr(link, "body", None) for link in _chain(error)]
    codes = {str(body.get(name)) for body in bodies if isinstance(body, Mapping) for name in ("code", "type")}
    status = getattr(error, "status_code", None) or 0
    if isinstance(error, litellm.ContentPolicyViolationError) or codes & _FILTERED:
        return ReplyError("content_filter", message)
    if isinstance(error, litellm.ContextWindowExceededError) or status == 413 or codes & _TOO_LONG:
        return ReplyError("too_long", message)
    if status in _STOP or "insufficient_quota" in codes:
        return ProviderStop(f"{label}: {_STOP.get(status, _STOP[402])}: {message}")
    refused = 400 <= status < 500
    if _headers(error) is None and not refused:
        if _arose_from(error, ImportError):
            return ProviderStop(f"{label}: a package that the provider needs is not installed: {message}")
        missing = keyless and not accepted and litellm.validate_environment(model=keyless)["missing_keys"]
        if missing:
            return ProviderStop(f"{label}: {' and '.join(missing)} not set: {message}")
    if refused and status not in _PASSING:
        if accepted:
            return ReplyError("refused", message)
        hint = "; unset it with --param temperature=none" if "temperature" in message else ""
        return Refused(f"{label}: refused: {message}{hint}")
    return Transient(_kind(error, status), message, _retry_after(error))


def error_within(reply: Any, choice: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the error (`message`, `type`, `code`) that a reply, or its first choice, is or holds; None without one."""
    first = reply[0] if isinstance(reply, list) and reply else reply
    if not isinstance(first, Mapping):
        return None
    holders = [first, choice]
    if isinstance(choice.get("message"), Mapping):
        holders.append(choice["message"])
    errors = [holder.get("error") for holder in holders]
    if "error" in (first.get("object"), first.get("type")) and not errors[0]:
        errors[0] = first
    for error in errors:
        fields = error if isinstance(error, Mapping) else {"message": error}
        # Some providers send an empty error with every reply.
        if fields.get("message") or fields.get("code"):
            code = fields.get("code") or fields.get("status")
            return {"message": str(fields.get("message") or code), "type": fields.get("type"), "code": code}
    return None


def status_of(error: Mapping[str, Any]) -> int:
    """Return the status that an error would come with."""
    words = [str(error[name]).lower() for name in ("code", "type")]
    numbers = [int(word) for word in words if re.fullmatch(r"[45]\d\d", word)]
    return next(iter([*numbers, *(_STATUS[word] for word in words if word in _STATUS)]), 503)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield the error, the error that it arose from, and so on."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _arose_from(error: BaseException, *kinds: type[BaseException]) -> bool:
    return any(isinstance(link, kinds) for link in _chain(error))


def _kind(error: Any, status: int) -> str:
    """Return the kind of a passing fault."""
    import openai  # litellm's exceptions derive from openai's.

    if isinstance(error, openai.APITimeoutError) or _arose_from(error, asyncio.TimeoutError, TimeoutError):
        return "timeout"
    if _headers(error) is None:
        # litellm gives these the status 500, which no server sent.
        return "connection" if _arose_from(error, openai.APIConnectionError, OSError) else "unreadable"
    return {429: "rate_limit"}.get(status, "server")


def _headers(error: Any) -> Any:
    """Return the headers of the HTTP answer behind an error; None where there was no answer."""
    headers = getattr(error, "litellm_response_headers", None)
    if headers is not None:
        return headers
    return getattr(getattr(error, "response", None), "headers", None) or None


def _retry_after(error: Any) -> float | None:
    """Return the seconds that the provider asked to wait, as a number or until a date.

    None where it did not ask, and where nobody would wait as long: our own waits do then.
    """
    headers = _headers(error) or {}
    waits: list[float] = []
    # OpenAI and Azure send both; the first is more exact.
    for name, per_second in (("retry-after-ms", 1000), ("retry-after", 1)):
        with suppress(ValueError):
            waits.append(float(headers.get(name) or "") / per_second)
    with suppress(TypeError, ValueError, OverflowError):  # TypeError is of a date without a zone.
        date = parsedate_to_datetime(headers.get("retry-after") or "")
        waits.append((date - datetime.now(timezone.utc)).total_seconds())
    # The comparison is false for what is not a number.
    return max(0.0, waits[0]) if waits and waits[0] <= _LONGEST_WAIT else None
