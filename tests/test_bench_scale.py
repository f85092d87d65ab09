"""The benchmark of growth still runs, and what it measures is linear and small."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parent.parent


def figures(part: str) -> dict[str, float]:
    command = [sys.executable, str(ROOT / "benchmarks" / "scale.py"), "--quick", "--json", "--part", part]
    found: dict[str, float] = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    return found


def test_ten_times_the_items_take_no_more_than_ten_times_as_long() -> None:
    found = figures("items")
    growth = {name: value for name, value in found.items() if name.endswith("_growth")}
    assert len(growth) == 10
    assert all(value < 2 for value in growth.values()), growth
    # A tenth of the hundred thousand that must fit a gigabyte.
    assert all(found[f"{stage}_10000_mb"] < 200 for stage in ("score", "resume"))


@pytest.mark.skipif(find_spec("ray") is None, reason="ray is not installed")
def test_two_workers_hear_more_than_one() -> None:
    found = figures("cluster")
    assert found["ray_two_over_one"] > 1.4
    assert found["ray_driver_clips_per_s"] > 50
