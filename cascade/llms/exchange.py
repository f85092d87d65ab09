"""The HTTP exchanges with a provider, which litellm does not show: the responses of its client are checked here.

A body is limited in size, must be JSON if the status is a success, and keeps the provider's own words. A success that
contains an error gets the status of the error. A redirect to another origin is not followed, because the request's
headers contain the key.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from itertools import starmap
from typing import Any

from cascade.errors import ProviderStop, ReplyError, Transient
from cascade.io.jsonl import flatten, loads
from cascade.llms import faults

MOST_BYTES = 16 << 20  # of a body, as it is sent and as it is decoded
MOST_TOKENS = 10**9  # of one call
LONGEST_NAME = 200  # characters kept of the server's names of its model, its fingerprint and its finish reason
_ENCODINGS = ("gzip", "deflate")  # zlib decodes these within bounds
_USAGE = ("usage", "usageMetadata")
_COUNTS = ("tokens", "tokencount")  # the endings of the names of token counts in lower case
_FINISH = ("finish_reason", "finishReason", "stop_reason", "stopReason", "done_reason")


@dataclass(slots=True)
class Exchange:
    """The parameters that a call sent, the host that replied, its last JSON, and the `fault` that was raised here."""

    sent: dict[str, Any] = field(default_factory=dict)
    host: str = ""
    reply: Any = None
    fault: ReplyError | ProviderStop | None = None

    @property
    def whole(self) -> Mapping[str, Any]:
        """The reply, where it is an object."""
        return self.reply if isinstance(self.reply, Mapping) else {}

    @property
    def first(self) -> Mapping[str, Any]:
        """The reply's first choice or candidate; the whole reply of a provider that gives no list."""
        for name in ("choices", "candidates", "results"):
            listed = self.whole.get(name)
            if isinstance(listed, list) and listed and isinstance(listed[0], Mapping):
                return listed[0]
        return self.whole

    @property
    def has_reply(self) -> bool:
        """Whether the model wrote a reply; a provider charges for it even if it is unusable."""
        return any(self.whole.get(name) for name in ("choices", "candidates", "results", "content"))

    @property
    def refusal(self) -> str:
        """The text of the model's refusal if the provider has a separate field for it, otherwise `""`."""
        message = self.first.get("message")
        if isinstance(message, Mapping) and isinstance(message.get("refusal"), str):
            return str(message["refusal"]).strip()
        return ""

    def finish(self, mapped: str | None) -> str | None:
        """Return the provider's finish reason; None if it is empty.

        `mapped` is litellm's reason, for a provider whose field has another name.
        """
        for name in _FINISH:
            if name in self.first:
                word = self.first[name]
                return word if isinstance(word, str) and word else None
        return mapped


current: ContextVar[Exchange] = ContextVar("exchange")


def guard(client: Any) -> Any:
    """Return an httpx client after adding a hook that checks responses and records them in the `current` exchange."""
    import httpx

    client.headers["Accept-Encoding"] = ", ".join(_ENCODINGS)
    # litellm calls a few providers with the synchronous client.
    client.event_hooks["response"].append(_check_blocking if isinstance(client, httpx.Client) else _check)
    return client


async def _check(response: Any) -> None:
    """Replace the response's body by its checked content. Raises the exchange's fault."""
    body = bytearray()
    try:
        with _recording_fault(response):
            async for part in response.stream:
                _grow(body, part)
    finally:
        await response.stream.aclose()
    _replace_body(response, bytes(body))


def _check_blocking(response: Any) -> None:
    body = bytearray()
    try:
        with _recording_fault(response):
            for part in response.stream:
                _grow(body, part)
    finally:
        response.stream.close()
    _replace_body(response, bytes(body))


@contextmanager
def _recording_fault(response: Any) -> Iterator[Exchange]:
    """Yield the exchange of a response, and record the fault that the block or a refused redirect raises."""
    exchange = current.get(None) or Exchange()
    exchange.host = response.url.netloc.decode()
    try:
        _refuse_redirect(response)
        yield exchange
    except (ReplyError, ProviderStop) as fault:
        exchange.fault = fault
        raise


