"""How many calls are in flight, and when they start, by a clock of the test's own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from cascade.errors import ReplyError, Transient
from cascade.llms import pacing
from cascade.llms.pacing import ConcurrencyLimit, RateLimit, call_within_limit, paced
from cascade.types import Completion, Params, Prompt

PROMPT = Prompt(messages=({"role": "user", "content": "u" * 400},), order=("a", "b"))


class Clock:
    """Time that passes only when somebody sleeps."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.slept = 100.0, list[float]()
        monkeypatch.setattr("asyncio.sleep", self.sleep)

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def rounds(limit: ConcurrencyLimit, clock: Clock, *replies_a_second: float) -> list[int]:
    """The limit after rounds of replies that come so fast."""
    limits = []
    for rate in replies_a_second:
        for _ in range(limit.allowed):
            clock.now += 1 / rate
            limit.record_reply(1.0)
        limits.append(limit.allowed)
    return limits


def test_it_starts_with_sixteen_and_never_passes_the_most(clock: Clock) -> None:
    assert [ConcurrencyLimit(most, clock).allowed for most in (1, 16, 40)] == [1, 16, 16]
    assert rounds(ConcurrencyLimit(40, clock), clock, 10, 5, 20, 5, 40, 5, 80) == [32, 32, 40, 40, 40, 40, 40]


def test_it_grows_while_that_helps(clock: Clock) -> None:
    assert rounds(ConcurrencyLimit(500, clock), clock, 10, 15, 20, 21, 21, 21, 21) == [32, 32, 64, 64, 32, 32, 32]


def test_what_did_not_help_once_is_tried_again_later(clock: Clock) -> None:
    limits = rounds(ConcurrencyLimit(64, clock), clock, *[10.0] * 60)
    assert limits[3] == 16 and max(limits[4:]) > 16


def test_a_refusal_halves_once_for_all_that_were_in_flight(clock: Clock) -> None:
    limit = ConcurrencyLimit(16, clock)
    for _ in range(5):
        limit.slow_down(clock() - 1, None)
    assert limit.allowed == 8
    clock.now += 1
    limit.slow_down(clock(), None)
    assert limit.allowed == 4
    assert rounds(limit, clock, 5, 5, 5) == [5, 6, 7]
    for _ in range(9):
        clock.now += 1
        limit.slow_down(clock(), None)
    assert limit.allowed == 1


def test_a_wait_that_was_asked_for_holds_every_call(clock: Clock) -> None:
    async def enter_after(wait: float) -> float:
        limit = ConcurrencyLimit(4, clock)
        limit.slow_down(clock(), wait)
        await limit.enter()
        return clock.now - 100

    assert asyncio.run(enter_after(7.0)) == pytest.approx(7.0)
    clock.now = 100.0
    assert asyncio.run(enter_after(9_999.0)) == pytest.approx(300.0)


def test_starts_are_spread_over_the_time_that_a_reply_takes(clock: Clock) -> None:
    starts: list[float] = []

    async def start(limit: ConcurrencyLimit, count: int) -> list[float]:
        starts.clear()
        for _ in range(count):
            await limit.spread()
            starts.append(round(clock.now - 100, 3))
        return list(starts)

    async def all_of_them() -> None:
        limit = ConcurrencyLimit(4, clock)
        assert await start(limit, 3) == [0, 0, 0]  # nothing is known yet
        for took in (8.0, 2.0, 4.0):
            limit.record_reply(took)
        assert await start(limit, 3) == [0, 0.25, 0.5]  # four in half of the shortest
        clock.now += 10
        limit.slow_down(clock.now - 1, 3)
        assert await start(limit, 2) == [13.5, 13.5]  # never in a wait that was asked for

    asyncio.run(all_of_them())


def test_only_refusals_of_the_provider_cut() -> None:
    async def after(error: Exception) -> int:
        limit = ConcurrencyLimit(8)

        async def call() -> Completion:
            raise error

        with pytest.raises(type(error)):
            await call_within_limit(limit, call)
        assert limit._in_flight == 0
        return limit.allowed

    refusals = [Transient("rate_limit", "x"), Transient("timeout", "x"), Transient("server", "x", 0.01)]
    others = [Transient("server", "x"), Transient("connection", "x"), ReplyError("empty", "x"), ValueError("bug")]
    assert [asyncio.run(after(error)) for error in refusals] == [4, 4, 4]
    assert [asyncio.run(after(error)) for error in others] == [8, 8, 8, 8]


def test_no_more_are_in_flight_than_the_limit_and_all_get_their_turn() -> None:
    most, done = 0, 0

    async def all_of_them() -> None:
        nonlocal most, done
        limit = ConcurrencyLimit(3)

        async def call() -> None:
            nonlocal most
            most = max(most, limit._in_flight)
            await asyncio.sleep(0.001)

        async def send() -> None:
            nonlocal done
            await call_within_limit(limit, call)
            done += 1

        await asyncio.gather(*(send() for _ in range(40)))

    asyncio.run(all_of_them())
    assert (most, done) == (3, 40)


def test_starts_are_spread_over_the_minute(clock: Clock) -> None:
    line, pauses = RateLimit(120, clock), []
    for _ in range(4):
        line.take(1)
        pauses.append(line.pause())
    assert pauses == [0.5, 1.0, 1.5, 2.0]
    clock.now += 5
    assert line.pause() == 0.0  # what was not used is not saved up


def test_a_stated_limit_holds_after_a_wait_that_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pacing, "_LONGEST", 0.3)
    starts: list[float] = []

    async def call(prompt: Prompt, params: Params) -> Completion:
        starts.append(time.monotonic())
        if len(starts) == 3:
            raise Transient("rate_limit", "slow down", 300.0)
        return Completion(text="x")

    async def all_of_them() -> None:
        llm = paced(call, ConcurrencyLimit(16), rpm=1200)
        await asyncio.gather(*(llm(PROMPT, {}) for _ in range(16)), return_exceptions=True)

    asyncio.run(all_of_them())
    assert len(starts) == 16
    assert starts[3] - starts[2] > 0.25
    assert starts[15] - starts[3] > 0.9 * 12 * 0.05


def test_tokens_are_guessed_first_and_then_counted(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    limit = RateLimit
    monkeypatch.setattr(pacing, "RateLimit", lambda per_minute: limit(per_minute, clock))

    def run(reply: Completion, limits: dict[str, float]) -> list[float]:
        async def call(prompt: Prompt, params: Params) -> Completion:
            return reply

        async def twice() -> None:
            llm: Callable[[Prompt, Params], Awaitable[Any]] = paced(call, ConcurrencyLimit(1), **limits)
            for _ in range(3):
                await llm(PROMPT, {})

        clock.slept.clear()
        asyncio.run(twice())
        return clock.slept

    counted = Completion(text="x", input_tokens=300, output_tokens=100)
    assert run(counted, {"tpm": 6000}) == [pytest.approx(4.0), pytest.approx(4.0)]  # 400 tokens, 100 a second
    assert run(Completion(text="x"), {"tpm": 6000}) == [pytest.approx(1.0), pytest.approx(1.0)]  # 400 bytes
    assert run(counted, {"rpm": 60}) == [pytest.approx(1.0), pytest.approx(1.0)]
