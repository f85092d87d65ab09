"""Captions that other code made, from a JSONL file of `{"id" or "sha256", "text"}`, with `"meta"` where there is more.

A row is about the item of that id, or about every item whose clip has that SHA-256. The output of `cascade caption
--format jsonl` is such a file: a row with a `"slot"` counts for that slot only. A row without a text (a failure) is no
caption, and an item without a caption is a failure, not silence.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from cascade.errors import ClipError, ItemError, UserError
from cascade.io import jsonl
from cascade.io.digests import sha256_file
from cascade.types import Caption, CaptionerSpec, Host, Item, Lookup

VERSION = "1"
SLOT = "any"
NEEDS: dict[str, str] = {}
FILES = {"path": None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    """`path`: the JSONL file; its digest stands in the spec."""

    path: str


def lookup(spec: CaptionerSpec, host: Host) -> Lookup:
    """Return a function from an item and its clip to the caption in the file.

    Raises UserError for a file that cannot be used; the function raises ItemError for an item that is not in it.
    """
    path, slot = host.files[spec.params["path"]], spec.slot
    captions: dict[tuple[str, str], Caption] = {}  # by "id" or "sha256", and its value
    form = 'a row is {"id" or "sha256", "text"}'
    for number, line in jsonl.numbered_lines(path.read_bytes()):
        try:
            row = jsonl.parse_object(line)
            if row.get("slot", slot) == slot and row.get("text") is not None:
                key, caption = _parse_row(row)
                if captions.setdefault(key, caption) != caption:
                    raise ValueError(f"{key[0]} {key[1]!r} stands twice, with two captions")
        except (ValueError, RecursionError) as error:
            raise UserError(f"{path}:{number}: {error}; {form}") from None
    if not captions:
        raise UserError(f"{path}: holds no caption for the slot {slot!r}; {form}")
    has_digests = any(kind == "sha256" for kind, _ in captions)

    @cache
    def sha256(clip: Path) -> str:
        try:
            return sha256_file(clip)
        except OSError as error:
            raise ClipError(f"{clip.name}: {error.strerror}") from None

    def look_up(item: Item, clip: Path) -> Caption:
        caption = captions.get(("id", item.id))
        if caption is None and has_digests:
            caption = captions.get(("sha256", sha256(clip)))
        if caption is None:
            raise ItemError("missing", f"the file of captions has none for {item.id!r}")
        return caption

    return look_up


def _parse_row(row: Mapping[str, Any]) -> tuple[tuple[str, str], Caption]:
    if isinstance(row.get("id"), str) and row["id"]:
        key = "id", row["id"]
    elif isinstance(row.get("sha256"), str) and row["sha256"]:
        key = "sha256", row["sha256"].lower()
    else:
        raise ValueError("neither 'id' nor 'sha256' is there as text")
    text, meta = row["text"], row.get("meta") or {}
    if not isinstance(text, str):
        raise ValueError("'text' must be text")
    if not isinstance(meta, dict):
        raise ValueError("'meta' must be an object")
    try:
        json.dumps([text, meta], ensure_ascii=False, allow_nan=False).encode()
    except ValueError:
        raise ValueError("holds a NaN, or half of a surrogate pair") from None
    return key, Caption(text=text, meta=meta)
