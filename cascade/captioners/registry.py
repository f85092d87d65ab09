"""Engines that turn a clip into words, one file each: a `Params` record, a `VERSION`, `NEEDS` and `make(params, host)`.

`VERSION` counts changes of ours that change what an engine says. `NEEDS` maps each module that must be installed to
the command that installs it. `SLOT` is the slot that the engine usually fills. `FILES`, where there is one, maps each
parameter that may be a local file or folder to the shipped file that is meant where it is left empty, or to None: the
digest goes into the spec, the path into `Host.files`.
`absent(params, host)`, where there is one, says what would be fetched before the first clip, and from which address.
`lanes(params, host)`, where there is one, says how many clips are heard at once, each by a call of its own from a
thread of its own; without it, or at 0, calls come one after another, with up to `host.batch` clips.
An engine that asks a model elsewhere takes `api_base` beside its parameters: the address goes into `Host.endpoints`,
not into the spec. It has `lacks(params, host)`, which says what is missing (a key) before anything is sent. A captioner
that has `close()` is closed after its last clip. `spelled(given)`, where there is one, puts what is meant in the place
of what was typed (a preset, a prompt's name).

Two engines hear nothing: `file` and `oracle` look up what is known of an item. They have `lookup(spec, host)` in the
place of `make`, need no clip, and never enter the cache.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import MISSING, Field, asdict, fields
from importlib.util import find_spec
from math import isfinite
from pathlib import Path
from types import ModuleType
from typing import Any, get_type_hints

from cascade import plugins
from cascade.errors import MissingExtra, UnknownName, UserError
from cascade.io.digests import digest_path
from cascade.types import Captioner, CaptionerSpec, Host, Lookup

_SLOT = re.compile(r"[a-z][a-z0-9_-]*\Z")
_TRUTH = {"true": True, "false": False}


def specify(slot: str, name: str, given: Mapping[str, Any]) -> tuple[CaptionerSpec, dict[str, Path]]:
    """The spec of an engine in a slot with every parameter filled in, and where the local files it names are.

    Values may be text, as typed on a command line. Raises UnknownName for an engine or parameter that does not exist,
    UserError for a value that does not fit.
    """
    if not _SLOT.match(slot):
        raise UserError(f"the slot {slot!r} must be a lower-case word, as in --captions speech={name}")
    module = plugins.find("captioners", name)
    place = f"--caption-param {slot}."
    given = module.spelled(given) if hasattr(module, "spelled") else given
    params = {key: _typed(module, key, value, place) for key, value in given.items()}
    files: dict[str, Path] = {}
    for key, shipped in getattr(module, "FILES", {}).items():
        path = shipped if shipped and not params.get(key) else _local(key, str(params.get(key, "")), hears(name))
        if path is not None:
            params[key] = digest_path(path)
            files[params[key]] = path.resolve()
    filled = asdict(_filled(module, params, place))
    return CaptionerSpec(slot=slot, name=name, version=str(module.VERSION), params=filled), files


def hears(name: str) -> bool:
    """Whether an engine makes captions from clips; `file` and `oracle` look them up.

    One that is not installed here, whose captions come in a bundle, has heard.
    """
    return name not in plugins.names("captioners") or not hasattr(plugins.find("captioners", name), "lookup")


def check(spec: CaptionerSpec, host: Host) -> None:
    """Raise MissingExtra where an engine's packages are not installed, UserError where its key is missing."""
    for needed, command in plugins.find("captioners", spec.name).NEEDS.items():
        if find_spec(needed) is None:
            raise MissingExtra(f"the captioner {spec.name!r}", needed, command)
    if lacking := lacks(spec, host):
        raise UserError(f"{spec.slot}={spec.name}: {lacking}")


def lacks(spec: CaptionerSpec, host: Host) -> str:
    """What an engine that asks elsewhere lacks here, a key say, with what to type; `""` for nothing."""
    return str(_optional(spec, "lacks", host, ""))


