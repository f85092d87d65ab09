"""What may be spent: calls reserve the most that they can cost before they are made, so the limit is never passed."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from cascade.errors import BudgetSpent, ReplyError

Reply = TypeVar("Reply")
_LOOK = 0.02  # seconds between looks at what came back


class Budget:
    """US dollars, shared by every call of a command, from any thread.

    What a call can cost at most is reserved before it is made and settled after. While others may give back some of
    what they reserved, a call waits; where nothing is in flight and there is too little left, `BudgetSpent` ends the
    run. A call whose bound is None has no stated end: the dearest so far is taken for it.
    """

    def __init__(self, limit: float) -> None:
        self.limit, self.spent = limit, 0.0
        self._reserved, self._flying, self._dearest = 0.0, 0, 0.0
        self._counted: set[Path] = set()
        self._lock = threading.Lock()

    async def reserve(self, bound: float | None) -> float:
        """Set `bound` dollars aside and return what was. Raises BudgetSpent where they are not there."""
        while (kept := self._take(bound)) is None:  # noqa: ASYNC110 - an event would belong to one thread's loop
            await asyncio.sleep(_LOOK)
        return kept

    def _take(self, bound: float | None) -> float | None:
        with self._lock:
            wanted = self._dearest if bound is None else bound
            left = self.limit - self.spent - self._reserved
            if wanted > left or left <= 0:
                if self._flying:
                    return None
                raise BudgetSpent(
                    f"--budget {self.limit:g}: ${self.spent:.4f} is spent, and the next call may cost ${wanted:.4f}; "
                    "the same command with a higher --budget goes on (--max-tokens bounds a call)"
                )
            self._reserved += wanted
            self._flying += 1
            return wanted

    def settle(self, reserved: float, cost: float) -> None:
        """Give back what was reserved, and take what the call cost."""
        with self._lock:
            self._reserved -= reserved
            self._flying -= 1
            self.spent += cost
            self._dearest = max(self._dearest, cost)

    def count(self, folder: Path, cost: float) -> None:
        """Take what was spent before, by the log in a folder; each folder's once."""
        with self._lock:
            self.spent += 0.0 if folder in self._counted else cost
            self._counted.add(folder)


async def call_within(
    purse: Budget | None,
    bound: float | None,
    call: Callable[[], Awaitable[Reply]],
    cost: Callable[[Reply], float | None],
) -> Reply:
    """The call's reply, within what may be spent: `bound` is the most that it can cost, `cost` what its reply did.

    A reply that was not priced counts as its bound; a call without a reply as free, unless the error says otherwise.
    """
    if purse is None:
        return await call()
    kept, spent = await purse.reserve(bound), 0.0
    try:
        reply = await call()
        known = cost(reply)
        spent = kept if known is None else known
        return reply
    except ReplyError as error:
        spent = error.cost or 0.0
        raise
    finally:
        purse.settle(kept, spent)
