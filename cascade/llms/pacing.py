"""How many calls are in flight, and how fast they start: as many as help, fewer when the provider pushes back.

The limit starts at 16 (or at `most`, where that is less) and doubles for as long as a round of replies comes in faster
than the last. A 429 or a time-out halves it, once for all calls that were in flight; then it grows by one a round. A
wait that the provider asks for holds every call. Starts are spread over the time that a reply takes. `rpm` and `tpm`
space the starts evenly.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TypeVar

from cascade.errors import Transient
from cascade.types import LLM, Completion, Params, Prompt

Reply = TypeVar("Reply")
_START = 16
_HELPS = 1.1  # times as many replies a second: less is noise
_PATIENCE = 50  # rounds until growth is tried again
_SPREAD = 0.5  # of the time that a reply takes: starts come twice as fast as replies can, and no faster
_LONGEST = 300.0  # seconds that a provider may ask all calls to wait
_LETTERS = 4  # bytes a token, about, until the provider has counted


class ConcurrencyLimit:
    """Lets calls through, never more than `most` at once."""

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.most, self.limit = most, min(most, _START)
        self.clock = clock
        self._flying, self._waiting = 0, deque[asyncio.Future[None]]()
        self._not_before, self._cut_at = 0.0, float("-inf")
        self._growing, self._slower, self._rate, self._rounds = True, self.limit, 0.0, 0
        self._next, self._shortest = 0.0, 0.0
        self._settling = False  # the round after a growth has calls of the one before in it, and new connections
        self._round()

    def _round(self) -> None:
        self._replies, self._size, self._began = 0, self.limit, self.clock()

    def pause(self) -> float:
        """Seconds for which the provider wants no call."""
        return max(0.0, self._not_before - self.clock())

    async def enter(self) -> None:
        """Wait for a place."""
        while self._flying >= self.limit or (pause := self.pause()) > 0:
            if self._flying < self.limit:
                await asyncio.sleep(pause)
                continue
            place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(place)
            await place
        self._flying += 1

    def leave(self) -> None:
        """Give the place back."""
        self._flying -= 1
        free = self.limit - self._flying
        while free > 0 and self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(None)
                free -= 1

    async def spread(self) -> None:
        """Wait for this call's turn to start. Replies that come in a heap are all read before another call follows, and
        calls that follow in a heap have their replies in one."""
        turn = max(self.clock(), self._next)
        self._next = turn + _SPREAD * self._shortest / self.limit
        while (pause := max(turn, self._not_before) - self.clock()) > 0:  # noqa: ASYNC110 - one may be asked for by then
            await asyncio.sleep(pause)

    def replied(self, took: float) -> None:
        """A reply came after so many seconds: at the end of a round the limit may grow."""
        self._shortest = min(took, self._shortest or took)
        self._replies += 1
        if self._replies >= self._size:
            self._grow(self._replies / max(self.clock() - self._began, 1e-9))
            self._round()

    def _grow(self, rate: float) -> None:
        self._rounds += 1
        if self._settling:
            self._settling = False
        elif self._growing:
            helped = rate > _HELPS * self._rate
            self._growing = helped
            before, self._slower, self._rate = self._slower, self.limit, rate
            self.limit = min(self.most, 2 * self.limit) if helped else before
            self._settling = helped
        elif self._cut_at > float("-inf"):
            self.limit = min(self.most, self.limit + 1)
        elif self._rounds % _PATIENCE == 0:
            self._growing, self._slower, self._rate = True, self.limit, 0.0

    def pushed_back(self, started: float, wait: float | None) -> None:
        """A call that started then was one too many; `wait` is what the provider asked for, in seconds."""
        now = self.clock()
        if wait:
            self._not_before = max(self._not_before, now + min(wait, _LONGEST))
        if started >= self._cut_at:  # the others were in flight when the limit was cut
            self.limit, self._growing, self._cut_at = max(1, self.limit // 2), False, now
            self._round()


class RateLimit:
    """So many a minute, evenly: what is taken now delays what comes after."""

    def __init__(self, per_minute: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._each, self._free, self._clock = 60 / per_minute, 0.0, clock

    def pause(self) -> float:
        """Seconds until the next may start."""
        return max(0.0, self._free - self._clock())

    def take(self, amount: float) -> None:
        """So many start now."""
        self._free = max(self._clock(), self._free) + amount * self._each

    def correct(self, difference: float) -> None:
        """What was taken was more, or less, by this."""
        self._free += difference * self._each


def paced(call: LLM, gate: ConcurrencyLimit, rpm: float | None = None, tpm: float | None = None) -> LLM:
    """The model's call through the gate, with starts spaced to so many requests and tokens a minute."""
    requests, tokens = RateLimit(rpm) if rpm else None, RateLimit(tpm) if tpm else None
    lines = [line for line in (requests, tokens) if line]
    reply = [0.0]  # tokens of the last reply: what the next one is expected to take
    first = asyncio.Lock()  # one at a time waits, the others behind it: turns taken beforehand would pile up in a pause

    async def turn(expected: float) -> None:
        async with first:
            while (pause := max(gate.pause(), *(line.pause() for line in lines))) > 0:  # noqa: ASYNC110 - it may grow
                await asyncio.sleep(pause)
            for line in lines:
                line.take(1 if line is requests else expected)

    async def complete(prompt: Prompt, params: Params) -> Completion:
        expected = sum(len(str(one["content"]).encode()) for one in prompt.messages) / _LETTERS + reply[0]
        done = await through(gate, lambda: call(prompt, params), lambda: turn(expected))
        if tokens and done.input_tokens is not None:
            reply[0] = done.output_tokens or 0
            tokens.correct(done.input_tokens + reply[0] - expected)
        return done

    return complete if lines else lambda prompt, params: through(gate, lambda: call(prompt, params))


async def through(
    gate: ConcurrencyLimit, call: Callable[[], Awaitable[Reply]], turn: Callable[[], Awaitable[None]] | None = None
) -> Reply:
    """One call through the gate, which hears how it went; `turn` waits for whatever else it has to."""
    await gate.enter()
    try:
        await gate.spread()
        if turn:
            await turn()
        started = gate.clock()
        reply = await call()
    except Transient as error:
        if error.kind in ("rate_limit", "timeout") or error.retry_after:
            gate.pushed_back(started, error.retry_after)
        raise
    finally:
        gate.leave()
    gate.replied(gate.clock() - started)
    return reply
