"""A provider's replies that no honest server sends, and those that litellm would smooth over, over real HTTP."""

from __future__ import annotations

import gzip
import importlib
import json
from contextlib import closing
from typing import Any

import pytest

from cascade.errors import ProviderStop, ReplyError, Transient
from cascade.llms import exchange, litellm
from cascade.types import Completion
from tests.llms.test_litellm import KEY, ask, odd, outcome
from tests.support.stub_server import Reply, Stub


def ended(finish: Any, text: str | None = "Answer: rain", message: Any = None, **choice: Any) -> Reply:
    """A completion that ends so; `message` and `choice` have further fields."""
    said = {"role": "assistant", "content": text, **(message or {})}
    return odd(
        choices=[{"index": 0, "finish_reason": finish, "message": said, **choice}],
        usage={"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18},
    )


CLAUDE = {
    "id": "1",
    "type": "message",
    "role": "assistant",
    "model": "claude",
    "content": [{"type": "text", "text": "Answer: rain"}],
    "usage": {"input_tokens": 1, "output_tokens": 1},
}


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("model", ["gpt-x", "anthropic/claude-3-haiku-20240307", "azure/gpt-4o"])
def test_no_redirect_to_another_origin_is_followed(model: str, status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "AZURE_API_KEY"):
        monkeypatch.setenv(name, KEY)
    monkeypatch.setenv("AZURE_API_VERSION", "2024-06-01")
    with Stub() as stranger:
        error = outcome(Reply(status=status, raw=b"", headers={"Location": f"{stranger.url}/x?key={KEY}"}), model=model)
        assert not stranger.asked
    assert isinstance(error, ProviderStop)
    assert f"redirects to {stranger.url.removesuffix('/v1')}, which was sent nothing" in str(error)
    assert KEY not in str(error) and str(error).startswith(f"--llm {model}: ")


@pytest.mark.parametrize("place", ["https://[", "https://127.0.0.1/v1", "ftp://127.0.0.1/"])
def test_a_redirect_to_an_odd_address_stops_the_run(place: str) -> None:
    assert isinstance(outcome(Reply(status=307, raw=b"", headers={"Location": place})), ProviderStop)


def test_a_redirect_within_the_origin_is_followed() -> None:
    moved = Reply(status=308, raw=b"", headers={"Location": "/v2/chat/completions"})
    with Stub(lambda request, number: Reply() if number else moved) as stub:
        (reply,) = ask(stub)
    assert isinstance(reply, Completion)
    assert stub.paths == ["/v1/chat/completions", "/v2/chat/completions"]


@pytest.mark.parametrize("finish", ["stop", "eos", "end_turn", "STOP", "COMPLETE", "tool_calls", None])
def test_a_natural_end_stands_as_the_provider_said_it(finish: str | None) -> None:
    reply = outcome(ended(finish))
    assert (reply.finish, reply.is_cut) == (finish, False)


@pytest.mark.parametrize("finish", ["length", "MAX_TOKENS", "max_tokens", "time_limit", "a word of tomorrow"])
def test_any_other_end_is_a_truncation(finish: str) -> None:
    reply = outcome(ended(finish))
    assert (reply.text, reply.finish, reply.is_cut) == ("Answer: rain", finish, True)


@pytest.mark.parametrize("finish", ["abort", "error", "ERROR", "cancelled", "network_error", "timeout"])
def test_a_reply_that_the_server_broke_off_is_tried_again(finish: str) -> None:
    error = outcome(ended(finish))
    assert isinstance(error, Transient)
    assert str(error) == f"the server broke the reply off (finish reason {finish})"
    assert error.tokens == (11, 7)


@pytest.mark.parametrize(("finish", "cut"), [("end_turn", False), ("max_tokens", True), ("pause_turn", True)])
def test_a_provider_with_other_fields_is_quoted_too(finish: str, cut: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    reply = outcome(
        Reply(raw=json.dumps({**CLAUDE, "stop_reason": finish}).encode()), model="anthropic/claude-3-haiku-20240307"
    )
    assert (reply.finish, reply.is_cut) == (finish, cut)


ERRORS = {
    "a text": ({"error": "model is overloaded"}, 503, "model is overloaded"),
    "a type": ({"error": {"message": "busy", "type": "overloaded_error"}}, 529, "busy"),
    "a number": ({"error": {"message": "slow down", "code": 429}}, 429, "slow down"),
    "a number as text": ({"error": {"message": "slow down", "code": "429"}}, 429, "slow down"),
    "a gRPC status": ({"error": {"message": "slow down", "status": "RESOURCE_EXHAUSTED"}}, 429, "slow down"),
    "a list": ([{"error": {"message": "broken", "code": 500}}], 500, "broken"),
    "the reply itself": ({"object": "error", "message": "broken", "code": 500}, 500, "broken"),
    "a wrong key": ({"error": {"message": "no", "type": "authentication_error"}}, 401, "no"),
    "no money": ({"error": {"message": "no", "code": "insufficient_quota"}}, 402, "no"),
    "no access": ({"type": "error", "error": {"message": "no", "type": "permission_error"}}, 403, "no"),
    "no such model": ({"error": {"message": "no", "code": "model_not_found"}}, 404, "no"),
    "a bad request": ({"error": {"message": "no", "type": "invalid_request_error"}}, 400, "no"),
    "a choice's": (
        {"choices": [{"error": {"message": "broken", "code": 502}, "message": {"content": "A"}}]},
        502,
        "broken",
    ),
}


@pytest.mark.parametrize("name", ERRORS)
def test_an_error_within_a_success_is_what_it_is_with_its_status(name: str) -> None:
    body, status, message = ERRORS[name]
    inside = outcome(Reply(raw=json.dumps(body).encode(), headers={"Retry-After": "7"}))
    proper = outcome(Reply(status=status, text=message, headers={"Retry-After": "7"}))
    assert type(inside) is type(proper)
    assert str(inside) == str(proper) and message in str(inside)
    if isinstance(proper, Transient):
        assert isinstance(inside, Transient)
        assert (inside.kind, inside.retry_after) == (proper.kind, proper.retry_after)


@pytest.mark.parametrize("empty", [None, "", {}, {"message": "", "code": None}])
def test_an_empty_error_is_none(empty: Any) -> None:
    assert isinstance(outcome(odd(error=empty)), Completion)


def test_a_refusal_is_kept_as_what_it_is() -> None:
    error = outcome(ended("stop", None, {"refusal": f"I cannot\nhelp with {KEY}."}))
    assert (type(error), error.kind, str(error)) == (ReplyError, "refusal", "I cannot help with [hidden].")
    assert isinstance(outcome(ended("stop", message={"refusal": None})), Completion)


def usage(count: str) -> Reply:
    raw = odd(usage={"prompt_tokens": "@", "completion_tokens": 7}).raw
    assert raw
    return Reply(raw=raw.replace(b'"@"', count.encode()))


def nested(depth: int) -> Reply:
    raw = odd(more="@").raw
    assert raw
    return Reply(raw=raw.replace(b'"@"', b'{"a":' * depth + b"1" + b"}" * depth))


BEYOND = {
    "a bomb": Reply(raw=gzip.compress(b" " * (exchange.MOST_BYTES + 1)), headers={"Content-Encoding": "gzip"}),
    "no end": Reply(raw=b" " * (1 << 16), repeat=1 << 14),
    "an error without end": Reply(status=500, raw=b" " * (1 << 16), repeat=1 << 14),
    "depth": nested(100_000),
    "a number of 5000 digits": usage("1" + "0" * 5000),
    "another encoding": Reply(raw=b"abc", headers={"Content-Encoding": "zstd"}),
    "a damaged encoding": Reply(raw=b"abc", headers={"Content-Encoding": "gzip"}),
    "a cut encoding": Reply(raw=gzip.compress(b"{}" * 50)[:-9], headers={"Content-Encoding": "gzip"}),
}


@pytest.mark.parametrize("name", BEYOND)
def test_what_exceeds_the_bounds_is_a_failure_in_one_line(name: str) -> None:
    error = outcome(BEYOND[name])
    assert isinstance(error, Transient) and error.kind == "unreadable"
    assert "\n" not in str(error) and len(str(error)) < 300


@pytest.mark.parametrize("encoding", ["gzip", "GZIP"])
def test_a_compressed_reply_is_a_reply(encoding: str) -> None:
    raw = Reply().body("m")
    assert isinstance(outcome(Reply(raw=gzip.compress(raw), headers={"Content-Encoding": encoding})), Completion)


@pytest.mark.parametrize("count", ["1" + "0" * 400, "-3", str(1 << 64), "1e999", "NaN", "1.5", "true", '"3"'])
def test_a_count_that_is_none_is_unknown(count: str) -> None:
    reply = outcome(usage(count))
    assert (reply.text, reply.input_tokens, reply.output_tokens) == ("Answer: rain", None, None)


BOUNDLESS = {
    "long": (Reply(raw=b" " * 2**20, repeat=17), "the reply is larger than 16 MiB"),
    "a bomb": (
        Reply(raw=gzip.compress(b" " * 2**25), headers={"Content-Encoding": "gzip"}),
        "decodes to more than 16 MiB",
    ),
    "a page": (Reply(raw=b"<html>"), "not JSON"),
    "elsewhere": (Reply(status=307, raw=b"", headers={"Location": "http://127.0.0.1:9/"}), "which was sent nothing"),
}


@pytest.mark.parametrize("name", BOUNDLESS)
def test_the_clients_that_block_have_the_same_bounds(name: str) -> None:
    """Rare providers' calls use them."""
    litellm._library()
    handlers: Any = importlib.import_module("litellm.llms.custom_httpx.http_handler")
    reply, complaint = BOUNDLESS[name]
    with (
        Stub(lambda request, number: reply) as stub,
        closing(handlers.HTTPHandler(timeout=10)) as client,
        pytest.raises((Transient, ProviderStop), match=complaint),
    ):
        client.post(f"{stub.url}/x", json={})


def test_the_client_that_cannot_be_bounded_is_refused() -> None:
    with pytest.raises(ProviderStop, match="its replies would have no bounds; write openai/"):
        litellm.resolve("aiohttp_openai/gpt-4o", "http://127.0.0.1:9/v1")
