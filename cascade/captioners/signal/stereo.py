"""On which side of a stereo clip the sound is and how it moves, in words, from the levels that `_measures` makes."""

from __future__ import annotations

from itertools import groupby
from operator import itemgetter
from typing import Any

from cascade.captioners.signal.measures import STEP, Floats, Levels, decibels

SIDE = 3.0  # dB between the channels from which on a sound is on one side


def sides(levels: Levels, curve: Floats) -> tuple[str, dict[str, Any]]:
    """Where the sound of a stereo clip is, and when it moves."""
    if levels.channels != 2:
        return "", {}
    left, right = (float(value) for value in decibels(levels.curve.mean(axis=0)))
    facts = {"left_minus_right_db": round(left - right, 2), "channels_alike": levels.alike}
    if levels.alike:
        return "Both channels are the same.", facts
    stays = _stays(levels, curve)
    if len({place for *_, place in stays}) == 1:
        return _still(left, right), facts
    if len(stays) > 6:
        return f"The sound changes sides {len(stays) - 1} times.", facts
    return f"The sound moves: {', '.join(f'{place} {start:.1f}-{end:.1f} s' for start, end, place in stays)}.", facts


def _stays(levels: Levels, curve: Floats) -> list[tuple[float, float, str]]:
    """(start, end, place) of each stretch on one side, in seconds, judged every half second where it is audible."""
    places = []
    for start in range(0, len(curve), 10):
        power = levels.curve[start : start + 10].mean(axis=0)
        if decibels(power.mean()) > curve.max() - 40:
            places.append((start, _place(*decibels(power))))
    stays = []
    for place, run in groupby(places, key=itemgetter(1)):
        starts = [start for start, _ in run]
        stays.append((starts[0] * STEP, min((starts[-1] + 10) * STEP, levels.duration), place))
    return stays


def _place(left: float, right: float) -> str:
    return "centre" if abs(left - right) < SIDE else "left" if left > right else "right"


def _still(left: float, right: float) -> str:
    place = _place(left, right)
    if place == "centre":
        return "Left and right are equally loud throughout."
    only = abs(left - right) > 30
    return f"The sound is only on the {place}." if only else f"It is {abs(left - right):.0f} dB louder on the {place}."
