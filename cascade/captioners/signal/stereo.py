"""The side of a stereo clip that its sound is on, and how it moves, in words, from the levels of its channels."""

from __future__ import annotations

from itertools import groupby
from operator import itemgetter
from typing import Any

from cascade.captioners.signal.measures import STEP, Floats, Levels, decibels

SIDE = 3.0  # dB between the channels from which on a sound is on one side


def describe_sides(levels: Levels, curve: Floats) -> tuple[str, dict[str, Any]]:
    """Return where the sound of a stereo clip is and when it moves, and the facts for `meta`."""
    if levels.channels != 2:
        return "", {}
    left, right = (float(value) for value in decibels(levels.curve.mean(axis=0)))
    facts = {"left_minus_right_db": round(left - right, 2), "channels_alike": levels.alike}
    if levels.alike:
        return "Both channels are the same.", facts
    spans = _spans(levels, curve)
    if len({place for _, _, place in spans}) > 1:
        if len(spans) > 6:
            return f"The sound changes sides {len(spans) - 1} times.", facts
        moves = ", ".join(f"{place} {start:.1f}-{end:.1f} s" for start, end, place in spans)
        return f"The sound moves: {moves}.", facts
    place = _place(left, right)
    if place == "centre":
        return "Left and right are equally loud throughout.", facts
    if abs(left - right) > 30:
        return f"The sound is only on the {place}.", facts
    return f"It is {abs(left - right):.0f} dB louder on the {place}.", facts


def _spans(levels: Levels, curve: Floats) -> list[tuple[float, float, str]]:
    """Return (start, end, place) of each span on one side, in seconds, judged every half second that is audible."""
    places = []
    for start in range(0, len(curve), 10):
        power = levels.curve[start : start + 10].mean(axis=0)
        if decibels(power.mean()) > curve.max() - 40:
            places.append((start, _place(*decibels(power))))
    spans = []
    for place, run in groupby(places, key=itemgetter(1)):
        starts = [start for start, _ in run]
        spans.append((starts[0] * STEP, min((starts[-1] + 10) * STEP, levels.duration), place))
    return spans


def _place(left: float, right: float) -> str:
    if abs(left - right) < SIDE:
        return "centre"
    return "left" if left > right else "right"
