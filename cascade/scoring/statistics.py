"""Intervals for proportions, and tests of two counts. Standard library only; the tests compare it with scipy."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from math import erfc, sqrt
from typing import TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")

_Z95 = 1.959963984540054  # the 97.5 % quantile of the normal distribution
_Z80 = 0.8416212335729143  # and its 80 % quantile


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """A share of `n` items (or samples) that are right, in [0, 1], with a 95 % interval."""

    n: int
    accuracy: float
    ci95: tuple[float, float]


def with_groups(whole: Value, by: Mapping[str, Mapping[str, Value]]) -> list[tuple[str, str, Value]]:
    """Return (tag, value, figure) of all items, whose tag and value are `""`, and of each value of a tag."""
    groups = [("", "", whole)]
    for tag, values in by.items():
        groups += [(tag, value, figure) for value, figure in values.items()]
    return groups


def rate(correct: Sequence[bool]) -> Rate:
    """Return the share of right answers, with Wilson's interval."""
    right, n = sum(correct), len(correct)
    return Rate(n=n, accuracy=right / n, ci95=wilson(right, n))


def clustered(shares: Sequence[float]) -> Rate:
    """Return the mean of the items' own shares, each in [0, 1], with an interval over items.

    The interval is Wilson's for the number of independent trials that would have the estimated variance of the mean.
    """
    n = len(shares)
    mean = sum(shares) / n
    variance = sum((share - mean) ** 2 for share in shares) / max(1, n - 1) / n
    trials = float(n)
    if variance > 0 and 0 < mean < 1:
        trials = mean * (1 - mean) / variance
    return Rate(n=n, accuracy=mean, ci95=wilson(mean * trials, trials))


def wilson(right: float, n: float) -> tuple[float, float]:
    """Return Wilson's 95 % score interval, within [0, 1], of a proportion of n > 0. Source: Wilson (1927), eq. 4."""
    share, spread = right / n, _Z95 * _Z95 / n
    centre = (share + spread / 2) / (1 + spread)
    half = _Z95 * sqrt(max(0.0, share * (1 - share)) / n + spread / (4 * n)) / (1 + spread)
    low, high = centre - half, centre + half
    # At the ends the formula gives 0 and 1 except for rounding.
    if right == 0:
        low = 0.0
    if right == n:
        high = 1.0
    return (low, high)


def score_test(observed: float, n: int, share: float) -> float:
    """Return the two-sided p of the test that Wilson's interval inverts: whether `share`, in (0, 1), is true."""
    return erfc(abs(observed - share) * sqrt(n / (2 * share * (1 - share))))


# Tests of two answers to each of the same items


def mcnemar(only_a: int, only_b: int) -> float:
    """Return the exact, two-sided p of McNemar's test of the items that only one of two runs gets right.

    Source: McNemar (1947), with the binomial distribution instead of its normal limit.
    """
    n, ways, total = only_a + only_b, 1, 0
    for count in range(min(only_a, only_b) + 1):
        total += ways
        ways = ways * (n - count) // (count + 1)
    return min(1.0, 2 * total / (1 << n))


def paired_interval(only_a: int, only_b: int, n: int, z: float = _Z95) -> tuple[float, float]:
    """Return Tango's score interval, in [-1, 1], of the difference (a − b) of two shares of the same `n` items.

    It holds for few items and for none that differ, at 95 % unless `z` is given. Source: Tango (1998), eq. 33, solved
    by bisection.
    """
    observed = (only_a - only_b) / n

    def contains(difference: float) -> bool:
        """Return whether the score test does not reject this true difference."""
        # The likeliest probability of `only_b` is the larger root of 2n x² + linear x + constant.
        linear = (2 * n - only_a + only_b) * difference - only_a - only_b
        constant = -only_b * difference * (1 - difference)
        only_b_share = (sqrt(max(0.0, linear * linear - 8 * n * constant)) - linear) / (4 * n)
        variance = (2 * only_b_share + difference * (1 - difference)) / n
        return (observed - difference) ** 2 <= z * z * variance

    ends = []
    for outside in (-1.0, 1.0):
        inside = observed
        for _ in range(60):
            middle = (inside + outside) / 2
            if contains(middle):
                inside = middle
            else:
                outside = middle
        ends.append(inside)
    return (ends[0], ends[1])


def holm(p_values: Mapping[Key, float]) -> dict[Key, float]:
    """Return the p values of a family of tests, adjusted for the family-wise error rate. Source: Holm (1979)."""
    adjusted, largest = dict(p_values), 0.0
    for rank, key in enumerate(sorted(p_values, key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[key]))
        adjusted[key] = largest
    return adjusted


def detectable(n: int, discordant: float) -> float:
    """Return the smallest true difference that a paired 5 % test of `n` items detects with a power of 80 %.

    `discordant` is the share of items that only one of the two gets right. Source: Connor (1987), solved for the
    difference.
    """
    least = 1.0
    for _ in range(100):
        share = max(discordant, least)
        least = min(1.0, (_Z95 * sqrt(share) + _Z80 * sqrt(share - least * least)) / sqrt(n))
    return least
