"""Captions that other code made, from a JSONL file: `{"id" or "sha256", "text"}`, and `"meta"` where there is more.

A row is about the item of that id, or about every item whose clip has that SHA-256. What `cascade caption --format
jsonl` prints is such a file too: a row with a `"slot"` counts for that slot only. A row without a text (a failure)
is no caption; an item without a caption is a failure, not silence.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from cascade.errors import CaptionMissing, ClipError, UserError
from cascade.io import jsonl
from cascade.io.digests import sha256_file
from cascade.types import Caption, CaptionerSpec, Host, Item

VERSION = "1"
SLOT = "any"
NEEDS: dict[str, str] = {}
FILES = {"path": None}

_Rows = Mapping[tuple[str, str], Caption]  # ("id" or "sha256", its value) → caption


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    """`path`: the JSONL file; its digest stands in the spec."""

    path: str


def lookup(spec: CaptionerSpec, host: Host) -> Callable[[Item, Path], Caption]:
    """A function from an item and its clip to the caption in the file.

    Raises UserError for a file that cannot be used; the function raises CaptionMissing for an item that is not in it.
    """
    rows = _rows(host.files[spec.params["path"]], spec.slot)
    by_sound = any(kind == "sha256" for kind, _ in rows)
    hashed = cache(_sha256)

    def look_up(item: Item, clip: Path) -> Caption:
        found = rows.get(("id", item.id))
        if found is None and by_sound:
            found = rows.get(("sha256", hashed(clip)))
        if found is None:
            raise CaptionMissing(f"the file of captions has none for {item.id!r}")
        return found

    return look_up


def _sha256(clip: Path) -> str:
    try:
        return sha256_file(clip)
    except OSError as error:
        raise ClipError(f"{clip.name}: {error.strerror}") from None


def _rows(path: Path, slot: str) -> _Rows:
    rows: dict[tuple[str, str], Caption] = {}
    for number, line in jsonl.numbered_lines(path.read_bytes()):
        try:
            row = jsonl.parse_object(line)
            if row.get("slot", slot) != slot or row.get("text") is None:
                continue
            key, caption = _key(row), _caption(row)
            if rows.setdefault(key, caption) != caption:
                raise ValueError(f"{key[0]} {key[1]!r} stands twice, with two captions")
        except (ValueError, RecursionError) as error:
            raise UserError(f'{path}:{number}: {error}; a row is {{"id" or "sha256", "text"}}') from None
    if not rows:
        raise UserError(f'{path}: holds no caption for the slot {slot!r}; a row is {{"id" or "sha256", "text"}}')
    return rows


def _key(row: Mapping[str, Any]) -> tuple[str, str]:
    for kind in ("id", "sha256"):
        if isinstance(row.get(kind), str) and row[kind]:
            return kind, row[kind].lower() if kind == "sha256" else row[kind]
    raise ValueError("neither 'id' nor 'sha256' is there as text")


def _caption(row: Mapping[str, Any]) -> Caption:
    text, meta = row["text"], row.get("meta") or {}
    if not isinstance(text, str) or not isinstance(meta, dict):
        raise ValueError("'text' must be text" if not isinstance(text, str) else "'meta' must be an object")
    try:
        json.dumps([text, meta], ensure_ascii=False, allow_nan=False).encode()
    except ValueError:
        raise ValueError("holds a NaN, or half of a surrogate pair") from None
    return Caption(text=text, meta=meta)
