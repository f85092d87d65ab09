"""Figures as text: shares, intervals, differences, p values."""

from __future__ import annotations

from typing import Protocol


class HasInterval(Protocol):
    """A record with a 95 % interval: its low and high end, as shares in [0, 1]."""

    @property
    def ci95(self) -> tuple[float, float]:
        """The low and the high end."""


def percent(share: float) -> str:
    """A share in per cent, two decimals."""
    return f"{100 * share:.2f}"


def interval(rate: HasInterval) -> str:
    """Its 95 % interval in per cent."""
    return f"{100 * rate.ci95[0]:.1f}-{100 * rate.ci95[1]:.1f}"


def signed(share: float, digits: int = 2) -> str:
    """A difference of shares in points, with its sign; a zero has none."""
    text = f"{100 * share:+.{digits}f}"
    return text.lstrip("+-") if float(text) == 0 else text


def p_value(p: float) -> str:
    """A p value, as papers print it."""
    return "<0.0001" if p < 0.0001 else f"{p:.4f}"
