"""Engines by name. An engine is a module of this or another package that turns a clip into a caption.

Every engine's module has

* `Params`, a frozen dataclass of everything that may change a caption; each parameter has a type, most a default,
* `VERSION`, which is raised with every change of the code that changes a caption,
* `NEEDS`, which maps each module that must be installed to the command that installs it,
* `SLOT`, the slot that the engine usually fills,
* `make(params, host)`, which returns a captioner. A captioner with a method `close()` is closed after its last clip.

It may also have

* `FILES`, which maps each parameter that may be a local file or folder to its shipped file, or to None. The spec has
  the file's digest, `Host.files` its path,
* `absent(params, host)`, which returns what would be fetched before the first clip and from which address, or None,
* `lanes(params, host)`, which returns how many threads caption clips at the same time, one clip per call. Without it,
  or if it returns 0, calls follow each other, with up to `host.batch` clips per call,
* `lacks(params, host)`, which returns what is missing before a remote model can be asked (a key, for example), or "".
  Such an engine also takes the parameter `api_base`: the address goes into `Host.endpoints`, not into the spec,
* `needs_question(params)`, which returns whether a caption with this mapping of parameters depends on the question and
  the choices. Such an engine is called with `CaptionInput`s instead of paths,
* `turned(params, asks=…)`, which returns the parameters of the same engine with the question, or without it,
* `rejects(text)`, which returns whether a remote model's text is a page or of another format. Cached captions with such
  a text are made again,
* `HEADING`, the heading of its captions in a prompt, if the usual heading of the slot does not fit,
* `REMARKS`, which maps a value of the parameter `model` to a remark for the users of that model,
* `spelled(given)`, which returns the given parameters after replacing presets and names of prompts by their content,
* `lookup(spec, host)`, instead of `make`: it returns a function that looks up captions by item. Such an engine (`file`,
  `oracle`) needs no clip, and its captions never enter the cache.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, asdict, fields
from functools import cached_property
from math import isfinite
from pathlib import Path
from types import ModuleType
from typing import Any, get_type_hints

from cascade import plugins
from cascade.errors import MissingExtra, MissingKey, UnknownName, UserError
from cascade.io.digests import digest_path
from cascade.io.terminal import note
from cascade.types import Caption, Captioner, CaptionerSpec, Host, Lookup

# The metadata of a parameter that a later version added. Its default is left out of the spec: keys stay the same.
LATER = {"later": True}

_SLOT = re.compile(r"[a-z][a-z0-9_-]*\Z")
_BOOLEANS = {"true": True, "false": False}


class Engine:
    """An engine by its name. Its module is imported on first use; captions from a bundle do not need it."""

    def __init__(self, name: str) -> None:
        self.name = name

    @cached_property
    def module(self) -> ModuleType:
        """The engine's module. Raises UnknownName if it does not exist, UserError for a plug-in that is unusable."""
        return plugins.find("captioners", self.name)

    @property
    def files(self) -> Mapping[str, Path | None]:
        """The parameters that may be local files, each with the shipped file that replaces an empty value, or None."""
        return getattr(self.module, "FILES", {})

    @property
    def defaults(self) -> dict[str, Any]:
        """The default of every parameter that is always in a key; None if the user must give a value."""
        defaults: dict[str, Any] = {}
        for field in fields(self.module.Params):
            if field.metadata == LATER:
                continue
            if field.default_factory is not MISSING:
                defaults[field.name] = field.default_factory()
            else:
                defaults[field.name] = None if field.default is MISSING else field.default
        return defaults

    def _hook(self, name: str, default: Any = None) -> Any:
        """Return an optional attribute of the module; the default if it or the engine's module does not exist."""
        try:
            return getattr(self.module, name, default)
        except UnknownName:
            return default

    @property
    def makes_captions(self) -> bool:
        """Whether the engine makes captions; true for an engine that is not installed, whose captions a bundle has."""
        return self._hook("lookup") is None

    @property
    def hears(self) -> bool:
        """Whether the engine makes captions from clips, and not from the captions of the other slots."""
        return self.makes_captions and self.name != plugins.DIGEST

    @property
    def asks_remotely(self) -> bool:
        """Whether the engine asks a remote model, which may have an address; false if it is not installed."""
        return self._hook("lacks") is not None

    def needs_question(self, spec: CaptionerSpec) -> bool:
        """Return whether the captions depend on the question; false if the engine is not installed."""
        needs_question = self._hook("needs_question")
        return needs_question is not None and bool(needs_question(spec.params))

    @property
    def is_listener(self) -> bool:
        """Whether the engine asks a model that hears and can be shown the question."""
        return self.asks_remotely and hasattr(self.module, "turned")

    def with_question(self, spec: CaptionerSpec, *, asks: bool) -> CaptionerSpec:
        """Return the spec with the question shown or not; the same spec for an engine that has no such parameter."""
        if not self.makes_captions or not hasattr(self.module, "turned") or self.needs_question(spec) == asks:
            return spec
        return self.specify(spec.slot, self.module.turned(spec.params, asks=asks))[0]

    @property
    def modules(self) -> set[str]:
        """The modules whose versions may change a caption; empty if the engine is not installed."""
        needed = set(self._hook("NEEDS", ()))
        return needed | {"torch", "numpy", "ctranslate2"} if needed else set()

    @property
    def install_commands(self) -> list[str]:
        """The commands that install the missing modules, sorted."""
        needs = self.module.NEEDS.items()
        return sorted({command for module, command in needs if not plugins.is_installed(module)})

    def specify(self, slot: str, given: Mapping[str, Any]) -> tuple[CaptionerSpec, dict[str, Path]]:
        """Return the spec of the engine in a slot, with every parameter filled in, and its local files by digest.

        The values in `given` may be text, as typed on a command line. Raises UnknownName for an engine or parameter
        that does not exist, UserError for an invalid value.
        """
        if not _SLOT.match(slot):
            raise UserError(f"the slot {slot!r} must be a lower-case word, as in --captions speech={self.name}")
        record, place = self.module.Params, f"--caption-param {slot}."
        if hasattr(self.module, "spelled"):
            given = self.module.spelled(given)
        types, params = get_type_hints(record), dict[str, Any]()
        for key, value in given.items():
            if key not in types:
                raise UnknownName("parameter", key, types, f"in {place}{key}={value}")
            try:
                params[key] = _convert(types[key], value)
            except (ValueError, KeyError):
                raise UserError(f"{place}{key}={value}: {types[key].__name__} is needed") from None
        for field in fields(record):
            optional = field.default is not MISSING or field.default_factory is not MISSING
            if not optional and field.name not in params and not self.files.get(field.name):
                raise UserError(f"{place}{field.name} is needed: give {place}{field.name}=VALUE")
        files: dict[str, Path] = {}
        for key, shipped in self.files.items():
            path = shipped
            if params.get(key) or shipped is None:
                path = _local_path(f"{slot}.{key}", str(params.get(key, "")), required=not self.makes_captions)
            if path is not None:
                params[key] = digest_path(path)
                files[params[key]] = path.resolve()
        filled = asdict(record(**params))
        for field in fields(record):
            if field.metadata == LATER and filled[field.name] == field.default:
                del filled[field.name]
        return CaptionerSpec(slot=slot, name=self.name, version=str(self.module.VERSION), params=filled), files

    def check(self, spec: CaptionerSpec, host: Host) -> None:
        """Raise MissingExtra if a module is not installed, MissingKey if a key or an address is missing."""
        for module, command in self.module.NEEDS.items():
            if not plugins.is_installed(module):
                raise MissingExtra(f"the captioner {self.name!r}", module, command)
        if missing := self.missing_access(spec, host):
            raise MissingKey(f"{spec.slot}={self.name}: {missing}")

    def missing_access(self, spec: CaptionerSpec, host: Host) -> str:
        """Return what is missing before the remote model can be asked and what the user must type, or ""."""
        return str(self._call("lacks", spec, host, ""))

    @property
    def heading(self) -> str:
        """The heading of its captions in a prompt; `""` for the slot's heading, and if the engine is not installed."""
        return str(self._hook("HEADING", ""))

    def remark(self, spec: CaptionerSpec) -> str:
        """Return the remark for users of the engine with these parameters, or ""."""
        return str(getattr(self.module, "REMARKS", {}).get(spec.params.get("model"), ""))

    def rejects(self, caption: Caption) -> bool:
        """Return whether the engine would now reject a caption's text, or that of a segment or window in its `meta`.

        An engine that is not installed rejects nothing. The caption may come from anywhere: `meta` may have any shape.
        """
        rejects: Callable[[str], bool] | None = self._hook("rejects")
        if rejects is None:
            return False
        texts = [caption.text]
        for name in ("segments", "windows"):
            parts = caption.meta.get(name)
            if isinstance(parts, list | tuple):
                texts += [str(part.get("text", "")) for part in parts if isinstance(part, Mapping)]
        return any(map(rejects, texts))

    def pending_download(self, spec: CaptionerSpec, host: Host) -> tuple[str, str] | None:
        """Return what would be fetched before the first clip, and the address. The `NEEDS` must be installed."""
        pending: tuple[str, str] | None = self._call("absent", spec, host, None)
        return pending

    def workers(self, spec: CaptionerSpec, host: Host) -> int:
        """Return how many threads caption clips at the same time, one clip per call; 0 for batches in one thread."""
        return int(self._call("lanes", spec, host, 0))

    def build(self, spec: CaptionerSpec, host: Host) -> Captioner:
        """Return the captioner, with its model loaded. Raises as `check` does."""
        self.check(spec, host)
        captioner: Captioner = self._call("make", spec, host, None)
        return captioner

    def lookup(self, spec: CaptionerSpec, host: Host) -> Lookup:
        """Return the lookup function of an engine that makes no captions."""
        lookup: Lookup = self.module.lookup(spec, host)
        return lookup

    def _call(self, name: str, spec: CaptionerSpec, host: Host, default: Any) -> Any:
        """Call a function of the module with the spec's parameters; return the default if it does not exist."""
        if not hasattr(self.module, name):
            return default
        return getattr(self.module, name)(self.module.Params(**spec.params), host)


def _convert(kind: type, value: Any) -> Any:
    """Return a value, which may be text, converted to a type. Raises ValueError or KeyError."""
    if kind is bool:
        return value if isinstance(value, bool) else _BOOLEANS[str(value).lower()]
    if value is None or (kind is int and isinstance(value, float)):
        raise ValueError
    converted = kind(value)
    if kind is float and not isfinite(converted):
        raise ValueError
    return converted


def _local_path(place: str, value: str, *, required: bool) -> Path | None:
    """Return the file or folder that a value names, None for the name of a model. Raises UserError if it is missing."""
    path = Path(value).expanduser()
    # A value is a path only if it has a separator: a local folder named "base" must not hide the model "base".
    if value and path.exists() and ("/" in value or required):
        return path
    if value.startswith(("/", "./", "../", "~")) or required:
        raise UserError(f"{place}={value}: no such file or folder")
    if path.exists() and value:
        note(f"{place}={value} is taken for a name; for the file or folder here write ./{value}")
    return None
