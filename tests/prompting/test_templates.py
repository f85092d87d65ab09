"""What a model is shown, word for word."""

from __future__ import annotations

import inspect
from pathlib import Path
from types import ModuleType
from typing import get_type_hints

import pytest

from cascade.errors import UnknownName, UserError
from cascade.io.digests import digest_file
from cascade.io.encoding import audio_part
from cascade.prompting import evidence, templates
from cascade.prompting.evidence import evidence_text, order_choices, render
from cascade.types import Caption, Item, PromptSpec

CHOICES = ("rain", "a bell", "", "wind")
CAPTIONS = {"speech": Caption(text="Hello $question.\n"), "sound": Caption(text=""), "my_own-slot": Caption(text="x")}
EVIDENCE = "[Speech (transcript)]\nHello $question.\n\n[Sound]\nNo sound event was recognised."
GOLDEN = {
    "mmar": [
        (
            "user",
            "[Speech (transcript)]\nHello $question.\n\n[Sound]\nNo sound event was recognised.\n\n"
            "What costs $5?\nPlease select one answer from the provided choices.\nrain\na bell\n\nwind",
        ),
    ],
    "default": [
        (
            "system",
            "You answer multiple-choice questions about audio clips. You cannot hear the clip. You read notes on what "
            "was heard in it, made by automatic listeners; they can be wrong or incomplete. Weigh them, use what you "
            "know, and settle on the one choice that fits best, even when you are unsure.",
        ),
        (
            "user",
            "Notes on the clip:\n\n[Speech (transcript)]\nHello $question.\n\n[Sound]\nNo sound event was recognised."
            "\n\nQuestion: What costs $5?\nChoices:\nrain\na bell\n\nwind\n\n"
            "End with one line of this form, the choice copied word for word:\nAnswer: <choice text>",
        ),
    ],
}


def test_every_shipped_prompt_has_its_golden_text() -> None:
    assert templates.prompt_names() and set(templates.prompt_names()) >= set(GOLDEN)
    for name in templates.prompt_names():
        template = templates.find_template(name)
        assert template.name == name and template.text.strip()
        fields = "".join(text for _, text in templates.parts(template))
        assert all(field in fields for field in ("$evidence", "$question", "$choices"))


@pytest.mark.parametrize("name", GOLDEN)
def test_a_shipped_prompt_word_for_word(name: str) -> None:
    evidence = evidence_text(("speech", "sound"), CAPTIONS)
    assert evidence == EVIDENCE
    prompt = render(templates.find_template(name), evidence, "What costs $5?", CHOICES)
    assert [(message["role"], message["content"]) for message in prompt.messages] == GOLDEN[name]
    assert prompt.order == CHOICES


@pytest.mark.parametrize(
    ("slots", "captions", "wanted"),
    [
        ((), {}, "There are none: the clip was not listened to."),
        (("sound", "my_own-slot"), CAPTIONS, "[Sound]\nNo sound event was recognised.\n\n[My own slot]\nx"),
        (("my_own-slot",), CAPTIONS, "[My own slot]\nx"),
        (("music",), {"music": Caption(text=" \n")}, "[Music]\nNo music was recognised."),
        (("speech",), {"speech": Caption(text="")}, "[Speech (transcript)]\nNo speech was recognised."),
        (("events",), {"events": Caption(text="")}, "[Events]\nNothing was recognised."),
    ],
)  # fmt: skip
def test_evidence(slots: tuple[str, ...], captions: dict[str, Caption], wanted: str) -> None:
    assert evidence_text(slots, captions) == wanted


@pytest.mark.parametrize(
    ("windows", "wanted"),
    [
        ([{"start": 0, "end": 7.04, "text": "a"}, {"start": 7, "end": 14, "text": "b"}], "0.0-7.0 s: a\n7.0-14.0 s: b"),
        ([{"start": 0, "end": 7, "text": "a"}], "whole"),
        ([{"start": 0, "end": 7}, {"start": 7, "end": 9}], "whole"),
        ([], "whole"),
    ],
)
def test_several_windows_stand_with_their_times(windows: list[dict[str, object]], wanted: str) -> None:
    captions = {"sound": Caption(text="whole", meta={"windows": windows})}
    assert evidence_text(("sound",), captions) == f"[Sound]\n{wanted}"


def test_a_slot_with_empty_windows_has_the_sentence_for_silence() -> None:
    windows = [{"start": 0, "end": 7, "text": ""}, {"start": 7, "end": 14, "text": ""}]
    captions = {"speech": Caption(text="", meta={"windows": windows})}
    assert evidence_text(("speech",), captions) == "[Speech (transcript)]\nNo speech was recognised."


