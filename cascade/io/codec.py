"""Records ↔ plain JSON values, by their annotations: an unknown or missing field and a wrong type are errors.

A union of records is told apart by a `"type"` field with the record's name in lower case. A decoder is built once a
class, so that reading a thousand log lines costs milliseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

T = TypeVar("T")
_Decoder = Callable[[Any], Any]


def to_json(value: Any) -> Any:
    """A record, or a container of records, as plain JSON values."""
    if is_dataclass(value) and not isinstance(value, type):
        plain = {name: to_json(getattr(value, name)) for name in _names(type(value))}
        return {"type": type(value).__name__.lower(), **plain} if type(value).__name__ in _TAGGED else plain
    if isinstance(value, Mapping):
        return {key: to_json(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(part) for part in value]
    return str(value) if isinstance(value, Path) else value


# The members of unions: what an answer's result may be.
_TAGGED = frozenset({"Completion", "Failure"})


def from_json(kind: type[T], value: Any) -> T:
    """The record of this class that a JSON value describes. Raises ValueError, naming the field, where it does not."""
    decoded: T = _decoder(cast(Any, kind))(value)
    return decoded


@cache
def _names(kind: type) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind))


@cache
def _decoder(kind: Any) -> _Decoder:
    origin = get_origin(kind)
    if is_dataclass(kind) and isinstance(kind, type):
        return _record(kind)
    if origin in (Union, UnionType):
        return _union(get_args(kind))
    if origin is tuple:
        return _sequence(_decoder(get_args(kind)[0]))
    if origin is not None and issubclass(origin, Mapping):
        return _mapping(_decoder(get_args(kind)[1]))
    return _plain(kind)


def _record(kind: type) -> _Decoder:
    hints = get_type_hints(kind)
    decoders = {field.name: _decoder(hints[field.name]) for field in fields(kind)}
    required = {field.name for field in fields(kind) if field.default is MISSING and field.default_factory is MISSING}

    def decode(value: Any) -> Any:
        if not isinstance(value, dict):
            raise ValueError(f"{kind.__name__}: an object is needed, not {type(value).__name__}")
        given = _untagged(kind, value) if kind.__name__ in _TAGGED else value
        if given.keys() - decoders.keys() or required - given.keys():
            raise ValueError(_misfit(kind, given, decoders, required))
        return kind(**{name: _field(kind, name, decoders[name], part) for name, part in given.items()})

    return decode


def _untagged(kind: type, value: Mapping[str, Any]) -> Mapping[str, Any]:
    if (tag := value.get("type", kind.__name__.lower())) != kind.__name__.lower():
        raise ValueError(f"{kind.__name__}: the type is {tag!r}")
    return {key: part for key, part in value.items() if key != "type"}


def _field(kind: type, name: str, decode: _Decoder, part: Any) -> Any:
    try:
        return decode(part)
    except ValueError as error:
        raise ValueError(f"{kind.__name__}.{name}: {error}") from error


def _misfit(kind: type, given: Mapping[str, Any], known: Mapping[str, Any], required: set[str]) -> str:
    unknown, missing = sorted(given.keys() - known.keys()), sorted(required - given.keys())
    found = {"unknown": unknown, "missing": missing}
    return f"{kind.__name__}: " + "; ".join(f"{what} {', '.join(names)}" for what, names in found.items() if names)


def _union(kinds: tuple[Any, ...]) -> _Decoder:
    records = {kind.__name__.lower(): _decoder(kind) for kind in kinds if kind.__name__ in _TAGGED}
    if len(records) < 2:
        return _optional(_decoder(next(kind for kind in kinds if kind is not NoneType)))

    def decode(value: Any) -> Any:
        tag = value.get("type") if isinstance(value, dict) else None
        if tag not in records:
            raise ValueError(f"type {tag!r} is none of {', '.join(sorted(records))}")
        return records[tag](value)

    return decode


def _optional(decode: _Decoder) -> _Decoder:
    return lambda value: None if value is None else decode(value)


def _sequence(decode: _Decoder) -> _Decoder:
    def decode_all(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise ValueError(f"a list is needed, not {type(value).__name__}")
        return tuple(decode(part) for part in value)

    return decode_all


def _mapping(decode: _Decoder) -> _Decoder:
    def decode_all(value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise ValueError(f"an object is needed, not {type(value).__name__}")
        return {key: decode(part) for key, part in value.items()}

    return decode_all


def _plain(kind: Any) -> _Decoder:
    if kind is Any:
        return lambda value: value
    if kind is Path:
        return lambda value: Path(_plain(str)(value))
    accepted = (int, float) if kind is float else (kind,)

    def decode(value: Any) -> Any:
        if not isinstance(value, accepted) or (isinstance(value, bool) and kind is not bool):
            raise ValueError(f"{kind.__name__} is needed, not {value!r}")
        return value

    return decode
