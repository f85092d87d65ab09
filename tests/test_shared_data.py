"""The benchmarks' own files, where a checkout has them beside it: published figures, found again."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from cascade.api import score
from cascade.datasets import jsonl, mmau
from cascade.prompting import templates
from cascade.runs import call_log, provenance
from cascade.runs.call_log import LoggedCall
from cascade.scoring import rubric_score
from cascade.scoring import summary as scoring_summary
from cascade.scoring.extraction.extract import extract
from cascade.scoring.matchers import mmar as matcher
from cascade.types import Completion, Dataset, Item, LLMSpec
from tests.support.official import official

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
def mmau_items() -> tuple[Item, ...]:
    return mmau.load(DATA, audio=False).items


@cache
def mmau_choices() -> list[list[str]]:
    return [row["choices"] for row in json.loads((DATA / "mmau-test-mini.json").read_bytes())]


def test_the_published_score_is_found_again() -> None:
    summary = score(DATA / "mmar-predictions.jsonl", mmar())
    result = summary.scores["mmar"]
    assert (summary.n, summary.failed, result.accuracy) == (1000, 0, 0.769)
    assert summary.official_denominator == 0.769
    assert summary.scores["strict"].accuracy <= 0.766
    rounded = {
        tag: {value: (rate.n, round(rate.accuracy * 100, 2)) for value, rate in result.by[tag].items()}
        for tag in PUBLISHED
    }
    assert rounded == PUBLISHED
    assert len(result.by["sub-category"]) == 16
    assert list(result.by["modality"])[:3] == ["speech", "mix-sound-speech", "music"]


def test_the_published_reasoning_is_judged_as_computed_by_hand() -> None:
    cases = rubric_score.judge_cases(DATA / "mmar-predictions.jsonl", mmar())
    assert (len(cases.right), len(cases.cases), cases.unable, cases.uncarried) == (769, 769, {}, frozenset())
    shown = "".join(case.thinking + case.response for case in cases.cases.values())
    assert all(len(case.criteria) == 5 for case in cases.cases.values()) and len(shown) > 1_000_000
    draw, replies, wanted = random.Random(5), {}, []
    judge = call_log.new_model(LLMSpec(model="m"), templates.find_template("", "judge"), provenance.session(), 5)
    digests = {asked.item: asked.digest for asked in rubric_score.inquiry(cases).questions(judge.prompt)}
    for item, digest in digests.items():
        criteria = cases.cases[item].criteria
        # Every criterion allows the same scores, so that a sum is the same in whatever order a judge names them.
        assert {criterion.choices for criterion in criteria} == {(0.0, 1.0)}
        calls = [[draw.randint(0, 1) for _ in criteria] for _ in range(5)]
        wanted.append(sum(sorted(map(sum, calls))[1:4]) / 15)
        for call, points in enumerate(calls):
            scores = [
                {"name": criterion.name, "score": point} for criterion, point in zip(criteria, points, strict=True)
            ]
            draw.shuffle(scores)
            reply = Completion(text=json.dumps({"scores": scores}))
            replies[item, call, digest] = LoggedCall(
                item=item, call=call, prompt=digest, result=reply, seconds=0.0, at=""
            )
    rating = rubric_score.rate_run(cases, judge, replies)
    assert (rating.judged, rating.failed, rating.matched) == (769, 0, {"place": 3845})
    assert rating.accuracy.whole.accuracy == 0.769 and rating.ours == rating.official
    assert rating.ours.whole.accuracy == pytest.approx(sum(wanted) / 1000)


def test_chance_is_what_was_measured() -> None:
    assert scoring_summary.chance(mmar().items) == pytest.approx({"mmar": 0.30035, "strict": 0.29335}, abs=1e-9)


def test_nothing_that_describes_the_answer_is_a_tag() -> None:
    tags = {tag for item in mmar().items for tag in item.tags}
    assert tags == {"modality", "category", "sub-category"}


@pytest.mark.parametrize(
    "dress", ["{}", "Answer: {}", "The notes point to it.\n\n**Answer:** {}", "<answer>{}</answer>"]
)
def test_every_choice_said_verbatim_is_itself(dress: str) -> None:
    sets = [*(list(item.choices) for item in mmar().items), *mmau_choices()]
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
    sets = [*(list(item.choices) for item in mmar().items), *mmau_choices()]
    read = wrong = 0
    for choices in sets:
        if any(len(choice.strip()) == 1 and choice.strip().isalpha() for choice in choices):
            continue  # Here a lone letter is a choice, as it stands.
        for letter, choice in zip("ABCDEFGH", choices, strict=False):
            chosen = extract(dress.format(letter=letter, choice=choice), choices).text
            read += chosen == choice
            wrong += chosen not in ("", choice)
    assert (wrong, read > 6500) == (0, True)


STRAY = ["", " ", "no", "A", "(b)", "3", "…", "猫", "İ", "ß", "e\u0301", "_x_", "\u200b", "½", "not sure", "\ud800"]


def answers(item: Item, chance: random.Random) -> Iterator[str]:
    """Fifty predictions of an item: choices dressed, cut, mixed and permuted, and what is none."""
    for _ in range(50):
        text = chance.choice([*item.choices, item.answer, item.answer, chance.choice(STRAY)])
        words = text.split() or [""]
        yield chance.choice(
            [
                text,
                text.upper(),
                f"The answer is {text}.",
                f"{text} {chance.choice(STRAY)}",
                " ".join(chance.sample(words, len(words))),
                chance.choice(words),
                f"{text}, not {chance.choice(item.choices)}",
                "".join(chance.sample(text, len(text))),
            ]
        )


@pytest.mark.parametrize("items", [lambda: mmar().items, mmau_items], ids=["mmar", "mmau"])
def test_the_matcher_is_the_official_rule_on_real_questions(items: Callable[[], tuple[Item, ...]]) -> None:
    chance, right, count = random.Random(7), 0, 0
    for item in items():
        for prediction in answers(item, chance):
            correct = matcher.correct(item, prediction)
            assert correct is official(item.answer, prediction, item.choices), (item.id, prediction)
            right, count = right + correct, count + 1
    assert count == 50_000 and 10_000 < right < 40_000


def test_mmau_is_broken_down_by_its_own_groups() -> None:
    rows = json.loads((DATA / "mmau-test-mini.json").read_bytes())
    Path("mmau.json").write_text(json.dumps([{**row, "model_output": row["answer"]} for row in rows]))
    result = score(Path("mmau.json")).scores["mmar"]
    for tag, count in {"task": 3, "difficulty": 3, "sub-category": 27}.items():
        assert sum(rate.n for rate in result.by[tag].values()) == 1000 and len(result.by[tag]) == count, tag
    assert sum(len(row["choices"]) > 4 for row in rows) == 25
