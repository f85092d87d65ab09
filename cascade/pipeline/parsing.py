"""Texts of the command line parsed, and flags from a file written as they would be typed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from cascade import plugins
from cascade.errors import UnknownName, UserError

_ENTRY = re.compile(r"\s*(?:([^=(),\s]+)\s*=\s*)?([^=(),\s]+)\s*(?:\(([^()]*)\))?\s*(?:,|\Z)")
_SWITCH = {"true": True, "false": False}


def parse_captions(text: str, option: str = "--captions") -> list[tuple[str, str, dict[str, str]]]:
    """Return (slot, engine, parameters) of each entry of `slot=engine(param=value,…),…`; `none` is an empty list.

    An engine without a slot fills its usual one. Raises UserError where the text cannot be read, or names a slot twice.
    """
    if text.strip() == "none":
        return []
    entries: list[tuple[str, str, dict[str, str]]] = []
    at = 0
    while at < len(text) or not entries:
        entry = _ENTRY.match(text, at)
        if not entry:
            raise UserError(f"{option} {text}: cannot be read at {text[at:]!r}; write it as speech=ENGINE,sound=ENGINE")
        slot, engine = entry[1], entry[2]
        if not slot:
            usual: str = plugins.find("captioners", engine).SLOT
            slot = engine if usual == "any" else usual
        if slot in [earlier for earlier, _, _ in entries]:
            raise UserError(f"{option} {text}: the slot {slot!r} is filled twice; give one of them another name")
        entries.append((slot, engine, parse_pairs((entry[3] or "").split(","), f"{option} {entry[0].strip()}")))
        at = entry.end()
    return entries


def parse_pairs(texts: Iterable[str], place: str) -> dict[str, str]:
    """Return `key=value` texts as a dict; blank ones are left out. Raises UserError, naming the place, for others."""
    pairs: dict[str, str] = {}
    for text in filter(str.strip, texts):
        key, equals, value = text.partition("=")
        if not (equals and key.strip()):
            raise UserError(f"{place}: {text!r} must be key=value")
        if pairs.setdefault(key.strip(), value.strip()) != value.strip():
            raise UserError(f"{place}: {key.strip()} is given twice, as {pairs[key.strip()]!r} and {value.strip()!r}")
    return pairs


def typed_flags(content: Mapping[Any, Any], kinds: Mapping[str, type], place: str) -> dict[str, Any]:
    """Return each flag of a YAML or TOML mapping as a value of its kind.

    `kinds` has the type of each flag, by its name without the leading dashes. The value of a repeatable flag (`list`)
    becomes a list of texts; a list or mapping for another flag becomes the text that a user would type. Raises
    UserError, naming the place, for an unknown flag and for an invalid value.
    """
    typed: dict[str, Any] = {}
    for key, value in content.items():
        name = str(key).replace("_", "-")
        if name not in kinds:
            raise UnknownName("flag", name, kinds, f"in {place}")
        if value is None:
            continue
        kind, where = kinds[name], f"{place}: {name}"
        if kind is list:
            typed[name] = _repeated(name, value, where)
            continue
        if isinstance(value, dict):
            value = ",".join(f"{slot}={_plain(engine, where)}" for slot, engine in value.items())
        elif isinstance(value, list):
            value = ",".join(_plain(entry, where) for entry in value)
        try:
            typed[name] = _SWITCH[str(value).lower()] if kind is bool else kind(_plain(value, where))
        except (KeyError, ValueError):
            raise UserError(f"{where}: {json.dumps(value, default=str)} is no value of that flag") from None
    return typed


def _repeated(name: str, value: Any, place: str) -> list[str]:
    """Return `{key: value}` or `[key=value, …]` as `key=value` texts."""
    if not isinstance(value, dict):
        return [_plain(entry, place) for entry in _as_list(value)]
    pairs: list[tuple[str, Any]] = []
    for key, inner in value.items():
        if name == "only":  # `{tag: [a, b]}` wants either, as the flag given twice does.
            pairs.extend((key, wanted) for wanted in _as_list(inner))
        elif name == "caption-param" and isinstance(inner, dict):  # TOML reads `speech.model = …` as nested tables.
            pairs.extend((f"{key}.{param}", setting) for param, setting in inner.items())
        else:
            pairs.append((key, inner))
    return [f"{key}={_json(setting)}" for key, setting in pairs]


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _json(value: Any) -> str:
    """Return a parameter's value as it would be typed: JSON for what is not text, `none` for null, which unsets it."""
    if value is None:
        return "none"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _plain(value: Any, place: str) -> str:
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        return str(value)
    raise UserError(f"{place}: {json.dumps(value, default=str)} is no value of that flag")