def _grow(body: bytearray, part: bytes) -> None:
    body += part
    if len(body) > MOST_BYTES:
        raise Transient("unreadable", f"the reply is larger than {MOST_BYTES >> 20} MiB")


def _replace_body(response: Any, body: bytes) -> None:
    import httpx

    with _recording_fault(response) as exchange:
        content = _decode(body, response.headers.pop("content-encoding", "identity").lower())
        if response.is_success:
            exchange.reply = _parse(content, response.headers.get("content-type", ""))
            if _tidy(exchange.whole) | _join_parts(exchange.first.get("message")):
                content = json.dumps(exchange.reply).encode()
            if error := faults.error_within(exchange.reply, exchange.first):
                response.status_code, content = faults.status_of(error), json.dumps({"error": error}).encode()
    response.stream = httpx.ByteStream(content)


def _join_parts(message: Any) -> bool:
    """Join a message's content to one text if it is a list, which litellm reads incompletely; return whether it is."""
    if not isinstance(message, dict) or not isinstance(message.get("content"), list):
        return False
    texts: dict[str, str] = {"text": "", "thinking": ""}
    for part in message["content"]:
        fields = part if isinstance(part, Mapping) else {"text": part}
        for kind in texts:
            values = [fields.get(kind)]
            if kind == "thinking" and isinstance(fields.get(kind), list):
                values = fields[kind]
            for value in values:
                text = value.get("text") if isinstance(value, Mapping) else value
                if isinstance(text, str):
                    texts[kind] += text
    message["content"] = texts["text"]
    if texts["thinking"]:
        message["reasoning_content"] = texts["thinking"]
    return True


def _refuse_redirect(response: Any) -> None:
    if not response.has_redirect_location:
        return
    asked, target = response.url, response.url.join(response.headers["location"])
    if (asked.scheme, asked.host, asked.port) != (target.scheme, target.host, target.port):
        here, there = (f"{url.scheme}://{url.netloc.decode()}" for url in (asked, target))
        raise ProviderStop(f"{here} redirects to {there}, which was sent nothing; if it is right, give its address")


def _decode(body: bytes, encoding: str) -> bytes:
    """Return the content of a body. Raises Transient for one that is damaged, too large or in another encoding."""
    if encoding == "identity":
        return body
    if encoding not in _ENCODINGS:
        raise Transient("unreadable", f"the reply is encoded as {encoding[:40]!r}, which was not asked for")
    decoder = zlib.decompressobj(wbits=47)  # a header of gzip's or of zlib's
    try:
        content = decoder.decompress(body, MOST_BYTES)
    except zlib.error as error:
        raise Transient("unreadable", f"the reply cannot be decoded ({error})") from None
    if not decoder.eof:
        raise Transient("unreadable", f"the reply is cut short, or decodes to more than {MOST_BYTES >> 20} MiB")
    return content


def _tidy(reply: Any) -> bool:
    """Remove impossible token counts and overlong model names; return whether anything was removed.

    litellm would discard the whole reply because of them, or spend seconds on them.
    """
    removed = []
    if isinstance(reply.get("model"), str) and len(reply["model"]) > LONGEST_NAME:
        removed.append("model")
    for name in _USAGE:
        usage = reply.get(name)
        if usage is not None and not (isinstance(usage, dict) and all(starmap(_is_possible, flatten(usage).items()))):
            removed.append(name)
    for name in removed:
        del reply[name]
    return bool(removed)


def _is_possible(path: str, leaf: Any) -> bool:
    """Return whether a field of the usage is possible: a valid count of tokens, or another kind of field."""
    *holders, name = path.lower().split(".")
    if any(holder.endswith(_COUNTS) for holder in holders):
        return False
    return not name.endswith(_COUNTS) or leaf is None or (type(leaf) is int and 0 <= leaf <= MOST_TOKENS)


def _parse(content: bytes, kind: str) -> Any:
    """Return the JSON object or list of a body. Raises Transient for anything else; `kind` is its content type."""
    try:
        value = loads(content, allow_nan=True)
        if not isinstance(value, dict | list):
            raise ValueError("no JSON object")
        return value
    except ValueError as error:
        raise Transient("unreadable", f"the reply is {kind.partition(';')[0][:40] or 'no JSON'}: {error}") from None
