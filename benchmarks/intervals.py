"""How often the 95 % interval of a paired difference holds the true one: Tango's score interval and the bootstrap's.

Samples are drawn for true shares of discordant items, and of those that only A gets right; both methods see the same
samples. The bootstrap draws items with replacement, as the first version of `cascade compare` did.
"""

from __future__ import annotations

import argparse
import json
from functools import cache

import numpy as np

from cascade.scoring.statistics import paired_interval

SIZES = (5, 11, 24, 200)
DISCORDANT = (0.05, 0.1, 0.2, 0.4, 0.6)
ONLY_A = (0.5, 0.7, 0.9, 1.0)
DRAWS = 10_000  # of one bootstrap interval


@cache
def bootstrap_interval(only_a: int, only_b: int, n: int) -> tuple[float, float]:
    """Return the 95 % percentile interval of the difference over items that are drawn with replacement."""
    drawn = np.random.default_rng(0).multinomial(n, [only_a / n, only_b / n, 1 - (only_a + only_b) / n], DRAWS)
    low, high = np.quantile((drawn[:, 0] - drawn[:, 1]) / n, [0.025, 0.975], method="inverted_cdf")
    return float(low), float(high)


@cache
def score_interval(only_a: int, only_b: int, n: int) -> tuple[float, float]:
    """Return Tango's interval, computed once for each outcome."""
    return paired_interval(only_a, only_b, n)


def coverages(n: int, samples: int) -> dict[str, list[float]]:
    """Return each method's share of samples whose interval holds the true difference, for each pair of true shares."""
    generator = np.random.default_rng(n)
    covered: dict[str, list[float]] = {"score": [], "bootstrap": []}
    for discordant in DISCORDANT:
        for share in ONLY_A:
            truth = discordant * (2 * share - 1)
            chances = [discordant * share, discordant * (1 - share), 1 - discordant]
            outcomes = generator.multinomial(n, chances, samples)[:, :2].tolist()
            for name, interval in (("score", score_interval), ("bootstrap", bootstrap_interval)):
                ends = [interval(only_a, only_b, n) for only_a, only_b in outcomes]
                covered[name].append(sum(low - 1e-9 <= truth <= high + 1e-9 for low, high in ends) / samples)
    return covered


def main() -> None:
    """Print the mean and the least coverage of both methods, as text or as one flat JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer samples")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    given = parser.parse_args()
    figures = {}
    for n in SIZES:
        for name, shares in coverages(n, 500 if given.quick else 5000).items():
            figures[f"{name}_{n}_mean"] = round(sum(shares) / len(shares), 4)
            figures[f"{name}_{n}_least"] = min(shares)
    print(json.dumps(figures) if given.json else "\n".join(f"{name:<22} {value}" for name, value in figures.items()))


if __name__ == "__main__":
    main()
