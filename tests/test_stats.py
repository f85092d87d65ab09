"""Wilson's interval against scipy's."""

from __future__ import annotations

import pytest
from scipy.stats import binomtest

from cascade.stats import wilson

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
