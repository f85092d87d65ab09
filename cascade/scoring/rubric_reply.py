"""A judge's reply read: which score it gives to which criterion, and what an item's five replies come to.

Source: MMAR-Rubrics (arXiv 2602.14224): a call's score is the sum of its scores over the most that they could be; an
item's is the mean of what is left of its calls without the lowest and the highest. Its script gives a reply's scores to
the criteria by their place; here they go by name, and by place where names say nothing. A sum does not change when its
parts change places, so the two differ only where criteria allow different scores, and where a reply cannot be read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from json import JSONDecoder
from math import isfinite
from typing import Any

from cascade.runs.judge_log import Criterion
from cascade.types import Completion

LONGEST = 9_999  # characters of reasoning; the official script refuses 10 000
_NAMES, _SCORES = ("name", "criterion", "criteria", "title"), ("score", "points", "value")
_NUMBER = re.compile(r"^\s*\d+\s*[.):]\s+")
_START = re.compile(r"[{\[]")

Entry = tuple[str, float]  # a name, "" where there is none, and a score


@dataclass(frozen=True, slots=True, kw_only=True)
class Marks:
    """A reply as it was read: `scores` in the order of the criteria, and how they were matched.

    `share` is their sum over the most that it could be, in [0, 1]. `by_place` is the same with the reply's scores given
    to the criteria by their place, as the official script does; None where one of them is not allowed there.
    """

    scores: tuple[float, ...]
    how: str
    share: float
    by_place: float | None


def criteria(rubric: Any) -> tuple[Criterion, ...]:
    """An item's criteria, as the benchmark writes them. Raises ValueError with the reason where they are none."""
    if not isinstance(rubric, list) or not rubric:
        raise ValueError("the item has no rubric")
    found = tuple(_criterion(one, place) for place, one in enumerate(rubric, 1))
    if sum(max(one.choices) for one in found) <= 0:
        raise ValueError("the item's rubric gives no points")
    return found


def _criterion(one: Any, place: int) -> Criterion:
    said = one if isinstance(one, dict) else {}
    name, point, choices = said.get("name"), said.get("scoring_point"), said.get("choices")
    if not isinstance(name, str) or not isinstance(point, str) or not isinstance(choices, list) or not choices:
        raise ValueError(f"criterion {place} of the item's rubric lacks a name, a scoring_point or choices")
    scores = [_number(choice) for choice in choices]
    if any(score is None or score < 0 for score in scores):
        raise ValueError(f"criterion {place} of the item's rubric allows {choices!r}, which are no scores")
    return Criterion(name=name, scoring_point=point, choices=tuple(score for score in scores if score is not None))


def marks(reply: Completion, wanted: Sequence[Criterion]) -> Marks:
    """The scores that a reply gives. Raises ValueError with the reason where it does not settle on one for each."""
    if reply.finish == "length":
        raise ValueError("cut at the token limit")
    given = _entries(reply.text)
    if len(given) != len(wanted):
        raise ValueError(f"{len(given)} scores for {len(wanted)} criteria")
    scores, how = _matched(given, wanted)
    for one, score in zip(wanted, scores, strict=True):
        if score not in one.choices:
            raise ValueError(f"{score:g} is no score that {one.name!r} allows")
    most = sum(max(one.choices) for one in wanted)
    placed = [score for _, score in given]
    allowed = all(score in one.choices for one, score in zip(wanted, placed, strict=True))
    share = sum(scores) / most
    return Marks(scores=tuple(scores), how=how, share=share, by_place=share if allowed else None)


def _matched(given: Sequence[Entry], wanted: Sequence[Criterion]) -> tuple[list[float], str]:
    """Each criterion's score: by its name; those whose names say nothing go to what is left, in order."""
    open_places = list(range(len(wanted)))
    found: dict[int, float] = {}
    rest: list[float] = []
    known = {_key(one.name) for one in wanted}
    for name, score in given:
        place = next((place for place in open_places if name and _key(wanted[place].name) == _key(name)), None)
        if place is not None:
            open_places.remove(place)
            found[place] = score
        elif _key(name) in known:
            raise ValueError(f"{name!r} is scored twice")
        else:
            rest.append(score)
    how = "name" if not rest else "name and place" if found else "place"
    found.update(zip(open_places, rest, strict=True))
    return [found[place] for place in range(len(wanted))], how


def _key(name: str) -> str:
    return " ".join(re.sub(r"[*_`\"]", " ", _NUMBER.sub("", name)).casefold().split())


# JSON, wherever it stands in a reply and however it is wrapped


def _entries(text: str) -> list[Entry]:
    """The (name, score) pairs of the last JSON value in the text that has any. Raises ValueError where none has."""
    problem = "no JSON in the reply"
    for value in reversed(list(_values(text))):
        try:
            return _of(value)
        except ValueError as error:
            problem = str(error)
    raise ValueError(problem)


def _values(text: str) -> Iterator[Any]:
    """Each JSON object or array that stands in the text, in order; those inside others are parts of them."""
    at, decoder = 0, JSONDecoder()
    while start := _START.search(text, at):
        try:
            value, at = decoder.raw_decode(text, start.start())
            yield value
        except (json.JSONDecodeError, RecursionError):
            at = start.start() + 1


def _of(value: Any) -> list[Entry]:
    """`[{"name", "score"}]`, `{name: score}` or `[score]`, under another key (`scores`) or not."""
    inner = [part for part in value.values() if isinstance(part, list | dict)] if isinstance(value, dict) else []
    if len(inner) == 1:
        return _of(inner[0])
    pairs = value.items() if isinstance(value, dict) else (_pair(part) for part in value)
    found = [(name, _score(part)) for name, part in pairs]
    if not found:
        raise ValueError("no scores in the reply")
    return found


def _pair(part: Any) -> tuple[str, Any]:
    if not isinstance(part, dict):
        return "", part
    name = next((part[key] for key in _NAMES if isinstance(part.get(key), str)), None)
    if name is None and len(part) == 1:
        return next(iter(part.items()))
    return name or "", part


def _score(part: Any) -> float:
    said = next((part[key] for key in _SCORES if key in part), None) if isinstance(part, Mapping) else part
    score = _number(said)
    if score is None:
        raise ValueError(f"{json.dumps(said, ensure_ascii=False)[:60]} is no score")
    return score


def _number(value: Any) -> float | None:
    """A finite number, which may be written as text; a truth value is none."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if isfinite(number) else None


def trimmed(shares: Sequence[float]) -> float:
    """The mean without the lowest and the highest; of fewer than three, their mean."""
    left = sorted(shares)[1:-1] if len(shares) > 2 else shares
    return sum(left) / len(left)
