"""Retries on a clock of our own."""

from __future__ import annotations

import asyncio
import random

import pytest

from cascade.errors import ProviderStop, ReplyError, Transient
from cascade.llms import pacing
from cascade.llms.pacing import retry_wait, retrying
from cascade.types import LLM, Completion, Params, Prompt

PROMPT = Prompt(messages=({"role": "user", "content": "?"},), order=("a", "b"))
SURE = Completion(text="Answer: a")


class _Model:
    """Raises what it is given, one after the other, then answers."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.asked = 0

    async def __call__(self, prompt: Prompt, params: Params) -> Completion:
        self.asked += 1
        if self.errors:
            raise self.errors.pop(0)
        return SURE


@pytest.fixture(autouse=True)
def _seeded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pacing, "_RANDOM", random.Random(1))


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The waits, which take no time."""
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr("asyncio.sleep", sleep)
    return waits


def ask(model: LLM, retries: int) -> Completion:
    return asyncio.run(_ask_once(retrying(model, retries)))


async def _ask_once(llm: LLM) -> Completion:
    return await llm(PROMPT, {})


def passing(after: float | None = None, message: str = "busy") -> Transient:
    return Transient("rate_limit", message, after)


def test_a_passing_fault_is_waited_out(slept: list[float]) -> None:
    model = _Model(passing(), passing())
    assert ask(model, 6) == SURE
    assert model.asked == 3
    assert [0 <= seconds <= most for seconds, most in zip(slept, (1, 2), strict=True)] == [True, True]


def test_the_last_fault_is_raised_as_it_is(slept: list[float]) -> None:
    model = _Model(*(passing(message=str(number)) for number in range(9)))
    with pytest.raises(Transient, match=r"^3$"):
        ask(model, 3)
    assert model.asked == 4
    assert len(slept) == 3


def test_no_retries_ask_once(slept: list[float]) -> None:
    model = _Model(passing())
    with pytest.raises(Transient):
        ask(model, 0)
    assert (model.asked, slept) == (1, [])


@pytest.mark.parametrize("error", [ReplyError("empty", "nothing"), ProviderStop("no key"), KeyboardInterrupt()])
def test_nothing_else_is_tried_again(slept: list[float], error: Exception) -> None:
    model = _Model(error)
    with pytest.raises(type(error)):
        ask(model, 6)
    assert (model.asked, slept) == (1, [])


def test_a_wait_that_is_asked_for_is_kept(slept: list[float]) -> None:
    ask(_Model(passing(7), passing(1e9), passing(float("inf"))), 6)
    assert 7 <= slept[0] <= 7.7
    assert slept[1:] == [300, 300]


def test_a_provider_that_asks_for_no_wait_is_not_hammered() -> None:
    assert max(retry_wait(5, 0.0) for _ in range(99)) > 30


def test_waits_double_to_a_minute_with_full_jitter() -> None:
    for attempt, most in enumerate((1, 2, 4, 8, 16, 32, 60, 60)):
        waits = [retry_wait(attempt, None) for _ in range(300)]
        assert 0 <= min(waits) < most / 20
        assert most * 0.95 < max(waits) <= most
    assert retry_wait(5000, None) <= 60
