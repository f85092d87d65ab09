"""Limits on the number of concurrent calls and on the rate of their starts, and retries, adapted to the provider.

The concurrency limit starts at 16 (or at `maximum`, if that is less) and doubles while a round of replies arrives
faster than the previous round. A 429 or a time-out halves it, once for all calls in flight; then it grows by one each
round. A wait that the provider asks for delays every call. Starts are spread over the time that a reply takes. `rpm`
and `tpm` space the starts evenly. A transient fault is retried after a random wait, a limited number of times.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import ParamSpec, TypeVar

from cascade.errors import Transient
from cascade.types import LLM, Completion, Params, Prompt

Arguments = ParamSpec("Arguments")
Reply = TypeVar("Reply")
_START = 16
_FASTER = 1.1  # times as many replies a second; a smaller gain is noise
_PATIENCE = 50  # rounds until growth is tried again
_SPREAD = 0.5  # of the time of a reply, over which the starts of calls are spread
_LONGEST = 300.0  # the longest wait in seconds that a provider may ask for
_FIRST_RETRY, _LONGEST_RETRY = 1.0, 60.0  # seconds before a retry if the provider asks for no wait, doubled each time
_RANDOM = random.Random()
_TOKEN_BYTES = 4  # on average, until the provider has counted
_AUDIO_TOKENS = 25  # a second, as Qwen2-Audio has them; OpenAI counts 10 and Gemini 32


class ConcurrencyLimit:
    """The number of calls that may be in flight, at most `maximum`, adapted to what the provider can take."""

    def __init__(self, maximum: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.maximum, self.allowed, self.clock = maximum, min(maximum, _START), clock
        self._in_flight, self._waiting = 0, deque[asyncio.Future[None]]()
        self._not_before, self._cut_at = 0.0, float("-inf")
        self._growing, self._smaller, self._rate, self._rounds = True, self.allowed, 0.0, 0
        self._next_start, self._shortest = 0.0, 0.0
        # The first round after a growth is not measured: it has older calls and new connections in it.
        self._settling = False
        self._begin_round()

    def _begin_round(self) -> None:
        self._replies, self._size, self._began = 0, self.allowed, self.clock()

    def pause(self) -> float:
        """Return the seconds for which the provider wants no call."""
        return max(0.0, self._not_before - self.clock())

    async def enter(self) -> None:
        """Wait until fewer calls are in flight than the limit, and count this one."""
        while self._in_flight >= self.allowed or (pause := self.pause()) > 0:
            if self._in_flight < self.allowed:
                await asyncio.sleep(pause)
                continue
            place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(place)
            await place
        self._in_flight += 1

    def leave(self) -> None:
        """Count a call as ended, and let waiting calls in."""
        self._in_flight -= 1
        free = self.allowed - self._in_flight
        while free > 0 and self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(None)
                free -= 1

    async def spread(self) -> None:
        """Wait for this call's turn, so that calls do not start in bursts, and set the next start."""
        turn = max(self.clock(), self._next_start)
        self._next_start = turn + _SPREAD * self._shortest / self.allowed
        while (pause := max(turn, self._not_before) - self.clock()) > 0:  # noqa: ASYNC110 - the pause may grow
            await asyncio.sleep(pause)

    def record_reply(self, seconds: float) -> None:
        """Record that a reply came after so many seconds; at the end of a round the limit may change."""
        self._shortest = min(seconds, self._shortest or seconds)
        self._replies += 1
        if self._replies < self._size:
            return
        rate = self._replies / max(self.clock() - self._began, 1e-9)
        self._rounds += 1
        if self._settling:
            self._settling = False
        elif self._growing:
            self._growing = self._settling = rate > _FASTER * self._rate
            larger, smaller = min(self.maximum, 2 * self.allowed), self._smaller
            self._smaller, self._rate = self.allowed, rate
            self.allowed = larger if self._growing else smaller
        elif self._cut_at > float("-inf"):
            self.allowed = min(self.maximum, self.allowed + 1)
        elif self._rounds % _PATIENCE == 0:
            self._growing, self._smaller, self._rate = True, self.allowed, 0.0
        self._begin_round()

    def slow_down(self, started: float, wait: float | None) -> None:
        """Halve the limit after a refused call that began at `started`; `wait` is the requested delay in seconds."""
        now = self.clock()
        if wait:
            self._not_before = max(self._not_before, now + min(wait, _LONGEST))
        if started >= self._cut_at:  # The other calls were in flight when the limit was cut.
            self.allowed, self._growing, self._cut_at = max(1, self.allowed // 2), False, now
            self._begin_round()


class RateLimit:
    """A limit of an amount (requests, tokens) a minute, with evenly spaced starts."""

    def __init__(self, per_minute: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds_each, self._free_at, self._clock = 60 / per_minute, 0.0, clock

    def pause(self) -> float:
        """Return the seconds until the next amount may be taken."""
        return max(0.0, self._free_at - self._clock())

    def take(self, amount: float) -> None:
        """Take an amount now."""
        self._free_at = max(self._clock(), self._free_at) + amount * self._seconds_each

    def correct(self, difference: float) -> None:
        """Charge the difference between the actual and the estimated amount."""
        self._free_at += difference * self._seconds_each


def paced(call: LLM, limit: ConcurrencyLimit, rpm: float | None = None, tpm: float | None = None) -> LLM:
    """Return the model's call within the limit, with starts spaced to `rpm` requests and `tpm` tokens a minute."""
    requests, tokens = RateLimit(rpm or math.inf), RateLimit(tpm or math.inf)
    last_reply = 0.0  # tokens of the last reply, which are expected of the next one too
    # Calls take their turn one at a time: turns reserved during a pause would all start when it ends.
    turn = asyncio.Lock()

    async def take_turn(expected: float) -> None:
        async with turn:
            while (pause := max(limit.pause(), requests.pause(), tokens.pause())) > 0:  # noqa: ASYNC110 - it may grow
                await asyncio.sleep(pause)
            requests.take(1)
            tokens.take(expected)

    async def complete(prompt: Prompt, params: Params) -> Completion:
        nonlocal last_reply
        size = sum(len(text.encode("utf-8", "replace")) for text in prompt.texts())
        expected = size / _TOKEN_BYTES + _AUDIO_TOKENS * prompt.seconds + last_reply
        reply = await call_within_limit(limit, lambda: call(prompt, params), lambda: take_turn(expected))
        if reply.input_tokens is not None:
            last_reply = reply.output_tokens or 0
            tokens.correct(reply.input_tokens + last_reply - expected)
        return reply

    return complete


async def call_within_limit(
    limit: ConcurrencyLimit,
    call: Callable[[], Awaitable[Reply]],
    take_turn: Callable[[], Awaitable[None]] | None = None,
) -> Reply:
    """Return the call's reply, and let the limit adapt to it; `take_turn` waits for other limits."""
    await limit.enter()
    try:
        await limit.spread()
        if take_turn:
            await take_turn()
        started = limit.clock()
        reply = await call()
    except Transient as error:
        if error.kind in ("rate_limit", "timeout") or error.retry_after:
            limit.slow_down(started, error.retry_after)
        raise
    finally:
        limit.leave()
    limit.record_reply(limit.clock() - started)
    return reply


def retrying(call: Callable[Arguments, Awaitable[Reply]], retries: int) -> Callable[Arguments, Awaitable[Reply]]:
    """Return the call with up to `retries` retries after a Transient; the last Transient is raised unchanged."""

    async def complete(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Reply:
        for attempt in range(retries):
            try:
                return await call(*args, **kwargs)
            except Transient as error:
                await asyncio.sleep(retry_wait(attempt, error.retry_after))
        return await call(*args, **kwargs)

    return complete


def retry_wait(attempt: int, asked: float | None) -> float:
    """Return the seconds before the next try: exponential back-off with full jitter, or `asked`, whichever is longer.

    Without the back-off, a provider that asks for a wait of 0 would get all retries at once. The `asked` wait is
    lengthened by up to a tenth, so that calls which were refused together are not repeated together.
    """
    own = _RANDOM.uniform(0, min(_LONGEST_RETRY, _FIRST_RETRY * 2 ** min(attempt, 30)))
    return max(own, min(_LONGEST, (asked or 0.0) * (1 + _RANDOM.random() / 10)))
