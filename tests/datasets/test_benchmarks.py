"""MMAR and MMAU from a folder of the user's: both versions, joined on id, with paths inside the folder only."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cascade.datasets import registry
from cascade.errors import DatasetError, UserError
from cascade.io.digests import digest, digest_file

OLD: list[dict[str, Any]] = [
    {
        "id": "b",
        "audio_path": "./audio/b.wav",
        "question": "B?",
        "choices": ["x", "y"],
        "answer": "z",
        "modality": "sound",
    },
    {
        "id": "a",
        "audio_path": "./audio/a.wav",
        "question": "A?",
        "choices": ["x", "y"],
        "answer": "x",
        "modality": "music",
    },
]
NEW = [{**OLD[1], "cue": ["c"], "rubric": []}, {**OLD[0], "answer": "y", "cue": ["d"], "rubric": [], "language": None}]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "MMAR-meta.json").write_text(json.dumps(OLD))
    return tmp_path


def test_the_older_version_alone(folder: Path) -> None:
    dataset = registry.load("mmar", folder)
    assert (dataset.name, dataset.version, dataset.licence) == ("mmar", "2025-05", "CC BY-NC 4.0")
    assert [(item.id, item.audio, item.answer) for item in dataset.items] == [
        ("b", "audio/b.wav", "z"),
        ("a", "audio/a.wav", "x"),
    ]
    assert dataset.digest == digest_file(folder / "MMAR-meta.json")
    assert dataset.root == folder


def test_versions_are_joined_on_id_and_the_one_with_more_fields_is_used(folder: Path) -> None:
    newer = folder / "MMAR-meta.jsonl"
    newer.write_text("\n".join(map(json.dumps, NEW)))  # the published file has no last newline
    dataset = registry.load("mmar", folder)
    assert dataset.version == "2026-02"
    assert [(item.id, item.answer) for item in dataset.items] == [("a", "x"), ("b", "y")]
    assert dict(dataset.items[0].tags) == {"modality": "music"}
    assert dataset.items[0].reference["cue"] == ["c"]
    assert dataset.digest == digest(sorted([digest_file(newer), digest_file(folder / "MMAR-meta.json")]))


def test_mmau_has_another_field_for_clips(tmp_path: Path) -> None:
    row = {
        "id": "m",
        "audio_id": "./clips/m.wav",
        "question": "?",
        "choices": ["a", "b"],
        "answer": "b",
        "task": "sound",
    }
    (tmp_path / "mmau-test-mini.json").write_text(json.dumps([{**row, "difficulty": "hard"}]))
    dataset = registry.load("mmau", tmp_path)
    assert dataset.items[0].audio == "clips/m.wav"
    assert dict(dataset.items[0].tags) == {"task": "sound", "difficulty": "hard"}


@pytest.mark.parametrize("name", ["mmar", "mmau"])
def test_missing_files_are_an_error_that_says_what_to_download(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UserError, match=rf"{name}.*give --data DIR"):
        registry.load(name)
    with pytest.raises(DatasetError, match=rf"^{name}: .* holds no metadata .*give --data DIR$"):
        registry.load(name, tmp_path)


@pytest.mark.parametrize(
    ("rows", "complaint"),
    [
        ([{**OLD[0], "audio_path": "/etc/passwd"}], "must be relative"),
        ([{**OLD[0], "audio_path": "../x.wav"}], "leaves the data folder"),
        ([OLD[0], OLD[0]], "the id 'b' stands twice"),
        ([{**OLD[0], "choices": None}], "'b': 'choices' is null"),
        ([], "holds no rows"),
        ([OLD[1], {**OLD[0], "cue": [{"times": [float("nan")]}]}], r"meta\.json: row 2: holds NaN or infinity"),
        ([{**OLD[0], "level": -float("inf")}], r"meta\.json: row 1: holds NaN or infinity"),
        ([[1]], "row 1: an object with a text 'id' is needed"),
    ],
)
def test_a_bad_file_is_refused_with_the_place(folder: Path, rows: list[Any], complaint: str) -> None:
    (folder / "MMAR-meta.json").write_text(json.dumps(rows))
    with pytest.raises(DatasetError, match=complaint):
        registry.load("mmar", folder)


def test_nan_in_a_line_is_refused_with_its_number(folder: Path) -> None:
    (folder / "MMAR-meta.json").unlink()
    rows = [OLD[1], {**OLD[0], "rubric": {"weights": [1.0, float("inf")]}}]
    (folder / "MMAR-meta.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(DatasetError, match=r"MMAR-meta\.jsonl:2: holds NaN or infinity; write null"):
        registry.load("mmar", folder)
