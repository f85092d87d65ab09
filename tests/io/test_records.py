"""Every record survives JSON, and nothing else passes for one."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from cascade.errors import RunError
from cascade.io.jsonl import from_json, record, to_json, with_digest
from cascade.runs.directory import Manifest
from cascade.runs.provenance import Session
from cascade.types import (
    Answer,
    Caption,
    CaptionerSpec,
    CaptionRecord,
    Choice,
    Completion,
    Failure,
    Item,
    LLMSpec,
    Prompt,
    PromptSpec,
    RunSpec,
    Score,
)

ITEM = Item(
    id="q", audio="a.wav", question="?", choices=("", "猫"), answer="猫", tags={"modality": "x"}, reference={"cue": [1]}
)
BARE = Item(id="q", audio="a.wav", question="?", choices=("a", "b"), answer="a")
ENGINE = CaptionerSpec(slot="speech", name="fake", version="1", params={"a": 1, "b": [None, 0.5], "c": True})
PROMPT = PromptSpec(template="default", template_digest="b2:1", slots=("speech", "sound"), mismatch_seed=0)
MODEL = LLMSpec(model="fake", params={"temperature": 0, "stop": ["\n"]}, samples=3)
SPEC = RunSpec(
    dataset="mini",
    dataset_digest="b2:2",
    captioners=(ENGINE,),
    prompt=PROMPT,
    llm=MODEL,
    limit=5,
    only={"modality": ("speech", "music")},
)
FULL = Completion(
    text="B",
    reasoning="hm",
    finish="stop",
    model="m",
    input_tokens=1,
    output_tokens=2,
    reasoning_tokens=0,
    cost=0.25,
)
FAILED = Failure(kind="timeout", message="after 6 tries")
SAID = {"item": "q", "sample": 0, "prompt": "b2:4", "captions": {"speech": "b2:5"}, "seconds": 1.5, "at": "2026"}
MANIFEST = Manifest(
    format=2,
    spec=SPEC,
    template="# user\n$question",
    created="2026",
    sessions=(
        Session(at="2026", command="cascade run", cascade="0.1", python="3.11", platform="Linux", git={"here": "1"}),
    ),
)
RECORDS = [
    ITEM,
    BARE,
    ENGINE,
    Caption(text="", meta={"windows": [{"start": 0.0}]}),
    PROMPT,
    MODEL,
    SPEC,
    Prompt(messages=({"role": "user", "content": "?"},), order=("a", "b")),
    FULL,
    Completion(text=""),
    FAILED,
    Answer(result=FULL, **SAID),  # type: ignore[arg-type]
    Answer(result=FAILED, **SAID),  # type: ignore[arg-type]
    Choice(text="a", how="whole: text"),
    Score(item="q", sample=0, choice=Choice(text="", how="empty"), correct={"mmar": False}, tags={}),
    MANIFEST,
    CaptionRecord(item="q", slot="speech", key="b2:7", text="", meta={"a": 1}),
    CaptionRecord(item="q", slot="speech", key="", failure=FAILED),
]


@pytest.mark.parametrize("value", RECORDS, ids=lambda value: type(value).__name__)
def test_a_record_survives_json(value: Any) -> None:
    assert from_json(type(value), json.loads(json.dumps(to_json(value)))) == value


def test_what_a_log_line_looks_like() -> None:
    assert to_json(Answer(result=FAILED, **SAID)) == {  # type: ignore[arg-type]
        **SAID,
        "result": {"type": "failure", "kind": "timeout", "message": "after 6 tries", "cost": None},
        "params": {},
    }


def test_fields_with_a_default_may_be_left_out() -> None:
    assert from_json(LLMSpec, {"model": "x"}) == LLMSpec(model="x")
    assert from_json(Completion, {"type": "completion", "text": "x", "cost": 1}) == Completion(text="x", cost=1)


@pytest.mark.parametrize(
    ("kind", "value", "complaint"),
    [
        (LLMSpec, {"model": "x", "colour": 1}, "LLMSpec: Object contains unknown field `colour`"),
        (LLMSpec, {}, "LLMSpec: Object missing required field `model`"),
        (LLMSpec, [], "LLMSpec: Expected `object`, got `array`"),
        (LLMSpec, None, "LLMSpec: Expected `object`, got `null`"),
        (LLMSpec, {"model": 1}, "LLMSpec: Expected `str`, got `int` - at `$.model`"),
        (LLMSpec, {"model": None}, "LLMSpec: Expected `str`, got `null` - at `$.model`"),
        (LLMSpec, {"model": "x", "samples": True}, "Expected `int`, got `bool` - at `$.samples`"),
        (LLMSpec, {"model": "x", "samples": 1.0}, "Expected `int`, got `float` - at `$.samples`"),
        (LLMSpec, {"model": "x", "params": []}, "Expected `object`, got `array` - at `$.params`"),
        (Completion, {"type": "completion", "text": "x", "cost": "1"}, "got `str` - at `$.cost`"),
        (Completion, {"type": "failure", "text": "x"}, "Completion: Invalid value 'failure' - at `$.type`"),
        (Item, {**to_json(ITEM), "choices": "ab"}, "Expected `array`, got `str` - at `$.choices`"),
        (Item, {**to_json(ITEM), "choices": ["a", 1]}, "Expected `str`, got `int` - at `$.choices[1]`"),
        (Item, {**to_json(ITEM), "tags": {"a": 1}}, "Expected `str`, got `int` - at `$.tags[...]`"),
        (Answer, {**SAID, "result": None}, "Expected `object`, got `null` - at `$.result`"),
        (Answer, {**SAID, "result": {"type": "other"}}, "Invalid value 'other' - at `$.result.type`"),
        (Answer, {**SAID, "result": {"type": "failure", "kind": "x"}}, "field `message` - at `$.result`"),
        (RunSpec, {**to_json(SPEC), "prompt": {**to_json(PROMPT), "order_seed": "1"}}, "at `$.prompt.order_seed`"),
    ],
)
def test_anything_else_is_refused_with_the_fields_place(kind: type, value: Any, complaint: str) -> None:
    with pytest.raises(ValueError, match=re.escape(complaint)):
        from_json(kind, value)


def test_what_is_no_record_of_ours_is_left_to_the_encoder() -> None:
    odd = {"set": {1}, "tuple": (1, Path("a")), "class": LLMSpec}
    assert to_json(odd) == {"set": {1}, "tuple": [1, "a"], "class": LLMSpec}


@pytest.mark.parametrize("surrogate", ["", "\ud800"])
@pytest.mark.parametrize("spaced", [False, True])
def test_a_line_is_the_record_with_or_without_its_digest(surrogate: str, spaced: bool) -> None:
    answer = Answer(**{**SAID, "result": Completion(text=f"x{surrogate}"), "params": {"digest": "b2:" + "0" * 32}})  # type: ignore[arg-type]
    for plain in (to_json(answer), with_digest(to_json(answer))):
        line = json.dumps(plain, indent=1 if spaced else None).encode()
        assert record(Answer, Path("log.jsonl"), 1, line) == answer


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        (b"{", "log.jsonl:7: not JSON"),
        (b"[" * 100_000, "log.jsonl:7: not JSON"),
        (b'{"text": "\xff"}', "log.jsonl:7: not JSON"),
        (b'{"text": "a", "meta": {"x": NaN}}', "log.jsonl:7: not JSON (NaN is no number)"),
        (b'{"text": "a", "meta": {"x": -Infinity}}', "log.jsonl:7: not JSON (-Infinity is no number)"),
        (b'{"text": 1}', "log.jsonl:7: Caption: Expected `str`, got `int` - at `$.text`"),
    ],
)
def test_a_bad_line_is_named_by_file_line_and_field(line: bytes, complaint: str) -> None:
    with pytest.raises(RunError, match=re.escape(complaint)):
        record(Caption, Path("log.jsonl"), 7, line)
