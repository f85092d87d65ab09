"""When something was heard in a clip: the stretches that captions carry in their `meta`, whichever engine made them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_LONGEST = 400  # stretches of a caption; more would be a smear in the picture


def timeline_spans(meta: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Each stretch as {start, end (seconds), text, and why it was dropped, if it was}, in order of time.

    `spans` are events, `segments` a transcript's, `windows` sentences or tags; the first that says something is told.
    """
    for name, told in (("spans", _event), ("segments", _segment), ("windows", _window), ("silences", _silence)):
        found = [one for part in _list(meta.get(name)) if (one := told(part)) is not None]
        if found:
            return sorted(found, key=lambda one: (one["start"], one["end"]))[:_LONGEST]
    return []


def _event(part: Any) -> dict[str, Any] | None:
    return _stretch(part, part.get("label")) if isinstance(part, dict) else None


def _segment(part: Any) -> dict[str, Any] | None:
    if not isinstance(part, dict) or not (found := _stretch(part, part.get("text"))):
        return None
    return {**found, "dropped": str(part["dropped"])} if part.get("dropped") else found


def _window(part: Any) -> dict[str, Any] | None:
    if not isinstance(part, dict):
        return None
    return _stretch(part, part.get("text") or ", ".join(_leading(part.get("tags"))))


def _silence(part: Any) -> dict[str, Any] | None:
    ends = _list(part)
    return _stretch({"start": ends[0], "end": ends[1]}, "silence") if len(ends) == 2 else None


def _leading(tags: Any) -> Iterator[str]:
    """The likeliest tag of each group."""
    for found in tags.values() if isinstance(tags, dict) else ():
        if _list(found) and _list(found[0]):
            yield str(found[0][0])


def _stretch(part: Mapping[str, Any], text: Any) -> dict[str, Any] | None:
    start, end = part.get("start"), part.get("end")
    if not _number(start) or not _number(end) or not isinstance(text, str) or not text:
        return None
    return {"start": start, "end": end, "text": text}


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e7


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
