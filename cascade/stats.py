"""Intervals for what was counted. Standard library only; the tests hold it against scipy."""

from __future__ import annotations

from math import sqrt

_Z95 = 1.959963984540054  # of the normal distribution, 97.5 % lie below


def wilson(right: int, n: int, z: float = _Z95) -> tuple[float, float]:
    """Wilson's score interval of a proportion, 95 % unless `z` says otherwise, within [0, 1].

    No trials say nothing: (0, 1). Raises ValueError unless 0 ≤ right ≤ n. Source: Wilson (1927), eq. 4.
    """
    if not 0 <= right <= n:
        raise ValueError(f"{right} of {n} is no proportion")
    if n == 0:
        return (0.0, 1.0)
    share, spread = right / n, z * z / n
    centre = (share + spread / 2) / (1 + spread)
    half = z * sqrt(share * (1 - share) / n + spread / (4 * n)) / (1 + spread)
    # At the ends the formula gives 0 and 1 but for rounding.
    return (0.0 if right == 0 else centre - half, 1.0 if right == n else centre + half)
