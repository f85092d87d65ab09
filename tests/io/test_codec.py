"""Every record survives JSON, and nothing else passes for one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cascade.io.codec import from_json, to_json
from cascade.runs.directory import Manifest
from cascade.runs.provenance import Session
from cascade.types import (
    Answer,
    Caption,
    CaptionerSpec,
    CaptionRecord,
    Choice,
    Completion,
    Dataset,
    Execution,
    Failure,
    Host,
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
HOST = Host(device="cpu", batch=2, threads=1, files={"b2:3": Path("/models/x")})
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
    Dataset(name="d", digest="b2:6", root=Path("/data"), items=(ITEM, BARE), version="1", licence="MIT"),
    ENGINE,
    Caption(text="", meta={"windows": [{"start": 0.0}]}),
    PROMPT,
    MODEL,
    SPEC,
    HOST,
    Execution(cache=Path("c"), runs=Path("r"), host=HOST, api_base="http://x"),
    Execution(cache=Path("c"), runs=Path("r")),
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


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_a_record_survives_json(record: Any) -> None:
    assert from_json(type(record), json.loads(json.dumps(to_json(record)))) == record


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
        (LLMSpec, {"model": "x", "colour": 1, "shape": 2}, "LLMSpec: unknown colour, shape"),
        (LLMSpec, {}, "LLMSpec: missing model"),
        (LLMSpec, {"modell": "x"}, "LLMSpec: unknown modell; missing model"),
        (LLMSpec, [], "LLMSpec: an object is needed, not list"),
        (LLMSpec, None, "LLMSpec: an object is needed, not NoneType"),
        (LLMSpec, {"model": 1}, "LLMSpec.model: str is needed, not 1"),
        (LLMSpec, {"model": None}, "LLMSpec.model: str is needed, not None"),
        (LLMSpec, {"model": "x", "samples": True}, "LLMSpec.samples: int is needed, not True"),
        (LLMSpec, {"model": "x", "samples": 1.0}, "LLMSpec.samples: int is needed, not 1.0"),
        (LLMSpec, {"model": "x", "params": []}, "LLMSpec.params: an object is needed, not list"),
        (Completion, {"type": "completion", "text": "x", "cost": "1"}, "Completion.cost: float is needed, not '1'"),
        (Completion, {"type": "failure", "text": "x"}, "failure"),
        (Item, {**to_json(ITEM), "choices": "ab"}, "Item.choices: a list is needed, not str"),
        (Item, {**to_json(ITEM), "choices": ["a", 1]}, "Item.choices: str is needed, not 1"),
        (Item, {**to_json(ITEM), "tags": {"a": 1}}, "Item.tags: str is needed, not 1"),
        (Answer, {**SAID, "result": None}, "Answer.result: type None is none of completion, failure"),
        (Answer, {**SAID, "result": {"type": "other"}}, "Answer.result: type 'other' is none of"),
        (Answer, {**SAID, "result": {"type": "failure", "kind": "x"}}, "Answer.result: Failure: missing message"),
        (Host, {"files": {"b2:1": 5}}, "Host.files"),
        (
            RunSpec,
            {**to_json(SPEC), "prompt": {**to_json(PROMPT), "order_seed": "1"}},
            "RunSpec.prompt: PromptSpec.order_seed: int is needed, not '1'",
        ),
    ],
)
def test_anything_else_is_refused_with_the_fields_name(kind: type, value: Any, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint.replace(".", r"\.")):
        from_json(kind, value)
