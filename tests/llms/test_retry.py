"""Retries on a clock of our own."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

import pytest

from cascade.errors import ProviderStop, ReplyError, Transient
from cascade.llms.retry import retrying, wait
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


def run(model: LLM, retries: int) -> tuple[Callable[[], Completion], list[float]]:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    llm = retrying(model, retries, sleep, random.Random(1))
    return (lambda: asyncio.run(_ask_once(llm))), slept


async def _ask_once(llm: LLM) -> Completion:
    return await llm(PROMPT, {})


def passing(after: float | None = None, message: str = "busy") -> Transient:
    return Transient("rate_limit", message, after)


def test_a_passing_fault_is_waited_out() -> None:
    model = _Model(passing(), passing())
    ask, slept = run(model, 6)
    assert ask() == SURE
    assert model.asked == 3
    assert [0 <= seconds <= most for seconds, most in zip(slept, (1, 2), strict=True)] == [True, True]


def test_the_last_fault_is_raised_as_it_is() -> None:
    model = _Model(*(passing(message=str(number)) for number in range(9)))
    ask, slept = run(model, 3)
    with pytest.raises(Transient, match=r"^3$"):
        ask()
    assert model.asked == 4
    assert len(slept) == 3


def test_no_retries_ask_once() -> None:
    model = _Model(passing())
    ask, slept = run(model, 0)
    with pytest.raises(Transient):
        ask()
    assert (model.asked, slept) == (1, [])


@pytest.mark.parametrize("error", [ReplyError("empty", "nothing"), ProviderStop("no key"), KeyboardInterrupt()])
def test_nothing_else_is_tried_again(error: Exception) -> None:
    model = _Model(error)
    ask, slept = run(model, 6)
    with pytest.raises(type(error)):
        ask()
    assert (model.asked, slept) == (1, [])


def test_a_wait_that_is_asked_for_is_kept() -> None:
    ask, slept = run(_Model(passing(7), passing(1e9), passing(float("inf"))), 6)
    ask()
    assert 7 <= slept[0] <= 7.7
    assert slept[1:] == [300, 300]


def test_a_provider_that_asks_for_no_wait_is_not_hammered() -> None:
    draw = random.Random(0)
    assert max(wait(5, 0.0, draw) for _ in range(99)) > 30


def test_waits_double_to_a_minute_with_full_jitter() -> None:
    draw = random.Random(0)
    for attempt, most in enumerate((1, 2, 4, 8, 16, 32, 60, 60)):
        waits = [wait(attempt, None, draw) for _ in range(300)]
        assert 0 <= min(waits) < most / 20
        assert most * 0.95 < max(waits) <= most
    assert wait(5000, None, draw) <= 60
