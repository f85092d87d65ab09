"""`--spec FILE`: a YAML or TOML file that says what flags say, under the flags' own names; a flag overrides it.

llm: gpt-4o
dataset: mmar
captions: {speech: whisper, sound: clapcap, music: clap-music}
caption-param: {speech.model: large-v3}
param: {temperature: 0}
only: {modality: [speech, music]}
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cascade.errors import UnknownName, UserError


def read_spec(path: Path, flags: Mapping[str, bool]) -> dict[str, Any]:
    """Each flag's value as it would have been typed, by the flag's name without its dashes.

    `flags` says of each flag whether it may be repeated. Raises UserError, with the file and what is wrong, where the
    file cannot be read or says what no flag says.
    """
    found = _parsed(path)
    if found is None:
        raise UserError(f"--spec {path}: is empty; `flag: value` lines are needed")
    if not isinstance(found, dict):
        raise UserError(f"--spec {path}: `flag: value` lines are needed, not {type(found).__name__}")
    return typed(found, flags, f"--spec {path}")


def typed(found: Mapping[Any, Any], flags: Mapping[str, bool], place: str) -> dict[str, Any]:
    """Flags and their values, out of a file, as they would have been typed. Raises as `read` does, naming the place."""
    said: dict[str, Any] = {}
    for key, value in found.items():
        name = str(key).replace("_", "-")
        if name not in flags:
            raise UnknownName("flag", name, flags, f"in {place}")
        if value is not None:
            # TOML reads `speech.model = …` as a table in a table.
            value = _dotted(value) if name == "caption-param" else value
            if name == "only":
                value = _each(value)
            said[name] = _typed(value, flags[name], f"{place}: {name}")
    return said


def _parsed(path: Path) -> Any:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise UserError(f"--spec {path}: cannot be read ({reason})") from None
    if path.suffix.lower() == ".toml":
        return _toml(path, text)
    if path.suffix.lower() in (".yaml", ".yml"):
        return _yaml(path, text)
    raise UserError(f"--spec {path}: its name must end in .yaml, .yml or .toml")


def _toml(path: Path, text: str) -> Any:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise UserError(f"--spec {path}: not TOML ({error})") from None


def _yaml(path: Path, text: str) -> Any:
    import yaml

    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"--spec {path}: not YAML ({' '.join(str(error).split())})") from None


def _typed(value: Any, repeated: bool, place: str) -> Any:
    """A value as the command line has it: a list of texts for a flag that may be repeated, one text for the others."""
    if repeated:
        return _pairs(value, place)
    if isinstance(value, dict | list):
        pairs = value.items() if isinstance(value, dict) else ()
        entries = [f"{slot}={_plain(engine, place)}" for slot, engine in pairs] or value
        return ",".join(_plain(entry, place) for entry in entries)
    return _plain(value, place)


def _pairs(value: Any, place: str) -> list[str]:
    """`{key: value}` or `[key=value, …]` as `key=value` texts."""
    if isinstance(value, dict):
        return [f"{key}={_json(one)}" for key, one in value.items()]
    return [_plain(one, place) for one in _several(value)]


def _each(value: Any) -> Any:
    """`{tag: [one, other]}` wants either, as the flag given twice does."""
    if not isinstance(value, dict):
        return value
    return [f"{tag}={_json(one)}" for tag, several in value.items() for one in _several(several)]


def _dotted(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    flat: dict[str, Any] = {}
    for key, inner in value.items():
        flat.update({f"{key}.{name}": one for name, one in inner.items()} if isinstance(inner, dict) else {key: inner})
    return flat


def _several(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _json(value: Any) -> str:
    """A parameter's value as it would be typed: JSON for what is not text, `none` for null, which unsets it."""
    if value is None:
        return "none"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _plain(value: Any, place: str) -> str:
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        return str(value)
    raise UserError(f"{place}: {json.dumps(value, default=str)} is no value of that flag")
