"""What a model is shown, word for word."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import get_type_hints

import pytest

from cascade import prompting
from cascade.errors import UnknownName, UserError
from cascade.hashing import digest_file
from cascade.types import Caption, Item

CHOICES = ("rain", "a bell", "", "wind")
HEARD = {"speech": Caption(text="Hello $question.\n"), "sound": Caption(text=""), "my_own-slot": Caption(text="x")}
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
    assert prompting.names() and set(prompting.names()) >= set(GOLDEN)
    for name in prompting.names():
        template = prompting.find(name)
        assert template.name == name and template.text.strip()
        fields = "".join(text for _, text in prompting.parts(template))
        assert all(field in fields for field in ("$evidence", "$question", "$choices"))


@pytest.mark.parametrize("name", GOLDEN)
def test_a_shipped_prompt_word_for_word(name: str) -> None:
    evidence = prompting.evidence(("speech", "sound"), HEARD)
    assert evidence == EVIDENCE
    prompt = prompting.render(prompting.find(name), evidence, "What costs $5?", CHOICES)
    assert [(message["role"], message["content"]) for message in prompt.messages] == GOLDEN[name]
    assert prompt.order == CHOICES


@pytest.mark.parametrize(
    ("slots", "captions", "wanted"),
    [
        ((), {}, "There are none: the clip was not listened to."),
        (("sound", "my_own-slot"), HEARD, "[Sound]\nNo sound event was recognised.\n\n[My own slot]\nx"),
        (("my_own-slot",), HEARD, "[My own slot]\nx"),
        (("music",), {"music": Caption(text=" \n")}, "[Music]\nNo music was recognised."),
        (("speech",), {"speech": Caption(text="")}, "[Speech (transcript)]\nNo speech was recognised."),
        (("events",), {"events": Caption(text="")}, "[Events]\nNothing was recognised."),
    ],
)  # fmt: skip
def test_evidence(slots: tuple[str, ...], captions: dict[str, Caption], wanted: str) -> None:
    assert prompting.evidence(slots, captions) == wanted


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
    heard = {"sound": Caption(text="whole", meta={"windows": windows})}
    assert prompting.evidence(("sound",), heard) == f"[Sound]\n{wanted}"


def test_a_slot_that_heard_nothing_in_all_its_windows_says_so() -> None:
    windows = [{"start": 0, "end": 7, "text": ""}, {"start": 7, "end": 14, "text": ""}]
    heard = {"speech": Caption(text="", meta={"windows": windows})}
    assert prompting.evidence(("speech",), heard) == "[Speech (transcript)]\nNo speech was recognised."


def test_the_order_of_choices_is_seeded_and_each_items_own() -> None:
    many = tuple("abcdefgh")
    assert prompting.order(many, "q1", None) == many
    first = prompting.order(many, "q1", 0)
    assert first == prompting.order(many, "q1", 0) == ("e", "h", "g", "b", "d", "f", "a", "c")
    assert sorted(first) == list(many)
    assert len({prompting.order(many, f"q{n}", 0) for n in range(20)}) > 15
    assert len({prompting.order(many, "q1", seed) for seed in range(20)}) > 15


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
        prompting.find(str(file))
    assert complaint in str(caught.value) and f"--prompt {file}" in str(caught.value)


def test_a_template_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "mine.md"
    file.write_text("note\n# system\nBe $$5.\n# user  \n${question}|$choices\n")
    template = prompting.find(str(file))
    assert (template.name, template.digest) == ("mine", digest_file(file))
    prompt = prompting.render(template, "unused", "Q $choices", ("a", "$evidence"))
    assert [dict(message) for message in prompt.messages] == [
        {"role": "system", "content": "Be $5."},
        {"role": "user", "content": "Q $choices|a\n$evidence"},
    ]


def test_a_template_that_is_not_there() -> None:
    with pytest.raises(UnknownName, match=r"unknown prompt 'defualt' \(did you mean 'default'\?\)"):
        prompting.find("defualt")
    with pytest.raises(UserError, match=r"--prompt \./none\.md: cannot be read"):
        prompting.find("./none.md")
    Path("latin.md").write_bytes(b"# user\n\xff")
    with pytest.raises(UserError, match="cannot be read"):
        prompting.find("latin.md")


def test_nothing_that_makes_a_prompt_can_see_an_item() -> None:
    functions = [
        one for _, one in inspect.getmembers(prompting, inspect.isfunction) if one.__module__ == prompting.__name__
    ]
    assert {"render", "evidence", "order", "find"} <= {one.__name__ for one in functions}
    assert not any(Item in get_type_hints(one).values() for one in functions)
    assert not hasattr(prompting, "Item")
