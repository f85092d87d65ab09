"""The benchmarks' own files, where a checkout has them beside it: published figures, found again."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import pytest

from cascade import scoring
from cascade.datasets import jsonl
from cascade.extracting import extract
from cascade.types import Dataset

DATA = Path(__file__).parents[2] / "shared" / "data"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="the benchmarks' files are not beside this checkout")

PUBLISHED = {
    "modality": {
        "speech": (294, 85.71),
        "mix-sound-speech": (218, 83.94),
        "music": (206, 58.74),
        "sound": (165, 75.76),
        "mix-music-speech": (82, 76.83),
        "mix-sound-music-speech": (24, 70.83),
        "mix-sound-music": (11, 72.73),
    },
    "category": {
        "Semantic Layer": (412, 83.98),
        "Perception Layer": (404, 72.52),
        "Cultural Layer": (141, 70.21),
        "Signal Layer": (43, 72.09),
    },
}


@cache
def mmar() -> Dataset:
    return jsonl.load(DATA / "mmar-meta.jsonl")


@cache
def mmau() -> list[list[str]]:
    return [row["choices"] for row in json.loads((DATA / "mmau-test-mini.json").read_bytes())]


def test_the_published_score_is_found_again() -> None:
    summary = scoring.score(DATA / "mmar-predictions.jsonl", mmar())
    result = summary.scores["mmar"]
    assert (summary.n, summary.failed, result.accuracy) == (1000, 0, 0.769)
    assert summary.official_denominator == 0.769
    assert summary.scores["strict"].accuracy <= 0.766
    found = {
        tag: {value: (rate.n, round(rate.accuracy * 100, 2)) for value, rate in result.by[tag].items()}
        for tag in PUBLISHED
    }
    assert found == PUBLISHED
    assert len(result.by["sub-category"]) == 16
    assert list(result.by["modality"])[:3] == ["speech", "mix-sound-speech", "music"]


def test_chance_is_what_was_measured() -> None:
    assert scoring.chance(mmar().items) == pytest.approx({"mmar": 0.30035, "strict": 0.29335}, abs=1e-9)


def test_nothing_that_describes_the_answer_is_a_tag() -> None:
    tags = {tag for item in mmar().items for tag in item.tags}
    assert tags == {"modality", "category", "sub-category"}


@pytest.mark.parametrize(
    "dress", ["{}", "Answer: {}", "The notes point to it.\n\n**Answer:** {}", "<answer>{}</answer>"]
)
def test_every_choice_said_verbatim_is_itself(dress: str) -> None:
    sets = [*(list(item.choices) for item in mmar().items), *mmau()]
    assert len(sets) == 2000
    wrong = [
        (choice, extract(dress.format(choice), choices))
        for choices in sets
        for choice in choices
        if choice and extract(dress.format(choice), choices).text != choice
    ]
    assert wrong == []


@pytest.mark.parametrize("dress", ["Answer: ({letter}) {choice}", "{letter}. {choice}", "Answer: {letter}"])
def test_a_label_never_names_another_choice(dress: str) -> None:
    sets = [*(list(item.choices) for item in mmar().items), *mmau()]
    read = wrong = 0
    for choices in sets:
        if any(len(choice.strip()) == 1 and choice.strip().isalpha() for choice in choices):
            continue  # Here a lone letter is a choice, as it stands.
        for letter, choice in zip("ABCDEFGH", choices, strict=False):
            said = extract(dress.format(letter=letter, choice=choice), choices).text
            read += said == choice
            wrong += said not in ("", choice)
    assert (wrong, read > 6500) == (0, True)
