"""`--captions` and `key=value` texts, parsed."""

from __future__ import annotations

import re
from collections.abc import Iterable

from cascade import plugins
from cascade.errors import UserError

_ENTRY = re.compile(r"\s*(?:([^=(),\s]+)\s*=\s*)?([^=(),\s]+)\s*(?:\(([^()]*)\))?\s*(?:,|\Z)")


def parse_captions(text: str) -> list[tuple[str, str, dict[str, str]]]:
    """(slot, engine, parameters) of each entry of `slot=engine(param=value,…),…`; `none` is an empty list.

    An engine without a slot fills its usual one. Raises UserError where the text cannot be read, or names a slot twice.
    """
    if text.strip() == "none":
        return []
    found: list[tuple[str, str, dict[str, str]]] = []
    at = 0
    while at < len(text) or not found:
        entry = _ENTRY.match(text, at)
        if not entry:
            raise UserError(
                f"--captions {text}: cannot be read at {text[at:]!r}; write it as speech=ENGINE,sound=ENGINE"
            )
        slot = entry[1] or _usual_slot(entry[2])
        if slot in [slot for slot, _, _ in found]:
            raise UserError(f"--captions {text}: the slot {slot!r} is filled twice; give one of them another name")
        found.append((slot, entry[2], parse_pairs((entry[3] or "").split(","), f"--captions {entry[0].strip()}")))
        at = entry.end()
    return found


def _usual_slot(name: str) -> str:
    slot: str = plugins.find("captioners", name).SLOT
    return name if slot == "any" else slot


def parse_pairs(texts: Iterable[str], place: str) -> dict[str, str]:
    """`key=value` texts as a dict; blank ones are left out. Raises UserError, naming the place, for anything else."""
    found: dict[str, str] = {}
    for text in filter(str.strip, texts):
        key, equals, value = text.partition("=")
        if not (equals and key.strip()):
            raise UserError(f"{place}: {text!r} must be key=value")
        if found.setdefault(key.strip(), value.strip()) != value.strip():
            raise UserError(f"{place}: {key.strip()} is given twice, as {found[key.strip()]!r} and {value.strip()!r}")
    return found
