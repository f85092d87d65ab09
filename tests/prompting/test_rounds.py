"""Requests as models write them, read into what can be carried out, or into why it cannot."""

from __future__ import annotations

import time
from typing import Any, Literal

import pytest

from cascade.prompting.rounds import continued, instructions, opening, read_requests, request_text, tool_params
from cascade.types import CaptionerSpec, Completion, Finding, Prompt, Round, RoundsSpec, ToolCall


def spec(form: Literal["calls", "text"] = "text", most: int = 2) -> RoundsSpec:
    names = {"transcribe": "whisper", "listen": "audio-llm", "classify": "clap-sound", "measure": "signal"}
    engines = tuple(CaptionerSpec(slot=slot, name=name, version="1", params={}) for slot, name in names.items())
    return RoundsSpec(most=most, engines=engines, form=form, version="1")


def one(text: str) -> tuple[str, dict[str, Any], str]:
    (request,) = read_requests(Completion(text=text), spec())
    return request.tool, dict(request.arguments), request.problem


@pytest.mark.parametrize(
    ("line", "tool", "arguments"),
    [
        ("ASK transcribe", "transcribe", {}),
        ("ASK transcribe start=2 end=5.5", "transcribe", {"start": 2.0, "end": 5.5}),
        ("  - ASK transcribe start=2s, end = 5 s", "transcribe", {"start": 2.0, "end": 5.0}),
        ("`ASK measure end=3`", "measure", {"end": 3.0}),
        ("Let me see.\n> ASK measure (start=1)", "measure", {"start": 1.0}),
        (
            'ASK listen start=0 end=4 question="Is it a bell, or a horn?"',
            "listen",
            {"start": 0.0, "end": 4.0, "question": "Is it a bell, or a horn?"},
        ),
        ("ASK classify labels=a horn, a bell,a horn", "classify", {"labels": ["a bell", "a horn"]}),
    ],
)
def test_lines_are_read(line: str, tool: str, arguments: dict[str, Any]) -> None:
    assert one(line) == (tool, arguments, "")


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("ASK transcribe start=soon", "start must be a number of seconds"),
        ("ASK transcribe start=-1", "start must be a number of seconds"),
        ("ASK transcribe end=nan", "end must be a number of seconds"),
        ("ASK transcribe end=1e999", "end must be a number of seconds"),
        ("ASK listen start=1", "question is needed"),
        ("ASK classify labels=horn", "labels must be two or more"),
        ("ASK translate", "there is no such function (there is: transcribe, listen, classify, measure)"),
    ],
)
def test_lines_that_cannot_be_carried_out_say_why(line: str, problem: str) -> None:
    assert one(line)[2] == problem


@pytest.mark.parametrize("text", ["", "Answer: rain", "I would ask transcribe.", "TASK transcribe", "ASKED transcribe"])
def test_other_text_asks_for_nothing(text: str) -> None:
    assert read_requests(Completion(text=text), spec()) == []


@pytest.mark.parametrize("arguments", ["", "[1]", "{", '{"start": {"a": 1}}', '{"start": true}', "[" * 5000, '"x"'])
def test_odd_arguments_of_a_call_are_no_crash(arguments: str) -> None:
    call = ToolCall(id="1", name="transcribe", arguments=arguments)
    (request,) = read_requests(Completion(text="", calls=(call,)), spec("calls"))
    assert bool(request.problem) == (arguments != "")


def test_every_call_has_a_request_and_every_line_beyond_four_is_passed_over() -> None:
    calls = tuple(ToolCall(id=str(number), name="measure", arguments="{}") for number in range(6))
    requests = read_requests(Completion(text="", calls=calls), spec("calls"))
    assert [bool(request.problem) for request in requests] == [False] * 4 + [True] * 2
    assert len(read_requests(Completion(text="ASK measure\n" * 9), spec())) == 4


