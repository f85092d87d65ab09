"""Questions from files: checked row by row, and nothing about the answer where a prompt could see it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cascade.datasets import jsonl, registry
from cascade.errors import DatasetError, UnknownName, UserError
from cascade.io.digests import digest_file

ROW: dict[str, Any] = {
    "id": "q1",
    "audio_path": "./audio/1.wav",
    "question": "What?",
    "choices": ["a", "b"],
    "answer": "a",
    "modality": "speech",
    "sub-category": "x",
    "split": 3,
    "cue": ["secret"],
    "thinking": "secret",
    "url": "https://secret",
    "timestamp": "0:01",
    "language": "en",
    "source": "secret",
    "rubric": {"a": 1},
    "spans": [1, 2],
    "empty": None,
}


def write(*rows: Any, name: str = "mine.jsonl", prefix: bytes = b"") -> Path:
    file = Path.cwd() / name
    file.write_bytes(prefix + b"\n".join(row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows))
    return file


@pytest.mark.parametrize("prefix", [b"", b"\xef\xbb\xbf", b"\n \n"])
def test_a_file_of_questions(prefix: bytes) -> None:
    file = write(ROW, b"", {**ROW, "id": "q2"}, b"\r", prefix=prefix)
    dataset = registry.load(str(file))
    assert (dataset.name, dataset.digest, dataset.root) == ("mine", digest_file(file), Path.cwd())
    assert [item.id for item in dataset.items] == ["q1", "q2"]
    item = dataset.items[0]
    assert (item.audio, item.question, item.choices, item.answer) == ("audio/1.wav", "What?", ("a", "b"), "a")
    assert dict(item.tags) == {"modality": "speech", "sub-category": "x", "split": "3"}
    assert set(item.reference) == {"cue", "thinking", "url", "timestamp", "language", "source", "rubric", "spans"}
    assert registry.load(str(file), Path("/clips")).root == Path("/clips")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"id": None}, "'id' is null"),
        ({"id": " "}, "'id' must be text"),
        ({"id": 7}, "'id' must be text, not 7"),
        ({"question": ""}, "'question' must be text"),
        ({"choices": "ab"}, "'choices' must be a list of texts"),
        ({"choices": ["a", 1]}, "'choices' must be a list of texts"),
        ({"choices": ["a"]}, "'choices' must hold two or more"),
        ({"answer": "A"}, "the answer 'A' is none of the choices ['a', 'b']"),
        ({"answer": None}, "'answer' is null"),
        ({"audio_path": "../x.wav"}, "'audio_path' '../x.wav' leaves the data folder"),
        ({"audio_path": "a/../../x.wav"}, "leaves the data folder"),
        ({"audio_path": "a\0b"}, "'audio_path'"),
        ({"audio_path": ""}, "'audio_path' must be text"),
        ({"question": "\ud800"}, "is no valid Unicode"),
        ({"choices": ["a", "\udfff"]}, "is no valid Unicode"),
        ({"modality": "\ud800"}, "is no valid Unicode"),
    ],
)
def test_a_bad_row_is_refused_by_file_and_line(change: dict[str, Any], complaint: str) -> None:
    file = write({**ROW, "id": "q0"}, {**ROW, **change})
    with pytest.raises(DatasetError) as caught:
        jsonl.load(file)
    assert str(caught.value).startswith(f"{file}:2: ") and complaint in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("field", ["id", "audio_path", "question", "choices", "answer"])
def test_a_lacking_field_is_named(field: str) -> None:
    with pytest.raises(DatasetError, match=rf"mine\.jsonl:1: '{field}' is missing"):
        jsonl.load(write({key: value for key, value in ROW.items() if key != field}))


@pytest.mark.parametrize(
    ("rows", "complaint"),
    [
        ([ROW, ROW], r":2: the id 'q1' stands twice"),
        ([b"{"], r":1: not JSON"),
        ([b"\xff\xfe"], r":1: not JSON"),
        ([b"[" * 100_000], r":1: not JSON"),
        ([[1]], r":1: an object is needed, not list"),
        ([], r"holds no rows"),
        ([b" ", b""], r"holds no rows"),
        ([{}, {}, {}], r":1: 'id' is missing \(and 2 more bad rows\)"),
    ],
)
def test_a_bad_file_is_refused(rows: list[Any], complaint: str) -> None:
    with pytest.raises(DatasetError, match=r"mine\.jsonl" + (complaint if complaint[0] == ":" else ": " + complaint)):
        jsonl.load(write(*rows))


def test_an_absolute_path_is_for_files_that_the_user_wrote() -> None:
    assert jsonl.parse_item({**ROW, "audio_path": "/clips/1.wav"}).audio == "/clips/1.wav"
    with pytest.raises(ValueError, match="must be relative to the data folder"):
        jsonl.parse_item({**ROW, "audio_path": "/clips/1.wav"}, absolute=False)
    with pytest.raises(ValueError, match="must be relative to the data folder"):
        jsonl.parse_item({**ROW, "audio_path": "//clips/1.wav"}, absolute=False)


@pytest.mark.parametrize(("path", "wanted"), [("a/../1.wav", "1.wav"), ("..x/1.wav", "..x/1.wav"), ("a//b", "a/b")])
def test_a_path_inside_the_folder_is_kept(path: str, wanted: str) -> None:
    assert jsonl.parse_item({**ROW, "audio_path": path}).audio == wanted


def test_choices_are_kept_to_the_letter() -> None:
    odd = {**ROW, "choices": ["", " a ", "b", "b"], "answer": " a "}
    item = jsonl.parse_item(odd)
    assert (item.choices, item.answer) == (("", " a ", "b", "b"), " a ")
    assert jsonl.parse_item({**ROW, "choices": ["", "a"], "answer": ""}).answer == ""


def test_a_name_or_a_file_that_is_not_there() -> None:
    with pytest.raises(DatasetError, match=r"none\.jsonl: no such file; give --dataset"):
        registry.load("none.jsonl")
    with pytest.raises(UnknownName, match=r"unknown dataset 'demmo' \(did you mean 'demo'\?\)"):
        registry.load("demmo")
    Path("folder.jsonl").mkdir()
    with pytest.raises(DatasetError, match=r"folder\.jsonl: cannot be read"):
        registry.load("folder.jsonl")


def test_the_demo_set_is_whole() -> None:
    demo = registry.load("demo")
    assert demo.name == "demo" and demo.version and demo.licence == "MIT" and len(demo.items) >= 20
    assert all((demo.root / item.audio).is_file() for item in demo.items)
    assert len({item.tags["modality"] for item in demo.items}) == 7


def test_selecting() -> None:
    rows = [{**ROW, "id": f"q{n}", "modality": ["speech", "music"][n % 2], "split": n // 4} for n in range(8)]
    dataset = jsonl.load(write(*rows))

    def ids(only: dict[str, tuple[str, ...]], limit: int | None = None) -> list[str]:
        return [item.id for item in registry.select(dataset, only, limit)]

    assert ids({}) == [f"q{n}" for n in range(8)]
    assert ids({}, 3) == ["q0", "q1", "q2"]
    assert ids({"modality": ("music",)}, 2) == ["q1", "q3"]
    assert ids({"modality": ("music", "speech"), "split": ("1",)}) == ["q4", "q5", "q6", "q7"]
    with pytest.raises(
        UserError, match=r"--only modality=sound: no item of 'mine' has that \(there is: music, speech\)"
    ):
        ids({"modality": ("music", "sound")})
    with pytest.raises(UserError, match="no such tag"):
        ids({"colour": ("red",)})
    with pytest.raises(UserError, match="no item of 'mine' is left to ask"):
        ids({}, 0)
