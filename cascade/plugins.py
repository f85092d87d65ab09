"""Names → modules: built-ins first, entry points of installed packages second; nothing is imported before it is used.

Two groups are open to other packages: `cascade.captioners` and `cascade.datasets`. An entry point names a module.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import TYPE_CHECKING

from cascade.errors import UnknownName, UserError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

CAPTIONERS: Mapping[str, str] = {
    "asr-api": "cascade.captioners.remote.asr_api",
    "audio": "cascade.captioners.sent_audio",
    "audio-llm": "cascade.captioners.remote.audio_llm",
    "clap-music": "cascade.captioners.clap.music",
    "clap-sound": "cascade.captioners.clap.sound",
    "clapcap": "cascade.captioners.clap.clapcap",
    "events": "cascade.captioners.events",
    "fake": "cascade.captioners.fake",
    "faster-whisper": "cascade.captioners.faster_whisper",
    "file": "cascade.captioners.lookup_file",
    "oracle": "cascade.captioners.lookup_oracle",
    "signal": "cascade.captioners.signal.engine",
    "whisper": "cascade.captioners.whisper.engine",
}
DATASETS: Mapping[str, str] = {
    "demo": "cascade.datasets.demo",
    "mmar": "cascade.datasets.mmar",
    "mmau": "cascade.datasets.mmau",
}
DIGEST = "digest"  # the engine of `--digest`, which is given captions and no clip; it is not listed for `--captions`
_UNLISTED = {"captioners": {DIGEST: "cascade.captioners.digest"}}
_BUILT_IN = {"captioners": CAPTIONERS, "datasets": DATASETS}
_PARTS = {"captioners": ("Params", "VERSION", "NEEDS", "SLOT"), "datasets": ("load", "where", "ABOUT")}
# What the import of a package that is broken, or unfit for this machine, is known to raise.
_UNFIT = (ImportError, SyntaxError, NameError, AttributeError, TypeError, ValueError, OSError, RuntimeError)


def names(group: str) -> list[str]:
    """Return every name of a group (`"captioners"`, `"datasets"`), built-in or installed, sorted."""
    return sorted({*_BUILT_IN[group], *_installed(group)})


def find(group: str, name: str) -> ModuleType:
    """Return the module behind a name. Raises UnknownName where there is none, UserError for an unusable plug-in."""
    built_in = {**_BUILT_IN[group], **_UNLISTED.get(group, {})}
    if name in built_in:
        return import_module(built_in[name])
    installed = _installed(group)
    if name not in installed:
        raise UnknownName(group.removesuffix("s"), name, names(group), f"list them with: cascade {group}")
    place = f"the plug-in {name!r} ({installed[name].value})"
    try:
        module = installed[name].load()
    except _UNFIT as error:
        raise UserError(f"{place} cannot be imported: {type(error).__name__}: {error}") from error
    if not isinstance(module, ModuleType):
        raise UserError(f"{place} is no module")
    if lacking := [part for part in _PARTS[group] if not hasattr(module, part)]:
        raise UserError(f"{place} lacks {', '.join(lacking)}")
    return module


def is_installed(module: str) -> bool:
    """Return whether a module can be imported here; it is not imported."""
    return find_spec(module) is not None


def _installed(group: str) -> dict[str, EntryPoint]:
    from importlib.metadata import entry_points  # The import takes 15 ms, and most commands do not need it.

    return {point.name: point for point in entry_points(group=f"cascade.{group}")}
