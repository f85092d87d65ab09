"""The one owner of retries: a passing fault is waited out, with jitter and a bound, and then recorded."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import ParamSpec, TypeVar

from cascade.errors import Transient

_FIRST = 1.0  # seconds, doubled each time
_LONGEST = 60.0
_LONGEST_ASKED_FOR = 300.0  # a provider may ask for longer than we would wait of our own accord

Sleep = Callable[[float], Awaitable[None]]
Asked = ParamSpec("Asked")
Reply = TypeVar("Reply")


def retrying(
    call: Callable[Asked, Awaitable[Reply]],
    retries: int,
    sleep: Sleep = asyncio.sleep,
    jitter: random.Random | None = None,
) -> Callable[Asked, Awaitable[Reply]]:
    """The model's call, made up to `retries` more times after a Transient; the last one is raised as it is."""
    draw = jitter or random.Random()

    async def complete(*asked: Asked.args, **named: Asked.kwargs) -> Reply:
        for attempt in range(retries):
            try:
                return await call(*asked, **named)
            except Transient as error:
                await sleep(wait(attempt, error.retry_after, draw))
        return await call(*asked, **named)

    return complete


def wait(attempt: int, asked: float | None, draw: random.Random) -> float:
    """Seconds before the next try: exponential back-off with full jitter, or what the provider asked for; bounded.

    The longer of the two: a provider that asks for no wait at all would see every try within a moment. A wait that was
    asked for is lengthened by up to a tenth, so that calls refused together do not return together.
    """
    own = draw.uniform(0, min(_LONGEST, _FIRST * 2 ** min(attempt, 30)))
    return max(own, min(_LONGEST_ASKED_FOR, (asked or 0.0) * (1 + draw.random() / 10)))
