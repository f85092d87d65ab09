"""What may be spent: each call reserves its highest possible cost before it is made, so the limit is never passed."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from pathlib import Path
from typing import TypeVar

from msgspec.structs import replace

from cascade.errors import BudgetSpent, ReplyError, UserError
from cascade.types import LLM, Completion, Params, Prompt

Reply = TypeVar("Reply")
_POLL = 0.02  # seconds
_charges: ContextVar[list[float]] = ContextVar("charges")  # of the tries of the call that is being made


class Budget:
    """US dollars, shared by every call of a command, from any thread.

    A call for which too little is left waits while calls in flight may return a part of their reserve.
    """

    def __init__(self, limit: float) -> None:
        self.limit, self.spent = limit, 0.0
        self._reserved, self._in_flight, self._highest = 0.0, 0, 0.0
        self._counted: set[Path] = set()
        self._lock = threading.Lock()

    async def reserve(self, bound: float | None) -> float:
        """Reserve `bound` dollars (None: the highest cost so far) and return them. Raises BudgetSpent."""
        while True:
            with self._lock:
                amount = self._highest if bound is None else bound
                left = self.limit - self.spent - self._reserved
                if amount <= left and left > 0:
                    self._reserved += amount
                    self._in_flight += 1
                    return amount
                if not self._in_flight:
                    raise BudgetSpent(
                        f"--budget {self.limit:g}: ${self.spent:.4f} is spent, and the next call may cost "
                        f"${amount:.4f}; the same command with a higher --budget goes on (--max-tokens bounds a call)"
                    )
            await asyncio.sleep(_POLL)

    def settle(self, reserved: float, cost: float) -> None:
        """Return the reserved amount, and spend the call's cost."""
        with self._lock:
            self._reserved -= reserved
            self._in_flight -= 1
            self.spent += cost
            self._highest = max(self._highest, cost)

    def count(self, folder: Path, cost: float) -> None:
        """Count the cost in a run's log as spent, once a folder."""
        with self._lock:
            if folder not in self._counted:
                self.spent += cost
            self._counted.add(folder)


async def call_within(
    budget: Budget | None,
    bound: float | None,
    call: Callable[[], Awaitable[Reply]],
    cost: Callable[[Reply], float | None],
) -> Reply:
    """Return the call's reply, within the budget: `bound` is the most that it can cost, `cost` gives a reply's cost.

    A reply of unknown cost counts as its bound; a call without a reply as free, unless the error has a cost.
    """
    if budget is None:
        return await call()
    reserved, spent = await budget.reserve(bound), 0.0
    try:
        reply = await call()
        known = cost(reply)
        spent = reserved if known is None else known
        return reply
    except ReplyError as error:
        spent = error.cost or 0.0
        raise
    finally:
        budget.settle(reserved, spent)
        _charges.get([]).append(spent)


def recording_charges(llm: LLM) -> LLM:
    """Return the call, of one or more tries, with their charges in its result or error, where they are not its cost.

    Where the run stops between two tries, the call fails: what the first was charged would be in no record otherwise.
    """

    async def complete(prompt: Prompt, params: Params) -> Completion:
        charges: list[float] = []
        _charges.set(charges)
        try:
            reply = await llm(prompt, params)
        except (ReplyError, UserError) as error:
            if isinstance(error, UserError):
                if not any(charges):
                    raise
                error = ReplyError("stopped", str(error))
            if sum(charges) != (error.cost or 0.0):
                error.charged = sum(charges)
            raise error from None
        return reply if sum(charges) == (reply.cost or 0.0) else replace(reply, charged=sum(charges))

    return complete
