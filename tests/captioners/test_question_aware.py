"""Captions that depend on the question: what the listener is shown, what its key is made of, what is set aside."""

from __future__ import annotations

import json
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from cascade.captioners.registry import Engine
from cascade.captioners.remote import audio_llm
from cascade.captioning import generate
from cascade.errors import UserError
from cascade.io import audio
from cascade.types import CaptionRecord, Execution, Host, Item
from tests.support import clips
from tests.support.stub_server import Reply, Stub

pytest.importorskip("numpy")
if find_spec("litellm") is None:  # importing it here would send it to the network for prices
    pytest.skip("litellm is not installed", allow_module_level=True)
pytest.importorskip("soundfile")
pytest.importorskip("soxr")

CHOICES = ("rain", "a bell", "a siren")


def item(name: str, audio: str = "a.wav", question: str = "What is heard?", choices: Any = CHOICES) -> Item:
    return Item(id=name, audio=audio, question=question, choices=tuple(choices), answer=choices[0])


def words(request: dict[str, Any]) -> str:
    """The text that a listener is sent."""
    return str(request["messages"][-1]["content"][0]["text"])


def by_question(request: dict[str, Any], number: int) -> Reply:
    asked = re.search(r"Question: (.*)", words(request))
    assert asked
    return Reply(text=f"Heard for: {asked[1]}")


def listen(folder: Path, items: list[Item], stub: Stub, *, concurrency: int = 16, **given: Any) -> list[CaptionRecord]:
    for number, name in enumerate(sorted({item.audio for item in items})):
        clips.write(folder / name, clips.tone(300 + 100 * number, 3))
    spec, _ = Engine("audio-llm").specify("sound", {"model": "m", "question": True, **given})
    host = Host(endpoints={"m": stub.url}, retries=0, timeout=20.0, concurrency=concurrency)
    return generate.caption(items, folder, [spec], Execution(cache=folder / "cache", runs=folder, host=host))


def test_a_caption_belongs_to_the_question_and_to_no_order_of_the_choices(tmp_path: Path) -> None:
    items = [item(f"q{number}", question=f"How many, {number}?") for number in range(100)]
    turned = [item("turned", question="How many,  7?", choices=("a siren ", "rain", "a bell", "rain"))]
    with Stub(by_question) as stub:
        records = listen(tmp_path, items, stub)
        again = listen(tmp_path, items + turned, stub)
        other = listen(tmp_path, [item("other", question="How many, 7?", choices=(*CHOICES, "wind"))], stub)
    assert [record.text for record in records] == [f"Heard for: How many, {number}?" for number in range(100)]
    assert len({record.key for record in records}) == 100 and len(stub.asked) == 101
    assert again[:100] == records and again[100].key == records[7].key
    assert other[0].key not in {record.key for record in records}
    assert "Choices:\na bell\na siren\nrain\n" in words(stub.asked[0])


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the decoded clips, one for each time that a clip is decoded."""
    names: list[str] = []
    decode = audio.blocks

    def blocks(path: Path, *form: Any, **more: Any) -> audio.Blocks:
        names.append(path.name)
        return decode(path, *form, **more)

    monkeypatch.setattr(audio, "blocks", blocks)
    return names


def clip_of(request: dict[str, Any]) -> str:
    """The clip that a listener is sent, in base64."""
    return str(request["messages"][-1]["content"][1]["input_audio"]["data"])


def test_the_questions_about_a_clip_share_what_is_sent(tmp_path: Path, decoded: list[str]) -> None:
    items = [item(f"q{number}", "ab"[number % 2] + ".wav", f"What is it, {number}?") for number in range(24)]
    with Stub(by_question) as stub:
        records = listen(tmp_path, items, stub, concurrency=1)
    assert decoded == ["a.wav", "b.wav"]
    assert [record.text for record in records] == [f"Heard for: What is it, {number}?" for number in range(24)]
    sent = [clip_of(request) for request in stub.asked]
    assert len({*sent[:12]}) == len({*sent[12:]}) == 1 and sent[0] != sent[12]


def test_large_parts_are_sent_unchanged_and_not_kept(
    tmp_path: Path, decoded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    items = [item("q0"), item("q1", question="How often?")]
    with Stub(by_question) as stub:
        kept = listen(tmp_path, items, stub, concurrency=1, segments=2)
        monkeypatch.setattr(audio_llm, "_LARGEST_KEPT", 100_000)
        (tmp_path / "cache/cache.db").unlink()
        streamed = listen(tmp_path, items, stub, concurrency=1, segments=2)
    assert decoded == ["a.wav"] * 2 + ["a.wav"] * 2 * 3
    assert [record.text for record in streamed] == [record.text for record in kept]
    assert [clip_of(request) for request in stub.asked[:6]] == [clip_of(request) for request in stub.asked[6:]]


def test_keys_of_captions_without_the_question_are_those_of_before() -> None:
    spec, _ = Engine("audio-llm").specify("sound", {"model": "m"})
    assert sorted(spec.params) == ["max_tokens", "model", "prompt", "rate", "temperature", "window"]
    told, _ = Engine("audio-llm").specify("sound", {"model": "m", "question": "true", "segments": "3"})
    assert (told.params["question"], told.params["segments"]) == (True, 3) and "keep_answer" not in told.params
    assert "$question" in told.params["prompt"]


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"question": "true", "prompt": "Describe it."}, r"prompt=Describe it.: lacks \$question"),
        ({"question": "true", "prompt": "$question $answer"}, r"\$answer is no field"),
        ({"question": "true", "prompt": "none"}, r"lacks \$question"),
        ({"prompt": "observe"}, "goes with question=true"),
    ],
)
def test_a_prompt_that_does_not_fit_is_refused(given: dict[str, str], named: str) -> None:
    with pytest.raises(UserError, match=named):
        Engine("audio-llm").specify("sound", {"model": "m", **given})


def test_a_stated_answer_is_set_aside_unless_it_is_kept(tmp_path: Path) -> None:
    reply = Reply(text="Metal is struck twice, near. The answer is a bell. Birds are far away.")
    with Stub(lambda request, number: reply) as stub:
        (aside,) = listen(tmp_path, [item("q")], stub)
        (kept,) = listen(tmp_path, [item("q")], stub, keep_answer=True)
    assert aside.text == "Metal is struck twice, near. Birds are far away."
    assert aside.meta["answers"] == ["The answer is a bell."]
    assert kept.text == reply.text and "answers" not in kept.meta and kept.key != aside.key


def test_three_segments_are_heard_after_the_whole(tmp_path: Path) -> None:
    with Stub(lambda request, number: Reply(text=f"Part {number}.")) as stub:
        (record,) = listen(tmp_path, [item("q")], stub, segments=3)
    assert len(stub.asked) == 4 and record.meta["input_tokens"] == 44
    assert record.text is not None and record.text.split("\n\n") == [
        "The whole clip:\nPart 0.",
        "0.0-1.0 s:\nPart 1.",
        "1.0-2.0 s:\nPart 2.",
        "2.0-3.0 s:\nPart 3.",
    ]
    json.dumps(record.meta, allow_nan=False)
