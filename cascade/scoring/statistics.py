"""Intervals for what was counted, and tests of two counts. Standard library only; the tests hold it against scipy."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import exp, floor, lgamma, log, log1p, sqrt
from random import Random

_Z95 = 1.959963984540054  # of the normal distribution, 97.5 % lie below
_Z80 = 0.8416212335729143  # and here 80 %


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


# Two answers to each of the same items


def mcnemar(only_a: int, only_b: int) -> float:
    """The exact, two-sided p of McNemar's test: items that only one of two gets right fall to either by a fair coin.

    Source: McNemar (1947), with the binomial distribution in the place of its limit.
    """
    n, ways, total = only_a + only_b, 1, 0
    for count in range(min(only_a, only_b) + 1):
        total += ways
        ways = ways * (n - count) // (count + 1)
    return min(1.0, 2 * total / (1 << n))


def paired_bootstrap(only_a: int, only_b: int, n: int, seed: int = 0, draws: int = 10_000) -> tuple[float, float]:
    """A 95 % interval, in [-1, 1], of the difference (a − b) of two shares of the same `n` items: percentiles of draws.

    Drawing items again changes no more than how many are of each kind, so these counts are drawn: from the binomial
    distributions that they have.
    """
    chance, apart = Random(seed), only_a + only_b
    if not apart:
        return (0.0, 0.0)
    tables: dict[int, _Binomial] = {}
    of_all, found = _Binomial(n, apart / n), []
    for _ in range(draws):
        drawn = of_all.draw(chance)
        if drawn not in tables:
            tables[drawn] = _Binomial(drawn, only_a / apart)
        found.append((2 * tables[drawn].draw(chance) - drawn) / n)
    found.sort()
    return (found[int(0.025 * draws)], found[int(0.975 * draws) - 1])


class _Binomial:
    """Draws from a binomial distribution, from a table of all that lies within ten standard deviations."""

    def __init__(self, n: int, share: float) -> None:
        reach = 10 * sqrt(n * share * (1 - share)) + 1
        self._first, last = max(0, floor(n * share - reach)), min(n, floor(n * share + reach) + 1)
        sure = share in (0.0, 1.0)
        masses = (
            float(count == n * share) if sure else exp(_log_mass(count, n, share))
            for count in range(self._first, last + 1)
        )
        self._sums = list(accumulate(masses))

    def draw(self, chance: Random) -> int:
        return self._first + bisect_left(self._sums, chance.random() * self._sums[-1])


def _log_mass(count: int, n: int, share: float) -> float:
    ways = lgamma(n + 1) - lgamma(count + 1) - lgamma(n - count + 1)
    return ways + count * log(share) + (n - count) * log1p(-share)


def holm(chances: Sequence[float]) -> list[float]:
    """The p values of a family of tests, adjusted so that one false alarm among all is as rare as it was in each.

    Source: Holm (1979).
    """
    adjusted, worst = [0.0] * len(chances), 0.0
    for rank, place in enumerate(sorted(range(len(chances)), key=chances.__getitem__)):
        worst = max(worst, min(1.0, (len(chances) - rank) * chances[place]))
        adjusted[place] = worst
    return adjusted


def detectable(n: int, apart: float) -> float:
    """The least true difference that a paired test at 5 % finds four times in five, where it is asked of `n` items.

    `apart` is the share of items that only one of the two gets right; no difference is larger. Source: Connor (1987),
    solved for the difference.
    """
    least = 1.0
    for _ in range(100):
        share = max(apart, least)
        least = min(1.0, (_Z95 * sqrt(share) + _Z80 * sqrt(share - least * least)) / sqrt(n))
    return least
