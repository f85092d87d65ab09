"""Intervals and tests against scipy's, and against brute force."""

from __future__ import annotations

from random import Random

import pytest
from scipy.stats import binomtest, norm

from cascade.scoring.statistics import clustered, detectable, holm, mcnemar, paired_bootstrap, wilson

SIZES = (1, 2, 3, 7, 11, 40, 206, 1000, 10_000)


@pytest.mark.parametrize("n", SIZES)
def test_it_equals_scipy(n: int) -> None:
    for right in sorted({0, 1, n // 7, n // 3, n // 2, n - 1, n}):
        wanted = binomtest(right, n).proportion_ci(method="wilson")
        assert wilson(right, n) == pytest.approx((wanted.low, wanted.high), abs=1e-12)


def test_the_published_example() -> None:
    assert wilson(507, 1000) == pytest.approx((0.4761, 0.5379), abs=1e-4)


def test_other_levels() -> None:
    wanted = binomtest(3, 10).proportion_ci(confidence_level=0.99, method="wilson")
    assert wilson(3, 10, z=2.5758293035489004) == pytest.approx((wanted.low, wanted.high), abs=1e-12)


@pytest.mark.parametrize("n", SIZES)
def test_the_ends_are_exact(n: int) -> None:
    assert wilson(0, n)[0] == 0.0
    assert wilson(n, n)[1] == 1.0
    assert 0 < wilson(0, n)[1] <= 1 - wilson(n, n)[0] + 1e-12


def test_no_trials_say_nothing() -> None:
    assert wilson(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize(("right", "n"), [(-1, 5), (6, 5), (1, 0), (0, -1)])
def test_what_is_no_proportion_is_refused(right: int, n: int) -> None:
    with pytest.raises(ValueError, match=f"{right} of {n} is no proportion"):
        wilson(right, n)


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
    ("only_a", "only_b", "n"), [(65, 12, 1000), (4, 1, 9), (0, 7, 100), (30, 30, 206), (11, 0, 11)]
)
def test_the_bootstrap_is_that_of_drawing_items(only_a: int, only_b: int, n: int) -> None:
    signs = [1] * only_a + [-1] * only_b + [0] * (n - only_a - only_b)
    chance = Random(1)
    drawn = sorted(sum(chance.choices(signs, k=n)) / n for _ in range(4_000))
    wanted = drawn[100], drawn[3_899]
    assert paired_bootstrap(only_a, only_b, n) == pytest.approx(wanted, abs=2 / n if n < 100 else 0.012)
    assert paired_bootstrap(only_a, only_b, n) == paired_bootstrap(only_a, only_b, n)
    assert all(-1 <= end <= 1 for end in paired_bootstrap(only_a, only_b, n))


def test_without_a_difference_there_is_no_interval() -> None:
    assert paired_bootstrap(0, 0, 40) == (0.0, 0.0)


def test_holm_adjusts_in_steps() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.6]) == [1.0, 1.0]
    assert holm([]) == []
    values = [0.2, 0.001, 0.049, 0.03]
    assert all(adjusted >= p for p, adjusted in zip(values, holm(values), strict=True))


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
