"""The charges of a run to budgets: answers from their log, captions from `charges.jsonl`, which is a hash chain."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from msgspec import UNSET

from cascade.io.jsonl import RecordLog, records
from cascade.runs.costs import spent
from cascade.runs.provenance import now
from cascade.types import Answer, Record


class Charge(Record, frozen=True, kw_only=True):
    """A line of `charges.jsonl`: the US dollars that a call counted against a budget, and when it ended (UTC).

    The amount is 0 if the call had no bound and its cost is unknown.
    """

    charged: float
    at: str


def caption_charges(path: Path) -> list[Charge]:
    """Return the charges for a run's captions, in their order; none for a run without a budget."""
    file = path / "charges.jsonl"
    return list(records(Charge, file, growing=True)) if file.exists() else []


def charges(path: Path, price: Callable[[int, int], float] | None = None) -> Iterator[float | None]:
    """Yield what each call of a run counts against a budget, in US dollars, as `spent` says: answers and captions.

    Repeated calls count each time. `price` maps tokens in and out to dollars, for answers of unknown cost.
    """
    counted: dict[tuple[str, int], int] = {}  # by item and sample, the number of rounds counted so far
    for answer in records(Answer, path / "log.jsonl", growing=True):
        yield spent(answer.result, price)
        key, rounds = (answer.item, answer.sample), answer.rounds or ()
        for taken in rounds[counted.get(key, 0) :]:
            if taken.reply.cost is None and taken.reply.charged is UNSET:  # The cost of its line excludes it.
                yield spent(taken.reply, price)
        counted[key] = len(rounds)
    for charge in caption_charges(path):
        yield charge.charged or None


@contextmanager
def charge_log(path: Path) -> Iterator[Callable[[float], None]]:
    """Yield a function that appends a charge to the file of the run; the file begins with the first one."""
    with ExitStack() as stack:
        logs: list[RecordLog] = []

        def record(charge: float) -> None:
            if not logs:
                logs.append(stack.enter_context(RecordLog(path / "charges.jsonl")))
            logs[0].append(Charge(charged=charge, at=now()))

        yield record
