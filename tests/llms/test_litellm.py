"""Every kind of answer that a provider gives, over real HTTP, through the real litellm."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest

from cascade.errors import CascadeError, ProviderStop, ReplyError, Transient
from cascade.llms import connect
from cascade.types import Completion, Execution, Host, LLMSpec, Prompt
from tests.support.stub_server import Reply, Stub

PROMPT = Prompt(messages=({"role": "system", "content": "s"}, {"role": "user", "content": "u"}), order=("rain", "hail"))
KEY = "sk-not-a-real-key-0123456789"


def ask(
    stub: Stub,
    model: str = "gpt-x",
    params: dict[str, Any] | None = None,
    *,
    times: int = 1,
    retries: int = 0,
    timeout: float = 5.0,
) -> list[Completion | CascadeError]:
    """What came of asking the stub so many times, one after the other."""
    how = Execution(cache=Path("c"), api_base=stub.url, host=Host(retries=retries, timeout=timeout))

    async def all_of_them() -> list[Completion | CascadeError]:
        results: list[Completion | CascadeError] = []
        async with connect.connect(LLMSpec(model=model, params=params or {}), how) as llm:
            for _ in range(times):
                try:
                    results.append(await llm(PROMPT, params or {}))
                except CascadeError as error:
                    results.append(error)
        return results

    return asyncio.run(all_of_them())


def outcome(reply: Reply, **how: Any) -> Any:
    """What comes of one reply, after exactly one HTTP request."""
    with Stub(lambda request, number: reply) as stub:
        (result,) = ask(stub, **how)
        assert len(stub.asked) == 1
    return result


def refusal(message: str, code: str | None = None, status: int = 400) -> Reply:
    body = {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": code}}
    return Reply(status=status, raw=json.dumps(body).encode())


def test_a_reply_is_a_completion_with_what_it_cost() -> None:
    assert outcome(Reply(text="Answer: rain\n", reasoning="It drips.")) == Completion(
        text="Answer: rain\n",
        reasoning="It drips.",
        finish="stop",
        model="gpt-x",
        input_tokens=11,
        output_tokens=7,
        reasoning_tokens=5,
        cost=None,
        sent={"model": "gpt-x"},
    )


def test_what_is_sent_is_the_prompt_and_the_parameters_as_they_are() -> None:
    params = {"temperature": 0, "reasoning_effort": "low", "top_k": 3, "of_our_own": "x"}
    with Stub() as stub:
        ask(stub, params=params)
    assert stub.asked == [{"model": "gpt-x", "messages": [dict(m) for m in PROMPT.messages], **params}]
    assert stub.headers[0]["Authorization"] == "Bearer none"


def test_a_key_of_the_environment_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with Stub() as stub:
        ask(stub)
    assert stub.headers[0]["Authorization"] == f"Bearer {KEY}"


def test_a_price_that_is_unknown_is_none_and_a_known_one_is_no_price_of_this_machine() -> None:
    assert outcome(Reply()).cost is None
    assert outcome(Reply(), model="openai/gpt-4o").cost is None


def odd(**parts: Any) -> Reply:
    """A completion, of which parts are other than they should be."""
    message = {"role": "assistant", "content": "Answer: rain"}
    choice = {"index": 0, "finish_reason": "stop", "message": message}
    whole = {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
    return Reply(raw=json.dumps({**whole, **parts}).encode())


@pytest.mark.parametrize("usage", [None, {}, {"prompt_tokens": -11, "completion_tokens": -7, "total_tokens": -18}])
def test_tokens_that_were_not_counted_are_unknown(usage: Any) -> None:
    reply = outcome(odd(usage=usage))
    assert (reply.text, reply.input_tokens, reply.output_tokens) == ("Answer: rain", None, None)


def test_tokens_need_no_total() -> None:
    reply = outcome(odd(usage={"prompt_tokens": 11, "completion_tokens": 7}))
    assert (reply.input_tokens, reply.output_tokens) == (11, 7)


@pytest.mark.parametrize("name", [7, ["x"], None])
def test_a_model_that_is_no_name_is_left_out(name: Any) -> None:
    reply = outcome(odd(model=name))
    assert (reply.text, reply.model) == ("Answer: rain", None)


@pytest.mark.parametrize(
    ("sent", "text", "thought"),
    [("", "", ""), ("<think>It may be", "", "It may be"), ("Answer: ra", "Answer: ra", "")],
)
def test_a_truncation_is_a_completion(sent: str, text: str, thought: str) -> None:
    reply = outcome(Reply(text=sent, finish="length"))
    assert (reply.text, reply.reasoning, reply.finish) == (text, thought, "length")


@pytest.mark.parametrize(
    ("sent", "text", "thought"),
    [
        ("<think>It drips.</think>\nAnswer: rain", "Answer: rain", "It drips."),
        ("It drips.\n</think>\n\nAnswer: rain", "Answer: rain", "It drips."),  # the opening stands in the prompt
        ("Answer: rain <think>", "Answer: rain <think>", ""),
    ],
)
def test_thoughts_in_the_text_are_kept_beside_it(sent: str, text: str, thought: str) -> None:
    reply = outcome(Reply(text=sent))
    assert (reply.text.strip(), reply.reasoning.strip()) == (text, thought)


def test_the_parameters_are_known_as_they_were_sent() -> None:
    reply = outcome(Reply(), model="openai/o3", params={"max_tokens": 9, "reasoning_effort": "low"})
    assert reply.sent == {"model": "o3", "max_completion_tokens": 9, "reasoning_effort": "low"}


def test_reasoning_without_a_text_is_a_completion() -> None:
    reply = outcome(Reply(text="", reasoning="It drips."))
    assert (reply.text, reply.reasoning) == ("", "It drips.")


TOO_LONG = "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens"
RECORDED = {
    "filtered reply": (Reply(text="", finish="content_filter"), "content_filter"),
    "filtered prompt": (refusal("The prompt was filtered", "content_filter"), "content_filter"),
    "filtered by policy": (refusal("Rejected by our safety system", "content_policy_violation"), "content_filter"),
    "empty": (Reply(text=" \n"), "empty"),
    "too long": (refusal(TOO_LONG, "context_length_exceeded"), "too_long"),
    "too long for llama.cpp": (refusal("request (4000 tokens) exceeds the available context size"), "too_long"),
    "too large a body": (Reply(status=413, text="Entity too large"), "too_long"),
}


@pytest.mark.parametrize("name", RECORDED)
def test_what_trying_again_would_not_mend_is_recorded(name: str) -> None:
    reply, kind = RECORDED[name]
    error = outcome(reply)
    assert type(error) is ReplyError
    assert error.kind == kind


STOPS = {
    401: "the key is wrong or missing",
    402: "there is no money left",
    403: "the key has no access",
    404: "there is no such model or address",
    405: "there is no such address",
    400: "refused",
    415: "refused",
    422: "refused",
}


@pytest.mark.parametrize("status", STOPS)
def test_what_every_call_would_meet_stops_the_run(status: int) -> None:
    error = outcome(Reply(status=status, text="the provider's\nown words"))
    assert isinstance(error, ProviderStop)
    assert str(error) == f"--llm gpt-x: {STOPS[status]}: the provider's own words"


def test_no_money_is_no_rate_limit() -> None:
    error = outcome(refusal("You exceeded your current quota", "insufficient_quota", status=429))
    assert isinstance(error, ProviderStop)
    assert "there is no money left" in str(error)


def test_a_refused_temperature_says_how_to_unset_it() -> None:
    error = outcome(
        refusal("Unsupported value: 'temperature' does not support 0 with this model.", "unsupported_value")
    )
    assert str(error).endswith("with this model; unset it with --param temperature=none")


def test_a_parameter_that_litellm_refuses_is_not_dropped() -> None:
    with Stub() as stub:
        (error,) = ask(stub, "o1", {"temperature": 0})
    assert isinstance(error, ProviderStop)
    assert not stub.asked
    assert str(error).endswith("Only temperature=1 is supported; unset it with --param temperature=none")


def test_one_odd_refusal_after_a_success_is_recorded() -> None:
    with Stub(lambda request, number: refusal("odd") if number == 1 else Reply()) as stub:
        first, second, third = ask(stub, times=3)
    assert isinstance(second, ReplyError)
    assert second.kind == "refused"
    assert isinstance(first, Completion)
    assert isinstance(third, Completion)


HTML = b"<html>\n<body>Bad gateway</body>\n</html>"
PASSING = {
    "408": (Reply(status=408), "timeout"),
    "409": (Reply(status=409), "server"),
    "429": (Reply(status=429), "rate_limit"),
    "500": (Reply(status=500), "server"),
    "502 as a page": (Reply(status=502, raw=HTML, headers={"Content-Type": "text/html"}), "server"),
    "503": (Reply(status=503), "server"),
    "504": (Reply(status=504), "timeout"),
    "529": (Reply(status=529), "server"),
    "dropped at once": (Reply(drop=0), "connection"),
    "dropped midway": (Reply(drop=20), "connection"),
    "a page": (Reply(raw=HTML, headers={"Content-Type": "text/html"}), "unreadable"),
    "cut JSON": (Reply(raw=b'{"id": "1", "obj'), "unreadable"),
    "other JSON": (Reply(raw=b'{"hello": 1}'), "unreadable"),
    "null": (Reply(raw=b"null"), "unreadable"),
    "no choices": (Reply(raw=b'{"id": "1", "object": "chat.completion", "created": 1, "choices": []}'), "unreadable"),
    "no message": (Reply(raw=b'{"id": "1", "object": "chat.completion", "choices": [{}]}'), "unreadable"),
}


@pytest.mark.parametrize("name", PASSING)
def test_what_may_pass_is_transient_in_one_line(name: str) -> None:
    reply, kind = PASSING[name]
    error = outcome(reply)
    assert isinstance(error, Transient)
    assert error.kind == kind
    assert error.retry_after is None
    assert 0 < len(str(error)) <= 300
    assert "\n" not in str(error)
    assert "Traceback" not in str(error)


@pytest.mark.parametrize("status", [429, 503, 529])
def test_a_wait_that_is_asked_for_in_seconds(status: int) -> None:
    assert outcome(Reply(status=status, headers={"Retry-After": "7"})).retry_after == 7


def test_a_wait_in_milliseconds_comes_before_one_in_seconds() -> None:
    def asked(milliseconds: str) -> Any:
        return outcome(Reply(status=429, headers={"retry-after-ms": milliseconds, "Retry-After": "2"})).retry_after

    assert asked("1250") == 1.25
    assert asked("soon") == 2


def test_a_wait_that_is_asked_for_by_date() -> None:
    def soon(seconds: float) -> Reply:
        date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + seconds))
        return Reply(status=429, headers={"Retry-After": date})

    assert 55 < outcome(soon(60)).retry_after <= 60
    assert outcome(soon(-60)).retry_after == 0


@pytest.mark.parametrize(
    "odd",
    [
        *("in a while", "Wed, 21 Oct 2099 07:28:00 +" + "9" * 20, "Wed, 21 Oct 2099 07:28:00 GMT"),
        *("inf", "nan", "1e9", "3600", "-inf "),
    ],
)
def test_a_wait_that_nobody_would_keep_is_none(odd: str) -> None:
    assert outcome(Reply(status=429, headers={"Retry-After": odd})).retry_after in (None, 0.0)


def in_parts(content: Any) -> Reply:
    message = {"role": "assistant", "content": content}
    choices = [{"index": 0, "finish_reason": "stop", "message": message}]
    return Reply(raw=json.dumps({"id": "1", "object": "chat.completion", "created": 1, "choices": choices}).encode())


@pytest.mark.parametrize("model", ["gpt-x", "mistral/m"])
def test_a_reply_in_parts_is_one_text_and_its_thoughts(model: str) -> None:
    text = {"type": "text", "text": "Answer: "}
    assert outcome(in_parts([text, {"type": "text", "text": "rain"}]), model=model).text == "Answer: rain"
    assert outcome(in_parts([text, "rain", {"type": "image_url", "image_url": {}}, 3, None]), model=model).text == (
        "Answer: rain"
    )
    thought = {"type": "thinking", "thinking": [{"type": "text", "text": "It is wet."}]}
    reply = outcome(in_parts([thought, text]), model=model)
    assert (reply.text.strip(), reply.reasoning) == ("Answer:", "It is wet.")
    assert outcome(in_parts([]), model=model).kind == "empty"


def test_a_proxy_of_the_environment_is_named_and_not_used_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, "http://ann:secret@127.0.0.1:9")
    with Stub() as stub:
        for host in ("127.0.0.1", "localhost"):
            stub.url = f"http://{host}:{stub.url.rpartition(':')[2]}"
            assert isinstance(ask(stub)[0], Completion), host
        stub.url = "http://10.255.255.1:1/v1"
        (error,) = ask(stub)
    proxy = "10.255.255.1:1 by the proxy http://127.0.0.1:9 (NO_PROXY=10.255.255.1 goes around it): "
    assert str(error).startswith(proxy)
    assert "secret" not in str(error)


@pytest.mark.parametrize("reply", [Reply(delay=3), Reply(trickle=0.05)])
def test_a_slow_reply_is_a_timeout(reply: Reply) -> None:
    began = time.monotonic()
    error = outcome(reply, timeout=0.3)
    assert isinstance(error, Transient)
    assert error.kind == "timeout"
    assert time.monotonic() - began < 2


def test_a_retry_is_a_new_request() -> None:
    with Stub(
        lambda request, number: Reply(status=503, headers={"Retry-After": "0"}) if number < 2 else Reply()
    ) as stub:
        (result,) = ask(stub, retries=2)
    assert isinstance(result, Completion)
    assert len(stub.asked) == 3


def test_no_server_at_all() -> None:
    with Stub() as stub:
        pass
    (error,) = ask(stub)
    assert isinstance(error, Transient)
    assert error.kind == "connection"


@pytest.mark.parametrize("status", [400, 401, 429, 500])
def test_no_key_is_repeated(status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OTHER_TOKEN", "plain-looking-secret")
    sent = f"wrong {KEY} plain-looking-secret Bearer abcdef123456 sk-elsewhere-0123456789"
    error = str(outcome(Reply(status=status, text=sent)))
    assert error.endswith("wrong [hidden] [hidden] [hidden] [hidden]")


def test_a_proxy_is_not_asked_for_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert isinstance(outcome(Reply()), Completion)
