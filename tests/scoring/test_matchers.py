"""The official rule, written a second time without looking at the first, and what it is known for."""

from __future__ import annotations

import random

import pytest

from cascade.scoring.matchers import mmar, strict
from cascade.scoring.matchers.registry import SCORERS
from cascade.types import Item
from tests.support.official import official

WORDS = [
    "From near to far", "from far to near", "a", "A", "dog", "cat", "dog and cat", "3", "30", "3.5", "C#", "C", "d_og",
    "", "naïve", "NAÏVE", "İstanbul", "猫", "猫 狗", " dog ", "yes", "Yes.", "no", "İ", "ß", "SS", "don't", "don",
    "t", "_dog_", "**dog**", "(A) dog", "x²", "①", "e\u0301", "\u00e9", "...", "-", "Straße", "½", "a\u200bb",
]  # fmt: skip


def item(choices: tuple[str, ...], answer: str) -> Item:
    return Item(id="q", audio="q.wav", question="?", choices=choices, answer=answer)


def test_it_agrees_with_the_rule_on_ten_thousand_pairs() -> None:
    chance = random.Random(0)
    right = 0
    for _ in range(10_000):
        choices = tuple(chance.sample(WORDS, chance.randint(2, 5)))
        answer = chance.choice([*choices, chance.choice(WORDS)])
        prediction = chance.choice(
            [answer, answer.upper(), " ".join(reversed(answer.split())), *chance.sample(WORDS, 3), ""]
        )
        prediction = chance.choice([prediction, f"{prediction} {chance.choice(WORDS)}", f"The answer is {prediction}."])
        assert mmar.correct(item(choices, answer), prediction) is official(answer, prediction, choices), (
            choices,
            answer,
            prediction,
        )
        right += official(answer, prediction, choices)
    assert 1_000 < right < 9_000


PETS = ("a dog", "a cat", "the bird", "one horse")
NEAR = ("From near to far", "From far to near")


@pytest.mark.parametrize(
    ("choices", "answer", "prediction", "by_mmar", "by_strict"),
    [
        (PETS, "a cat", "a cat", True, True),
        (PETS, "a cat", " a cat\n", True, True),
        (PETS, "a cat", "A CAT", True, False),
        (PETS, "a cat", "**a cat**", True, False),
        (PETS, "a cat", '"a cat"', True, False),
        (PETS, "a cat", "\\boxed{a cat}", True, False),
        (PETS, "a cat", "Answer: a cat", True, False),
        (PETS, "a cat", "<answer>a cat</answer>", True, False),
        (PETS, "a cat", "_a cat_", False, False),
        (PETS, "a cat", "cat", False, False),
        (PETS, "a cat", "cat a", True, False),
        (PETS, "a cat", "B", False, False),
        (PETS, "a cat", "(B) a cat", True, False),
        (PETS, "a cat", "The answer is a cat.", False, False),
        (PETS, "a cat", "a cat, not a dog", False, False),
        (PETS, "a cat", "a catfish", False, False),
        (PETS, "a cat", "", False, False),
        (PETS, "a cat", " ... ", False, False),
        (NEAR, NEAR[0], NEAR[1], True, False),
        (("dog", "dog"), "dog", "dog", True, True),
        (("dog", "dog!"), "dog", "dog!", True, False),
        (("big dog", "dog"), "dog", "dog", True, True),
        (("big dog", "dog"), "big dog", "big dog", True, True),
        (("big dog", "dog"), "dog", "big dog", False, False),
        (("", "dog"), "", "", False, False),
        (("", "dog"), "", "anything", True, False),
        (("", "dog"), "", "dog", False, False),
        ((" dog ", "cat"), " dog ", "dog", True, True),
        (("C", "C#"), "C", "C#", True, False),
        (("dog", "cat"), "mouse", "mouse", True, True),
    ],
)
def test_what_each_says(choices: tuple[str, ...], answer: str, prediction: str, by_mmar: bool, by_strict: bool) -> None:
    given = item(choices, answer)
    assert {name: rule(given, prediction) for name, rule in SCORERS.items()} == {"mmar": by_mmar, "strict": by_strict}


def test_the_names_are_those_of_the_report() -> None:
    assert dict(SCORERS) == {"mmar": mmar.correct, "strict": strict.correct}
