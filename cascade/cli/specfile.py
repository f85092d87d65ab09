"""`--spec FILE`: a YAML or TOML file of flags, under the flags' own names; a flag on the command line overrides it.

llm: gpt-4o
dataset: mmar
captions: {speech: whisper, sound: clapcap, music: clap-music}
caption-param: {speech.model: large-v3}
param: {temperature: 0}
only: {modality: [speech, music]}
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from cascade.errors import UserError
from cascade.pipeline.parsing import typed_flags

_LARGEST = 1 << 20  # bytes
_DEEPEST = 50
_STARTS = ("[", "{", "<block sequence start>", "<block mapping start>")  # of YAML's tokens
_ENDS = ("]", "}", "<block end>")


def read_spec(path: Path, kinds: Mapping[str, type]) -> dict[str, Any]:
    """Return each flag's value, by the flag's name without its dashes.

    `kinds` has the type of each flag, `list` if it may be repeated. Raises UserError, with the file and the reason, if
    the file cannot be read, names an unknown flag, or has an invalid value.
    """
    place = f"--spec {path}"
    try:
        if path.stat().st_size > _LARGEST:
            raise UserError(f"{place}: is larger than {_LARGEST >> 20} MiB")
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"{place}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise UserError(f"{place}: cannot be read (it is no UTF-8 text)") from None
    suffix = path.suffix.lower()
    if suffix == ".toml":
        content = _parse_toml(text, place)
    elif suffix in (".yaml", ".yml"):
        content = _parse_yaml(text, place)
    else:
        raise UserError(f"{place}: its name must end in .yaml, .yml or .toml")
    if not isinstance(content, dict):
        kind = "an empty file" if content is None else type(content).__name__
        raise UserError(f"{place}: `flag: value` lines are needed, not {kind}")
    return typed_flags(content, kinds, place)


def _parse_toml(text: str, place: str) -> Any:
    try:
        return msgspec.toml.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise UserError(f"{place}: not TOML ({error})") from None


def _parse_yaml(text: str, place: str) -> Any:
    import yaml

    try:
        depth = 0
        for token in yaml.scan(text):
            # Some lines of aliases can stand for any number of values, or for a value within itself.
            if token.id == "<alias>":
                raise UserError(f"{place}: *{token.value} is an alias, which is not read here; write the value again")
            depth += (token.id in _STARTS) - (token.id in _ENDS)
            if depth > _DEEPEST:  # Each level would be read once more for every level within.
                raise UserError(f"{place}: is nested deeper than {_DEEPEST} levels")
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{place}: not YAML ({' '.join(str(error).split())})") from None
