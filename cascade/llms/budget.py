"""What may be spent: each call reserves its highest possible cost before it is made, so the limit is never passed.

Where nothing bounds a call, it reserves the highest cost so far, and the first call is made alone.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
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
        self.record: Callable[[float], None] | None = None  # called with each charge, 0 where it is not known
        self._reserved, self._in_flight, self._highest = 0.0, 0, 0.0
        self._unknown = False  # after a call that had neither a bound nor a known cost
        self._counted: set[Path] = set()
        self._lock = threading.Lock()

    async def reserve(self, bound: float | None) -> float:
        """Reserve `bound` dollars (None: the highest cost so far) and return them. Raises BudgetSpent."""
        while True:
            with self._lock:
                if bound is None and self._unknown:
                    raise BudgetSpent(
                        f"--budget {self.limit:g}: the provider does not say how much a call took, and nothing bounds "
                        "it; leave out --budget (for questions --max-tokens is a bound)"
                    )
                amount = self._highest if bound is None else bound
                left = self.limit - self.spent - self._reserved
                alone = bound is None and not self._highest  # The first call shows what the others may cost.
                if amount <= left and left > 0 and not (alone and self._in_flight):
                    self._reserved += amount
                    self._in_flight += 1
                    return amount
                if not self._in_flight:
                    raise BudgetSpent(
                        f"--budget {self.limit:g}: ${self.spent:.4f} is spent, and the next call may cost "
                        f"${amount:.4f}; the same command with a higher --budget goes on (--max-tokens bounds a call)"
                    )
            await asyncio.sleep(_POLL)

    def settle(self, reserved: float, cost: float | None) -> None:
        """Return the reserved amount, and spend the call's cost; None has neither a bound nor a known cost."""
        with self._lock:
            self._reserved -= reserved
            self._in_flight -= 1
            self._add(cost)
            if self.record and cost != 0:
                self.record(cost or 0.0)

    def count(self, folder: Path, charges: Iterable[float | None]) -> None:
        """Count the charges in a run's logs as spent, once a folder; None had neither a bound nor a known cost."""
        with self._lock:
            if folder not in self._counted:
                for charge in charges:
                    self._add(charge)
            self._counted.add(folder)

    def _add(self, charge: float | None) -> None:
        self._unknown = self._unknown or charge is None
        self.spent += charge or 0.0
        self._highest = max(self._highest, charge or 0.0)


async def call_within(
    budget: Budget | None,
    bound: float | None,
    call: Callable[[], Awaitable[Reply]],
    cost: Callable[[Reply], float | None],
) -> Reply:
    """Return the call's reply, within the budget: `bound` is the most that it can cost, `cost` gives a reply's cost.

    A reply of unknown cost counts as its bound, one that failed too; a call without a reply counts as free.
    """
    if budget is None:
        return await call()
    reserved = await budget.reserve(bound)
    spent: float | None = 0.0
    try:
        reply = await call()
        spent = cost(reply)
        if spent is None:
            spent = reserved or bound
        return reply
    except ReplyError as error:
        spent = (reserved or bound) if error.unpriced else error.cost or 0.0
        raise
    finally:
        budget.settle(reserved, spent)
        _charges.get([]).append(spent or 0.0)


@contextmanager
def recording(budget: Budget | None, record: Callable[[float], None]) -> Iterator[None]:
    """Call `record` with each charge of the calls that are made meanwhile."""
    if budget:
        budget.record = record
    try:
        yield
    finally:
        if budget:
            budget.record = None


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
            if error.unpriced or sum(charges) != (error.cost or 0.0):
                error.charged = sum(charges)
            raise error from None
        return reply if sum(charges) == reply.cost else replace(reply, charged=sum(charges))

    return complete
