"""Retries of a model's call: a transient fault is tried again after a random wait, a bounded number of times."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import ParamSpec, TypeVar

from cascade.errors import Transient

_FIRST = 1.0  # seconds, doubled each time
_LONGEST = 60.0
_LONGEST_ASKED_FOR = 300.0  # a provider may ask for longer than our own back-off

Arguments = ParamSpec("Arguments")
Reply = TypeVar("Reply")


def retrying(
    call: Callable[Arguments, Awaitable[Reply]],
    retries: int,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    jitter: random.Random | None = None,
) -> Callable[Arguments, Awaitable[Reply]]:
    """Return the call with up to `retries` further tries after a Transient; the last Transient is raised as it is."""
    draw = jitter or random.Random()

    async def complete(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Reply:
        for attempt in range(retries):
            try:
                return await call(*args, **kwargs)
            except Transient as error:
                await sleep(wait(attempt, error.retry_after, draw))
        return await call(*args, **kwargs)

    return complete


def wait(attempt: int, asked: float | None, draw: random.Random) -> float:
    """Return the seconds before the next try: exponential back-off with full jitter, or what the provider asked for.

    The longer of the two: with a provider that asks for no wait, all tries would pass within a moment. A wait that was
    asked for is lengthened by up to a tenth, so that calls which were refused together do not return together.
    """
    own = draw.uniform(0, min(_LONGEST, _FIRST * 2 ** min(attempt, 30)))
    return max(own, min(_LONGEST_ASKED_FOR, (asked or 0.0) * (1 + draw.random() / 10)))
