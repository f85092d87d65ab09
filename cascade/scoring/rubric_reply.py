"""Reading a judge's reply: the score of each criterion, and the mean of an item's five calls.

Source: MMAR-Rubrics (arXiv 2602.14224): a call's score is the sum of its scores over the most that they could be; an
item's is the mean of its calls without the lowest and the highest. Scores are matched to criteria by their place in the
reply, whatever names stand beside them, as in the benchmark's script.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from json import JSONDecoder
from math import isfinite
from typing import Any

from cascade.types import Completion

_SCORE_KEYS = ("score", "points", "value")
_START = re.compile(r"[{\[]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Criterion:
    """One criterion of an item's rubric; `choices` are the scores that it allows."""

    name: str
    scoring_point: str
    choices: tuple[float, ...]


def criteria(rubric: Any) -> tuple[Criterion, ...]:
    """Return an item's criteria from the benchmark's form. Raises ValueError with the reason where there are none."""
    if not isinstance(rubric, list) or not rubric:
        raise ValueError("the item has no rubric")
    parsed = []
    for place, entry in enumerate(rubric, 1):
        where = f"criterion {place} of the item's rubric"
        fields = entry if isinstance(entry, dict) else {}
        name, point, choices = fields.get("name"), fields.get("scoring_point"), fields.get("choices")
        if not isinstance(name, str) or not isinstance(point, str) or not isinstance(choices, list) or not choices:
            raise ValueError(f"{where} lacks a name, a scoring_point or choices")
        allowed = []
        for choice in choices:
            score = _number(choice)
            if score is None or score < 0:
                raise ValueError(f"{where} allows {choices!r}, which are no scores")
            allowed.append(score)
        parsed.append(Criterion(name=name, scoring_point=point, choices=tuple(allowed)))
    if _most(parsed) <= 0:
        raise ValueError("the item's rubric gives no points")
    return tuple(parsed)


def _most(rubric: Sequence[Criterion]) -> float:
    """Return the most points that a reply can give."""
    return sum(max(criterion.choices) for criterion in rubric)


def share(scores: Sequence[float], rubric: Sequence[Criterion]) -> float:
    """Return the scores' share, in [0, 1], of the most points that the rubric gives."""
    return sum(scores) / _most(rubric)


def trimmed(shares: Sequence[float]) -> float:
    """Return the mean without the lowest and the highest; of fewer than three, their mean."""
    kept = sorted(shares)[1:-1] if len(shares) > 2 else shares
    return sum(kept) / len(kept)


def read_scores(reply: Completion, rubric: Sequence[Criterion]) -> tuple[float, ...]:
    """Return the score that a reply gives to each criterion, from the last JSON value in its text that has scores.

    Raises ValueError with the reason where it does not give each criterion one of the scores that it allows.
    """
    if reply.is_cut:
        raise ValueError(reply.cut_where)
    values: list[Any] = []  # each outermost object or array, in order
    at, decoder = 0, JSONDecoder()
    # Where brackets are nested too deep to be read, each of thousands of them would be tried.
    with suppress(RecursionError):
        while start := _START.search(reply.text, at):
            try:
                value, at = decoder.raw_decode(reply.text, start.start())
                values.append(value)
            except json.JSONDecodeError:
                at = start.start() + 1
    problem = "no JSON in the reply"
    for value in reversed(values):
        try:
            scores = _scores(value)
            break
        except ValueError as error:
            problem = str(error)
    else:
        raise ValueError(problem)
    if len(scores) != len(rubric):
        raise ValueError(f"{len(scores)} scores for {len(rubric)} criteria")
    for criterion, score in zip(rubric, scores, strict=True):
        if score not in criterion.choices:
            raise ValueError(f"{score:g} is no score that {criterion.name!r} allows")
    return tuple(scores)


def _scores(value: Any) -> list[float]:
    """Return the scores of `[{"name", "score"}]`, `{name: score}` or `[score]`, which may be nested under one key.

    Raises ValueError where a score is no number, and for a value without any.
    """
    entries = value
    if isinstance(value, dict):
        entries = list(value.values())
        nested = [entry for entry in entries if isinstance(entry, list | dict)]
        if len(nested) == 1:
            return _scores(nested[0])
    scores = []
    for entry in entries:
        score = entry
        if isinstance(entry, dict):
            keyed = [entry[key] for key in _SCORE_KEYS if key in entry]
            if not keyed and len(entry) == 1:
                keyed = list(entry.values())
            score = keyed[0] if keyed else None
        number = _number(score)
        if number is None:
            raise ValueError(f"{json.dumps(score, ensure_ascii=False)[:60]} is no score")
        scores.append(number)
    if not scores:
        raise ValueError("no scores in the reply")
    return scores


def _number(value: Any) -> float | None:
    """Return a finite number, which may be written as text, or None; a truth value is none."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if isfinite(number) else None
