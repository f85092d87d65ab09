"""What a run was made with: the command, the code's state, the platform and the versions of the engines."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path

import msgspec

import cascade
from cascade.types import Record


class Session(Record, frozen=True, kw_only=True):
    """One sitting at a run: `at` is UTC (ISO 8601), `command` has no secrets.

    `git` has the commits of cascade's own code and of the working folder (`-dirty` where something was changed since),
    `versions` those of the packages used, by module.
    """

    at: str
    command: str
    cascade: str
    python: str
    platform: str
    git: Mapping[str, str] = msgspec.field(default_factory=dict)
    versions: Mapping[str, str] = msgspec.field(default_factory=dict)


def session(command: Sequence[str] = (), modules: Iterable[str] = ()) -> Session:
    """This sitting. `command` must have no secrets in it any more; of `modules` those that are installed are named."""
    return Session(
        at=now(),
        command=shlex.join(command),
        cascade=cascade.__version__,
        python=platform.python_version(),
        platform=platform.platform(),
        git=_commits(),
        versions=_versions(modules),
    )


def now() -> str:
    """This moment in UTC, ISO 8601, to the millisecond."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")


def _versions(modules: Iterable[str]) -> dict[str, str]:
    found = {module: _version(module) or _version(_package(module)) for module in sorted(set(modules))}
    return {module: said for module, said in found.items() if said}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _package(module: str) -> str:
    # Every file of every installed package is looked at: slow, and most packages are called as their module is.
    return packages_distributions().get(module, [module])[0]


def _commits() -> dict[str, str]:
    """The commit of cascade's code, where it runs from a checkout, and of the folder that this is called in."""
    code, here = Path(__file__).resolve().parents[1], Path.cwd().resolve()
    found = {"cascade": _commit(code) if (code / ".git").exists() else "", "here": _commit(here)}
    if here.is_relative_to(code):
        del found["here"]
    return {name: commit for name, commit in found.items() if commit}


def _commit(folder: Path) -> str:
    # A folder's own settings may name programs to start: none is started for the sake of a note.
    command = ["git", "-c", "core.fsmonitor=false", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40"]
    quiet = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}
    try:
        done = subprocess.run([*command, "--exclude=*"], capture_output=True, text=True, timeout=10, env=quiet)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
