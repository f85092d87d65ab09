"""Spans of a clip, with times: what captions carry in their `meta`, whichever engine made them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_MOST = 400  # spans of a caption; more cannot be told apart in the picture


def timeline_spans(meta: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return {start, end (seconds), text, and why it was dropped, if it was} of each span, in order of time.

    `spans` are events, `segments` a transcript's, `windows` sentences or tags; the first of them that has any is
    returned. What is no span is passed over: `meta` may come from a file that was made elsewhere.
    """
    for name in ("spans", "segments", "windows", "silences"):
        spans = [span for part in _list(meta.get(name)) if (span := _span(name, part))]
        if spans:
            return sorted(spans, key=lambda span: (span["start"], span["end"]))[:_MOST]
    return []


def _span(name: str, part: Any) -> dict[str, Any] | None:
    """Return one entry of `meta` as a span; None where it is none."""
    if name == "silences" and len(_list(part)) == 2:
        part = {"start": part[0], "end": part[1], "text": "silence"}
    if not isinstance(part, dict):
        return None
    text = part.get("label" if name == "spans" else "text")
    if name == "windows" and not text:
        # The likeliest tag of each group.
        groups = [_list(group) for group in part["tags"].values()] if isinstance(part.get("tags"), dict) else []
        text = ", ".join(str(group[0][0]) for group in groups if group and _list(group[0]))
    start, end = part.get("start"), part.get("end")
    if not _is_time(start) or not _is_time(end) or not isinstance(text, str) or not text:
        return None
    span = {"start": start, "end": end, "text": text}
    if name == "segments" and part.get("dropped"):
        span["dropped"] = str(part["dropped"])
    return span


def _is_time(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e7


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