@pytest.mark.parametrize(
    "part", ["ASK ", "ASK transcribe start=", "> " * 9 + "ASK a", "start=" * 5, "\n", "`", "labels=,"]
)
def test_hostile_replies_are_read_in_linear_time(part: str) -> None:
    started = time.perf_counter()
    read_requests(Completion(text=part * (1_000_000 // len(part))), spec())
    assert time.perf_counter() - started < 1.0


def test_functions_are_declared_and_in_the_last_call_none_is_wanted() -> None:
    params = tool_params(spec("calls"), last=False)
    names = [tool["function"]["name"] for tool in params["tools"]]
    assert names == ["transcribe", "listen", "classify", "measure"] and params["tool_choice"] == "auto"
    assert params["tools"][1]["function"]["parameters"]["required"] == ["question"]
    assert tool_params(spec("calls"), last=True)["tool_choice"] == "none"
    assert tool_params(spec("text"), last=False) == {}


def test_what_a_model_is_told_follows_the_last_message_whatever_its_content() -> None:
    text = instructions(spec())
    assert "ASK listen start=0 end=5 question=" in text and "at most 2 rounds" in text
    plain = opening(Prompt(messages=({"role": "user", "content": "Q"},)), spec())
    assert plain.messages[-1]["content"] == f"Q\n\n{text}"
    clip = {"type": "input_audio", "input_audio": {}}
    parts = opening(Prompt(messages=({"role": "user", "content": [clip]},)), spec()).messages[-1]["content"]
    assert parts == [clip, {"type": "text", "text": text}]


def test_findings_are_shown_in_the_form_of_the_requests() -> None:
    finding = Finding(tool="transcribe", arguments={"start": 1.0, "end": 2.5}, text="Hello.")
    prompt = Prompt(messages=({"role": "user", "content": "Q"},))
    lines = Round(reply=Completion(text="ASK transcribe start=1 end=2.5"), findings=(finding,))
    shown = continued(prompt, [lines], spec()).messages
    assert shown[1] == {"role": "assistant", "content": "ASK transcribe start=1 end=2.5"}
    assert shown[2]["content"] == "transcribe 1-2.5 s: Hello.\nYou may ask again (1 more), or answer the question now."
    ended = continued(prompt, [lines, lines], spec()).messages[-1]["content"]
    assert ended.endswith("Answer the question now.")
    call = ToolCall(id="7", name="transcribe", arguments="{}")
    calls = Round(reply=Completion(text="", calls=(call,)), findings=(finding,))
    assistant, result = continued(prompt, [calls], spec("calls")).messages[1:]
    assert assistant["tool_calls"][0]["id"] == result["tool_call_id"] == "7" and result["content"] == "Hello."


def test_a_request_is_named_on_one_line() -> None:
    asked = Finding(tool="listen", arguments={"start": 2.0, "question": "Who\nspeaks?"}, text="")
    assert request_text(asked) == 'listen from 2 s "Who\\nspeaks?"'
    assert request_text(asked, times=False) == 'listen "Who\\nspeaks?"'


def test_a_call_is_repeated_in_a_form_that_providers_take() -> None:
    hostile = [("a", "me\n<asure", "[" * 90_000), ("a", "x" * 9_999, "5"), ("z" * 10**6, "measure", '{"end": 1}')]
    calls = tuple(ToolCall(id=id, name=name, arguments=arguments) for id, name, arguments in hostile)
    findings = tuple(Finding(tool="measure", arguments={}, text="0 dB") for _ in calls)
    taken = Round(reply=Completion(text="", calls=calls), findings=findings)
    asked, *results = continued(Prompt(messages=()), [taken], spec("calls")).messages
    assert [call["function"]["name"] for call in asked["tool_calls"]] == ["me__asure", "x" * 64, "measure"]
    assert [call["function"]["arguments"] for call in asked["tool_calls"]] == ["{}", "{}", '{"end": 1}']
    ids = [call["id"] for call in asked["tool_calls"]]
    assert ids == [result["tool_call_id"] for result in results] == ["call_1_0", "call_1_1", "call_1_2"]
