"""Files of predictions, in every shape in which they are exchanged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cascade.errors import DatasetError
from cascade.scoring import predictions
from cascade.types import Dataset, Item

QUESTION = {"question": "?", "choices": ["a", "b"], "answer": "a", "modality": "speech"}
ITEMS = tuple(Item(id=f"q{n}", audio="-", question="?", choices=("a", "b"), answer="a") for n in range(3))
DATASET = Dataset(name="theirs", digest="", root=Path(), items=ITEMS)


def write(rows: list[Any], name: str = "theirs.jsonl", prefix: bytes = b"") -> Path:
    text = json.dumps(rows) if name.endswith(".json") else "\n".join(map(json.dumps, rows))
    Path(name).write_bytes(prefix + text.encode())
    return Path(name)


@pytest.mark.parametrize("key", ["answer_prediction", "model_prediction", "model_output"])
@pytest.mark.parametrize("name", ["theirs.json", "theirs.jsonl"])
@pytest.mark.parametrize("prefix", [b"", b"\xef\xbb\xbf", b"\n \n"])
def test_every_key_and_format(key: str, name: str, prefix: bytes) -> None:
    rows = [{"id": "q0", **QUESTION, key: "a"}, {"id": "q1", **QUESTION, key: ""}]
    file = predictions.read_predictions(write(rows, name, prefix))
    assert file.texts == {"q0": "a", "q1": ""}
    assert file.carried == {"q0", "q1"}
    assert [item.id for item in file.items] == ["q0", "q1"]
    assert dict(file.items[0].tags) == {"modality": "speech"}


@pytest.mark.parametrize(
    ("row", "text", "carried"),
    [
        ({}, None, False),
        ({"answer_prediction": None}, None, True),
        ({"answer_prediction": ["a"]}, None, True),
        ({"answer_prediction": 3}, None, True),
        ({"answer_prediction": None, "model_output": "b"}, "b", True),
        ({"model_output": "b", "answer_prediction": "a"}, "a", True),
        ({"answer_prediction": " a "}, " a ", True),
        ({"thinking_prediction": "a"}, None, False),
    ],
)
def test_what_counts_as_a_prediction(row: dict[str, Any], text: str | None, carried: bool) -> None:
    file = predictions.read_predictions(write([{"id": "q0", **QUESTION, **row}]))
    assert file.texts == ({} if text is None else {"q0": text})
    assert file.carried == ({"q0"} if carried else set())


def test_ids_alone_are_joined_with_their_questions() -> None:
    file = predictions.read_predictions(write([{"id": "q2", "model_output": "b"}]), DATASET)
    assert (file.items, file.texts) == (ITEMS, {"q2": "b"})


def test_an_answer_that_is_no_choice_is_scored_as_it_stands() -> None:
    file = predictions.read_predictions(write([{"id": "q0", **QUESTION, "answer": "elsewhere", "model_output": "a"}]))
    assert file.items[0].answer == "elsewhere"


@pytest.mark.parametrize(
    ("rows", "dataset", "complaint"),
    [
        (
            [{"id": "q0", "model_output": "a"}],
            None,
            "'question' is missing; join it with its questions: --dataset mmar",
        ),
        ([{"id": "x9", "model_output": "a"}], DATASET, "the id 'x9' is not in the dataset"),
        ([{"id": "q0"}, {"id": "q0"}], DATASET, "the id 'q0' stands twice"),
        ([{"model_output": "a"}], DATASET, "an object with a text 'id' is needed"),
        ([{"id": 7}], DATASET, "an object with a text 'id' is needed"),
        (["q0"], DATASET, "an object with a text 'id' is needed"),
        ([], DATASET, "holds no rows"),
    ],
)
@pytest.mark.parametrize("name", ["theirs.json", "theirs.jsonl"])
def test_a_file_that_cannot_be_scored(name: str, rows: list[Any], dataset: Dataset | None, complaint: str) -> None:
    with pytest.raises(DatasetError) as caught:
        predictions.read_predictions(write(rows, name), dataset)
    assert complaint in str(caught.value) and name in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b'{"id": "q0"}\n{', r"theirs\.jsonl:2: not JSON"),
        (b"[1,", r"theirs\.jsonl: not JSON"),
        (b"[" * 100_000, r"theirs\.jsonl: not JSON"),
        (b"\xff", r"theirs\.jsonl:1: not JSON .*; give a run directory or a file of predictions"),
    ],
)
def test_a_file_that_is_none(content: bytes, complaint: str) -> None:
    Path("theirs.jsonl").write_bytes(content)
    with pytest.raises(DatasetError, match=complaint):
        predictions.read_predictions(Path("theirs.jsonl"), DATASET)


@pytest.mark.parametrize("name", ["theirs.json", "theirs.jsonl"])
def test_nan_is_no_prediction_and_costs_its_row_alone(name: str) -> None:
    rows = [{"id": "q0", **QUESTION, "answer_prediction": float("nan")}, {"id": "q1", **QUESTION, "model_output": "a"}]
    file = predictions.read_predictions(write(rows, name))
    assert file.texts == {"q1": "a"}


def test_a_file_is_utf_8() -> None:
    Path("theirs.json").write_bytes(json.dumps([{"id": "q0", **QUESTION, "answer_prediction": "a"}]).encode("utf-16"))
    with pytest.raises(DatasetError, match=r"not JSON .'utf-8' codec can't decode"):
        predictions.read_predictions(Path("theirs.json"))
