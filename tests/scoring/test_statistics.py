"""Intervals and tests against scipy's, and against brute force."""

from __future__ import annotations

from math import log
from random import Random

import pytest
from scipy.optimize import minimize_scalar
from scipy.stats import binomtest, multinomial, norm

from cascade.scoring.statistics import clustered, detectable, holm, mcnemar, paired_interval, score_test, wilson

SIZES = (1, 2, 3, 7, 11, 40, 206, 1000, 10_000)


@pytest.mark.parametrize("n", SIZES)
def test_it_equals_scipy(n: int) -> None:
    for right in sorted({0, 1, n // 7, n // 3, n // 2, n - 1, n}):
        wanted = binomtest(right, n).proportion_ci(method="wilson")
        assert wilson(right, n) == pytest.approx((wanted.low, wanted.high), abs=1e-12)


def test_the_published_example() -> None:
    assert wilson(507, 1000) == pytest.approx((0.4761, 0.5379), abs=1e-4)


@pytest.mark.parametrize("n", SIZES)
def test_the_ends_are_exact(n: int) -> None:
    assert wilson(0, n)[0] == 0.0
    assert wilson(n, n)[1] == 1.0
    assert 0 < wilson(0, n)[1] <= 1 - wilson(n, n)[0] + 1e-12


# Two answers to each item


def test_mcnemar_equals_scipys_binomial_test() -> None:
    for only_a, only_b in [
        *((a, b) for a in range(13) for b in range(13)),
        (65, 12),
        (500, 500),
        (0, 1000),
        (731, 269),
    ]:
        wanted = binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1.0
        assert mcnemar(only_a, only_b) == pytest.approx(wanted, rel=1e-9), (only_a, only_b)


@pytest.mark.parametrize(
    ("counts", "wanted"),
    [
        ((9, 3, 32), (-0.027, 0.390)),  # Tango (1998), section 6.2: sleeping difficulties
        ((1, 7, 21), (-0.517, -0.026)),  # Fagerland, Lydersen and Laake (2014), table V: airway reactivity
    ],
)
def test_the_paired_interval_is_that_of_the_published_examples(
    counts: tuple[int, int, int], wanted: tuple[float, float]
) -> None:
    assert paired_interval(*counts) == pytest.approx(wanted, abs=5e-4)


def test_the_paired_interval_at_90_percent_is_that_of_the_published_examples() -> None:
    z = norm.ppf(0.95)
    assert paired_interval(0, 1, 44, z)[0] == pytest.approx(-0.096, abs=5e-4)  # section 6.1: contact lenses
    for n, only_b, wanted in [(30, 0, (-0.083, 0.083)), (50, 1, (-0.085, 0.032)), (80, 2, (-0.073, 0.009))]:
        assert paired_interval(0, only_b, n, z) == pytest.approx(wanted, abs=5e-4)  # table I


@pytest.mark.parametrize("counts", [(1, 0, 1), (5, 0, 5), (4, 1, 9), (3, 8, 11), (65, 12, 1000), (0, 7, 100)])
def test_the_ends_are_where_the_score_test_rejects(counts: tuple[int, int, int]) -> None:
    """The likelihood is maximised numerically here: the probabilities of the two kinds, at a given difference."""
    only_a, only_b, n = counts

    def squared_score(difference: float) -> float:
        low, high = max(0.0, -difference), (1 - difference) / 2

        def loss(share: float) -> float:
            logs = [(only_a, share + difference), (only_b, share), (n - only_a - only_b, 1 - 2 * share - difference)]
            return -sum(count * log(max(p, 1e-300)) for count, p in logs if count)

        share = minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-12}).x
        variance = (2 * share + difference * (1 - difference)) / n
        return float(((only_a - only_b) / n - difference) ** 2 / variance)

    for end in paired_interval(only_a, only_b, n):
        if abs(end) < 1:
            assert squared_score(end) == pytest.approx(norm.ppf(0.975) ** 2, rel=1e-3)
    low, high = paired_interval(only_b, only_a, n)
    assert paired_interval(only_a, only_b, n) == pytest.approx((-high, -low))


@pytest.mark.parametrize("n", SIZES)
def test_a_handful_of_items_supports_no_certainty(n: int) -> None:
    z2 = norm.ppf(0.975) ** 2
    assert paired_interval(0, 0, n) == pytest.approx((-z2 / (n + z2), z2 / (n + z2)))  # eq. 34
    for only_a in {0, 1, n}:
        low, high = paired_interval(only_a, 0, n)
        assert -1 <= low < only_a / n <= high <= 1 and high - low > min(1.0, 1 / n)


@pytest.mark.parametrize("n", [5, 11, 24])
def test_the_paired_interval_covers_the_truth(n: int) -> None:
    """The coverage is exact: a sum over all outcomes. Every tenth of discordant items, any share of them A's."""
    ends = {(a, b): paired_interval(a, b, n) for a in range(n + 1) for b in range(n + 1 - a)}
    coverages = []
    for discordant in (0.1, 0.2, 0.4, 0.6, 0.8):
        for share in (0.5, 0.7, 0.9, 1.0):
            truth = discordant * (2 * share - 1)
            chances = [discordant * share, discordant * (1 - share), 1 - discordant]
            covering = [(a, b, n - a - b) for (a, b), (low, high) in ends.items() if low <= truth <= high]
            coverages.append(sum(multinomial.pmf(covering, n, chances)))
    assert min(coverages) > 0.925 and sum(coverages) / len(coverages) > 0.95


def test_the_score_test_is_the_one_that_wilsons_interval_inverts() -> None:
    for end in wilson(7, 11):
        assert score_test(7 / 11, 11, end) == pytest.approx(0.05)


def test_holm_adjusts_in_steps() -> None:
    assert holm({1: 0.01, 2: 0.04, 3: 0.03, 4: 0.005}) == pytest.approx({1: 0.03, 2: 0.06, 3: 0.06, 4: 0.02})
    assert holm({"a": 0.5, "b": 0.6}) == {"a": 1.0, "b": 1.0}
    assert holm({}) == {}
    values = {"a": 0.2, "b": 0.001, "c": 0.049, "d": 0.03}
    assert all(adjusted >= values[key] for key, adjusted in holm(values).items())


def test_what_could_be_seen_is_seen_four_times_in_five() -> None:
    n, apart = 1000, 0.1
    least = detectable(n, apart)
    assert 0.02 < least < 0.04
    # Connor's formula, the other way round: the power at that difference.
    power = norm.cdf((least * n**0.5 - norm.ppf(0.975) * apart**0.5) / (apart - least * least) ** 0.5)
    assert power == pytest.approx(0.8, abs=1e-6)
    chance, seen = Random(2), 0
    for _ in range(400):
        drawn = chance.choices((1, -1, 0), weights=((apart + least) / 2, (apart - least) / 2, 1 - apart), k=n)
        seen += mcnemar(drawn.count(1), drawn.count(-1)) < 0.05
    assert 0.7 < seen / 400 < 0.87  # the exact test is a little stricter than the formula's limit
    assert detectable(10, 0.0) <= 1.0


def test_an_interval_over_items_is_wilsons_where_there_is_one_sample() -> None:
    shares = [1.0] * 30 + [0.0] * 10
    assert clustered(shares).ci95 == pytest.approx(wilson(30, 40), abs=0.01)
    assert clustered([0.5] * 40).accuracy == 0.5