def asks(name: str) -> bool:
    """Whether an engine asks a model elsewhere, which may have an address of its own."""
    return hasattr(plugins.find("captioners", name), "lacks")


def absent(spec: CaptionerSpec, host: Host) -> tuple[str, str] | None:
    """What an engine would fetch before its first clip, and from where; None where it has all it needs.

    Its packages must be installed.
    """
    found: tuple[str, str] | None = _optional(spec, "absent", host, None)
    return found


def build(spec: CaptionerSpec, host: Host) -> Captioner:
    """The engine of a spec, ready to caption. Raises as `check` does."""
    check(spec, host)
    module = plugins.find("captioners", spec.name)
    captioner: Captioner = module.make(module.Params(**spec.params), host)
    return captioner


def lanes(spec: CaptionerSpec, host: Host) -> int:
    """How many clips the engine of a spec hears at once, each by a call of its own; 0 for one call a batch."""
    return int(_optional(spec, "lanes", host, 0))


def _optional(spec: CaptionerSpec, what: str, host: Host, otherwise: Any) -> Any:
    """What one of an engine's optional functions says."""
    module = plugins.find("captioners", spec.name)
    return getattr(module, what)(module.Params(**spec.params), host) if hasattr(module, what) else otherwise


def lookup(spec: CaptionerSpec, host: Host) -> Lookup:
    """The lookup of a spec whose engine does not hear."""
    found: Lookup = plugins.find("captioners", spec.name).lookup(spec, host)
    return found


def modules(spec: CaptionerSpec) -> set[str]:
    """The modules that an engine's words depend on, by the names they are imported under."""
    if spec.name not in plugins.names("captioners"):
        return set()  # its captions come in a bundle
    needed = set(plugins.find("captioners", spec.name).NEEDS)
    return needed | ({"torch", "numpy", "ctranslate2"} if needed else set())


def missing(module: ModuleType) -> list[str]:
    """The commands that would install what an engine's module lacks here; empty where it is ready."""
    return sorted({command for needed, command in module.NEEDS.items() if find_spec(needed) is None})


def _typed(module: ModuleType, key: str, value: Any, place: str) -> Any:
    hints = get_type_hints(module.Params)
    if key not in hints:
        raise UnknownName("parameter", key, hints, f"in {place}{key}={value}")
    kind = hints[key]
    try:
        return _parsed(kind, value)
    except (ValueError, KeyError):
        raise UserError(f"{place}{key}={value}: {kind.__name__} is needed") from None


def _parsed(kind: type, value: Any) -> Any:
    if kind is bool:
        return value if isinstance(value, bool) else _TRUTH[str(value).lower()]
    if value is None or (kind is int and isinstance(value, float)):
        raise ValueError
    parsed = kind(value)
    if kind is float and not isfinite(parsed):
        raise ValueError
    return parsed


def _filled(module: ModuleType, params: Mapping[str, Any], place: str) -> Any:
    for field in fields(module.Params):
        if field.default is MISSING and field.default_factory is MISSING and field.name not in params:
            raise UserError(f"{place}{field.name} is needed: give {place}{field.name}=VALUE")
    return module.Params(**params)


def _local(key: str, value: str, optional: bool) -> Path | None:
    """The file or folder that a value names, or None where it is a name of another kind."""
    path = Path(value).expanduser()
    # A value that may be a name is a path only with a separator: a folder that happens to be called "base" changes
    # nothing.
    if value and path.exists() and ("/" in value or not optional):
        return path
    if value.startswith(("/", "./", "../", "~")) or not optional:
        raise UserError(f"{key}={value}: no such file or folder")
    return None


def defaults(module: ModuleType) -> dict[str, Any]:
    """An engine's parameters and their defaults, for listing; None is a value that must be given."""
    return {field.name: _default(field) for field in fields(module.Params)}


def _default(field: Field[Any]) -> Any:
    if field.default_factory is not MISSING:
        return field.default_factory()
    return None if field.default is MISSING else field.default


# What the command line says: slot=engine(param=value,…),…
