"""`--captions` and `--caption-param`: read, typed, filled in, or refused with what to type."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cascade import plugins
from cascade.captioners.registry import Engine
from cascade.errors import MissingExtra, UnknownName, UserError
from cascade.io.digests import digest_path
from cascade.pipeline.parsing import parse_captions, parse_pairs
from cascade.types import CaptionerSpec, Host


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("none", []),
        (" none ", []),
        ("speech=fake", [("speech", "fake", {})]),
        (" speech = fake , sound=fake ", [("speech", "fake", {}), ("sound", "fake", {})]),
        ("faster-whisper", [("speech", "faster-whisper", {})]),
        ("my-slot_2=fake", [("my-slot_2", "fake", {})]),
        ("speech=fake(text=a b, other = c=d)", [("speech", "fake", {"text": "a b", "other": "c=d"})]),
        ("speech=fake(),sound=fake", [("speech", "fake", {}), ("sound", "fake", {})]),
        ("x=unknown", [("x", "unknown", {})]),
        ("fake", [("fake", "fake", {})]),
        ("speech=fake,", [("speech", "fake", {})]),
    ],
)
def test_what_can_be_written(text: str, wanted: list[tuple[str, str, dict[str, str]]]) -> None:
    assert parse_captions(text) == wanted


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "cannot be read at ''; write it as speech=ENGINE,sound=ENGINE"),
        ("speech=", "cannot be read at 'speech='"),
        ("=fake", "cannot be read at '=fake'"),
        ("speech=fake(text=a", "cannot be read at 'speech=fake(text=a'"),
        ("speech=fake sound=fake", "cannot be read at"),
        ("speech=fake,,sound=fake", "cannot be read at ',sound=fake'"),
        ("speech=fake(text)", "'text' must be key=value"),
        ("speech=fake(=a)", "'=a' must be key=value"),
        ("speech=fake,speech=signal", "the slot 'speech' is filled twice"),
        ("speech=fake,none", "none"),
        ("nome", "unknown captioner 'nome'"),
    ],
)
def test_what_cannot_be_read_says_where(text: str, complaint: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_captions(text)
    assert complaint in str(caught.value) and "\n" not in str(caught.value)


def test_a_parameter_given_twice_is_not_decided_in_silence() -> None:
    with pytest.raises(UserError, match="text"):
        parse_pairs(["text=a", "text=b"], "--captions speech=fake")


def test_every_parameter_is_filled_in() -> None:
    spec, files = Engine("faster-whisper").specify("speech", {"beam_size": "5", "vad": "TRUE", "max_no_speech": "1"})
    assert files == {}
    assert (spec.slot, spec.name, bool(spec.version)) == ("speech", "faster-whisper", True)
    assert (spec.params["beam_size"], spec.params["vad"], spec.params["max_no_speech"]) == (5, True, 1.0)
    assert isinstance(spec.params["max_no_speech"], float)
    assert spec.params["model"] == "tiny.en"
    assert set(spec.params) == set(Engine("faster-whisper").defaults)
    plain, _ = Engine("faster-whisper").specify("speech", {})
    same, _ = Engine("faster-whisper").specify("speech", {"beam_size": 1, "vad": False, "max_no_speech": 0.6})
    assert plain == same != spec


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"beam_size": "five"}, "--caption-param speech.beam_size=five: int is needed"),
        ({"beam_size": "1.5"}, "--caption-param speech.beam_size=1.5: int is needed"),
        ({"beam_size": 1.5}, "--caption-param speech.beam_size=1.5: int is needed"),
        ({"vad": "yes"}, "--caption-param speech.vad=yes: bool is needed"),
        ({"max_no_speech": "much"}, "--caption-param speech.max_no_speech=much: float is needed"),
        ({"max_no_speech": "nan"}, "--caption-param speech.max_no_speech=nan: float is needed"),
        ({"max_no_speech": "inf"}, "--caption-param speech.max_no_speech=inf: float is needed"),
        ({"model": None}, "--caption-param speech.model=None: str is needed"),
        ({"beam_sise": "5"}, "unknown parameter 'beam_sise' (did you mean 'beam_size'?)"),
        ({"model": "./none"}, "model=./none: no such file or folder"),
        ({"model": "~/none"}, "model=~/none: no such file or folder"),
    ],
)
def test_a_value_that_does_not_fit(given: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UserError) as caught:
        Engine("faster-whisper").specify("speech", given)
    assert complaint in str(caught.value)


@pytest.mark.parametrize("slot", ["", "Speech", "1st", "a b", "a.b", "speech\n", "../x"])
def test_a_slot_is_a_lower_case_word(slot: str) -> None:
    with pytest.raises(UserError, match="must be a lower-case word"):
        Engine("fake").specify(slot, {})


def test_an_unknown_engine() -> None:
    with pytest.raises(UnknownName, match=r"unknown captioner 'wisper'.*cascade captioners|did you mean"):
        Engine("wisper").specify("speech", {})


def test_a_local_model_is_named_by_its_content_and_not_by_its_place(tmp_path: Path) -> None:
    specs = []
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "model.bin").write_bytes(b"weights")
        spec, files = Engine("faster-whisper").specify("speech", {"model": str(folder)})
        assert files == {digest_path(folder): folder}
        assert spec.params["model"] == digest_path(folder)
        specs.append(spec)
    assert specs[0] == specs[1]
    assert str(tmp_path) not in str(specs)


def test_a_model_of_a_hub_is_no_path_and_a_folder_of_that_name_changes_nothing() -> None:
    Path("base").mkdir()
    for model in ("base", "their/model"):
        spec, files = Engine("faster-whisper").specify("speech", {"model": model})
        assert (spec.params["model"], files) == (model, {})


def test_building() -> None:
    spec, _ = Engine("fake").specify("speech", {"text": "hello"})
    captions: Any = Engine("fake").build(spec, Host())([Path("none.wav"), Path("none.wav")])
    assert [caption.text for caption in captions] == ["hello", "hello"]


def test_an_engine_whose_packages_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = plugins.find("captioners", "fake")
    monkeypatch.setattr(fake, "NEEDS", {"not_there_at_all": "pip install 'audio-cascade[x]'", "json": "never"})
    with pytest.raises(MissingExtra, match=r"'fake' needs the module 'not_there_at_all'.*: pip install") as caught:
        Engine("fake").build(CaptionerSpec(slot="s", name="fake", version="1", params={"text": ""}), Host())
    assert caught.value.command == "pip install 'audio-cascade[x]'"
    assert Engine("fake").install_commands == ["pip install 'audio-cascade[x]'"]
