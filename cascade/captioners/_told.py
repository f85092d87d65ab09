"""A clip's line, told from its windows."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby


def worded(parts: Sequence[tuple[float, float, str]]) -> str:
    """The clip's line from (start, end, text) of its windows: text alone where there is one, else with times."""
    runs = [list(run) for _, run in groupby(parts, key=lambda part: part[2])]
    if len(runs) == 1:
        return runs[0][0][2]
    return " ".join(f"{run[0][0]:.0f}-{run[-1][1]:.0f} s: {run[0][2]}" for run in runs)