def test_the_order_of_choices_is_seeded_and_each_items_own() -> None:
    many = tuple("abcdefgh")
    assert order_choices(many, "q1", None) == many
    first = order_choices(many, "q1", 0)
    assert first == order_choices(many, "q1", 0) == ("e", "h", "g", "b", "d", "f", "a", "c")
    assert sorted(first) == list(many)
    assert len({order_choices(many, f"q{n}", 0) for n in range(20)}) > 15
    assert len({order_choices(many, "q1", seed) for seed in range(20)}) > 15


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "needs a line '# user'"),
        ("$question $choices", "needs a line '# user'"),
        ("# system\n$question $choices", "needs a line '# user'"),
        ("# user\n$question $choices\n# user\nx", "needs a line '# user'"),
        ("# user\n$question $choices\n# system\nx", "needs a line '# user'"),
        ("# user\n$question", "lacks $choices"),
        ("# user\n$choices ${evidence}", "lacks $question"),
        ("# user\n$question $choices $answer", "$answer is no field"),
        ("# user\n$question $choices ${cue}", "$cue is no field"),
        ("# user\n$question $choices costs $5", "a lone $ must be written $$"),
        ("# user\n$question $choices $", "a lone $ must be written $$"),
    ],
)
def test_a_broken_template_is_refused_before_anything_is_asked(tmp_path: Path, text: str, complaint: str) -> None:
    file = tmp_path / "mine.md"
    file.write_text(text)
    with pytest.raises(UserError) as caught:
        templates.find_template(str(file))
    assert complaint in str(caught.value) and f"--prompt {file}" in str(caught.value)


def test_a_template_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "mine.md"
    file.write_text("note\n# system\nBe $$5.\n# user  \n${question}|$choices\n")
    template = templates.find_template(str(file))
    assert (template.name, template.digest) == ("mine", digest_file(file))
    prompt = render(template, "unused", "Q $choices", ("a", "$evidence"))
    assert [dict(message) for message in prompt.messages] == [
        {"role": "system", "content": "Be $5."},
        {"role": "user", "content": "Q $choices|a\n$evidence"},
    ]


def test_text_before_the_first_part_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "mine.md"
    file.write_text("You are an expert.\n# user\n$evidence $question $choices\n")
    templates.find_template(str(file))
    assert "the text before its first '# system' or '# user' line is not sent" in capsys.readouterr().err
    file.write_text("\n# user\n$evidence $question $choices\n")
    templates.find_template(str(file))
    assert not capsys.readouterr().err


def test_a_template_that_is_not_there() -> None:
    with pytest.raises(UnknownName, match=r"unknown prompt 'defualt' \(did you mean 'default'\?\)"):
        templates.find_template("defualt")
    with pytest.raises(UserError, match=r"--prompt \./none\.md: cannot be read"):
        templates.find_template("./none.md")
    Path("latin.md").write_bytes(b"# user\n\xff")
    with pytest.raises(UserError, match="cannot be read"):
        templates.find_template("latin.md")


@pytest.mark.parametrize(
    ("module", "known"),
    [(templates, {"fill", "find_template"}), (evidence, {"render", "evidence_text", "order_choices"})],
)
def test_nothing_that_makes_a_prompt_can_see_an_item(module: ModuleType, known: set[str]) -> None:
    functions = [
        function
        for _, function in inspect.getmembers(module, inspect.isfunction)
        if function.__module__ == module.__name__
    ]
    assert known <= {function.__name__ for function in functions}
    assert not any(Item in get_type_hints(function).values() for function in functions)
    assert not hasattr(module, "Item")


def test_a_clip_is_sent_where_its_heading_stands_and_nothing_else_can_take_its_place() -> None:
    spec = PromptSpec(template="hear", template_digest="b2:t", slots=("audio", "speech"), audio="audio")
    sent = {"clip": "b2:1", "format": "wav", "rate": 16000, "channels": 1, "seconds": 2.5}
    captions = {"audio": Caption(text="sent", meta={"audio": sent}), "speech": Caption(text="[Audio] $evidence")}
    prompt = evidence.build_prompt(spec, templates.find_template("hear"), "q1", "What?", CHOICES, captions)
    content = prompt.messages[1]["content"]
    assert [part["type"] for part in content] == ["text", "input_audio", "text"]
    assert content[0]["text"].endswith("[Audio]\n") and content[1]["input_audio"] == sent
    assert content[2]["text"].startswith("\n\n[Speech (transcript)]\n[Audio] $evidence\n\nQuestion: What?")
    assert (prompt.clip, prompt.seconds) == ("b2:1", 2.5)
    whole = evidence.with_audio(prompt, audio_part(b"RIFF", "wav"))
    assert whole.messages[1]["content"][1] == {
        "type": "input_audio",
        "input_audio": {"data": "UklGRg==", "format": "wav"},
    }
    for meta in ({}, {"audio": "x"}, {"audio": {"clip": 1, "seconds": "2"}}):
        captions["audio"] = Caption(text="sent", meta=meta)
        strange = evidence.build_prompt(spec, templates.find_template("hear"), "q1", "What?", CHOICES, captions)
        assert (strange.clip, strange.seconds) == ("", 0.0)


def test_a_template_that_names_the_evidence_twice_sends_the_clip_once(tmp_path: Path) -> None:
    file = tmp_path / "mine.md"
    file.write_text("# system\nGiven: $evidence\n# user\n$evidence\n$question\n$choices\n$evidence\n")
    spec = PromptSpec(template="mine", template_digest="b2:t", slots=("audio",), audio="audio")
    caption = Caption(text="sent", meta={"audio": {"clip": "b2:1", "seconds": 1.0}})
    template = templates.find_template(str(file))
    prompt = evidence.build_prompt(spec, template, "q1", "What?", CHOICES, {"audio": caption})
    assert prompt.messages[0]["content"] == "Given: [Audio]\nThe clip that follows."
    parts = prompt.messages[1]["content"]
    assert [part["type"] for part in parts] == ["text", "input_audio", "text"]
    assert parts[2]["text"].endswith("[Audio]\nThe clip above.")
