"""The tokens and the cost of the calls for an answer, and the amount that they count against a budget."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from msgspec import UNSET
from msgspec.structs import replace

from cascade.types import Answer, Completion, Failure


def spent(result: Completion | Failure, price: Callable[[int, int], float] | None = None) -> float | None:
    """Return the US dollars that a call counts against a budget; None if the call had no bound and no cost is known.

    `price` maps tokens in and out to dollars if the cost is unknown.
    """
    if price and isinstance(result, Completion) and result.cost is None and result.charged is UNSET:
        return price(result.input_tokens or 0, result.output_tokens or 0)
    if result.charged is UNSET:
        return result.cost or 0.0
    return result.charged or result.cost


def total(answer: Answer) -> Completion | Failure:
    """Return the result of an answer; a completion has the tokens and the cost of its first reply and rounds."""
    result, rounds = answer.result, answer.rounds or ()
    if isinstance(result, Failure) or not (rounds or answer.first):
        return result
    replies = [*(taken.reply for taken in rounds), result]
    if answer.first:
        replies.append(answer.first)
    costs = [reply.cost for reply in replies]
    for taken in rounds:
        costs += [finding.cost for finding in taken.findings]
    return replace(
        result,
        input_tokens=_sum_known([reply.input_tokens for reply in replies]),
        output_tokens=_sum_known([reply.output_tokens for reply in replies]),
        cost=_sum_known(costs),
    )


def _sum_known(values: Sequence[Any]) -> Any:
    """Return the sum, or None if a value is unknown."""
    return None if None in values else sum(values)
