"""The tokens and the cost of the calls for an answer, and the amount that they count against a budget."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from msgspec import UNSET
from msgspec.structs import replace

from cascade.errors import UNFINISHED
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
    """Return the result of an answer with the cost of its first reply and rounds; a completion has their tokens too."""
    result, rounds = answer.result, answer.rounds or ()
    if not (rounds or answer.first):
        return result
    replies = [taken.reply for taken in rounds]
    if answer.first:
        replies.append(answer.first)
    costs = [reply.cost for reply in replies]
    for taken in rounds:
        costs += [finding.cost for finding in taken.findings]
    if isinstance(result, Failure):
        if result.kind != UNFINISHED:  # whose cost is that of its last round
            costs.append(result.cost or 0.0)
        return replace(result, cost=sum_known(costs))
    replies.append(result)
    return replace(
        result,
        input_tokens=sum_known([reply.input_tokens for reply in replies]),
        output_tokens=sum_known([reply.output_tokens for reply in replies]),
        cost=sum_known([*costs, result.cost]),
    )


def total_tokens(results: Iterable[Completion | Failure], kinds: Sequence[str]) -> dict[str, int]:
    """Return the sums of the replies' tokens of these kinds (`input`, `output`, `reasoning`); unknown counts as 0."""
    totals = dict.fromkeys(kinds, 0)
    for result in results:
        if isinstance(result, Completion):
            for kind in kinds:
                totals[kind] += getattr(result, f"{kind}_tokens") or 0
    return totals


def total_cost(results: Sequence[Completion | Failure]) -> float | None:
    """Return the cost of all replies in US dollars, with charges for failures; None where a price is unknown."""
    prices = [result.cost for result in results if isinstance(result, Completion) or result.cost]
    return sum_known(prices) if prices else None


def sum_known(values: Sequence[Any]) -> Any:
    """Return the sum, or None if a value is unknown."""
    return None if None in values else sum(values)
