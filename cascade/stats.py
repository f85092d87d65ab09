"""Intervals for what was counted. Standard library only; the tests hold it against scipy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

_Z95 = 1.959963984540054  # of the normal distribution, 97.5 % lie below


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """A share of `n` items (or samples) that are right, in [0, 1], with a 95 % interval."""

    n: int
    accuracy: float
    ci95: tuple[float, float]


def rate(correct: Sequence[bool]) -> Rate:
    """The share of what is right, with Wilson's interval."""
    right, n = sum(correct), len(correct)
    return Rate(n=n, accuracy=right / n, ci95=wilson(right, n))


def clustered(shares: Sequence[float]) -> Rate:
    """The mean of the items' own shares, each in [0, 1], with an interval over items.

    It is Wilson's for as many independent trials as would have the variance that the mean is estimated to have.
    """
    n = len(shares)
    mean = sum(shares) / n
    variance = sum((share - mean) ** 2 for share in shares) / max(1, n - 1) / n
    trials = mean * (1 - mean) / variance if variance > 0 and 0 < mean < 1 else n
    return Rate(n=n, accuracy=mean, ci95=wilson(mean * trials, trials))


def wilson(right: float, n: float, z: float = _Z95) -> tuple[float, float]:
    """Wilson's score interval of a proportion, 95 % unless `z` says otherwise, within [0, 1].

    No trials say nothing: (0, 1). Raises ValueError unless 0 ≤ right ≤ n. Source: Wilson (1927), eq. 4.
    """
    if not 0 <= right <= n:
        raise ValueError(f"{right} of {n} is no proportion")
    if n == 0:
        return (0.0, 1.0)
    share, spread = right / n, z * z / n
    centre = (share + spread / 2) / (1 + spread)
    half = z * sqrt(max(0.0, share * (1 - share)) / n + spread / (4 * n)) / (1 + spread)
    # At the ends the formula gives 0 and 1 but for rounding.
    return (0.0 if right == 0 else centre - half, 1.0 if right == n else centre + half)
