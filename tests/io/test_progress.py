"""The progress of a stage says what was done, on a terminal and in a file."""

from __future__ import annotations

import time

import pytest

from cascade.io import progress
from cascade.io.progress import Pace, bars


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_replies_that_arrive_together_are_no_high_rate() -> None:
    clock = Clock()
    pace = Pace(1000, clock)
    assert str(pace) == "0/1000, 0:00 so far"
    clock.now = 12.0
    for _ in range(16):  # of calls that took 12 seconds each, at once
        pace.count(True)
    assert str(pace) == "16/1000, 1.3/s, 12:18 left"
    clock.now = 23.9  # The rate stays, and the time that is left falls, until the next reply.
    assert str(pace) == "16/1000, 1.3/s, 12:06 left"


def test_a_slow_stage_has_its_rate_by_the_minute_and_a_done_one_its_time() -> None:
    clock = Clock()
    pace = Pace(2, clock)
    clock.now = 3000.0
    pace.count(True)
    assert str(pace) == "1/2, 0.0/min, 50:00 left"
    clock.now = 4000.0
    pace.count(True)
    assert str(pace) == "2/2, 0.0/min, in 1:06:40"


def test_in_a_file_there_are_lines_for_parts_and_for_times(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "_SHORTEST", 0.02)
    with bars("speech by fake", 4) as tick:
        for _ in range(4):
            time.sleep(0.1)
            tick(True)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("speech by fake: 1/4, ")
    assert lines[-1].startswith("speech by fake: 4/4, ")
    monkeypatch.setattr(progress, "_LONGEST", 0.1)
    with bars("asking", 4):
        time.sleep(0.25)  # Nothing is done, and a line says so.
    assert capsys.readouterr().err.startswith("asking: 0/4, 0:00 so far\n")


def test_a_short_stage_leaves_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    with bars("asking", 2) as tick:
        tick(True)
        tick(True)
    assert capsys.readouterr().err == ""
