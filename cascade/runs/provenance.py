"""What a run was made with: the command, the commits, the platform and the versions of packages."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path

import msgspec

from cascade.types import Record
from cascade.version import __version__


class Session(Record, frozen=True, kw_only=True):
    """One invocation of cascade that made or extended a run; `command` has no secrets, `at` is UTC (ISO 8601).

    `git` has the commits of cascade's own code and of the working folder (`-dirty` where files were changed since),
    `versions` those of the packages used, by module. `accepts_silent_audio` is the user's word to go on with a
    model that seems not to hear.
    """

    at: str
    command: str
    cascade: str
    python: str
    platform: str
    git: Mapping[str, str] = msgspec.field(default_factory=dict)
    versions: Mapping[str, str] = msgspec.field(default_factory=dict)
    accepts_silent_audio: bool | msgspec.UnsetType = msgspec.UNSET


def session(command: Sequence[str] = (), modules: Iterable[str] = (), *, silent_audio: bool = False) -> Session:
    """Return the session of this process; secrets must be removed from `command` before.

    `modules` are those that results may depend on; the ones that are not installed are left out.
    """
    versions: dict[str, str] = {}
    for module in sorted(set(modules)):
        try:
            versions[module] = metadata.version(module)
        except metadata.PackageNotFoundError:
            # A search through the files of every package is slow, and most packages are named like their module.
            if packages := metadata.packages_distributions().get(module):
                versions[module] = metadata.version(packages[0])
    code, here = Path(__file__).resolve().parents[2], Path.cwd().resolve()
    commits = {}
    if (code / ".git").exists():
        commits["cascade"] = _commit(code)
    if not here.is_relative_to(code):  # A folder in the checkout has the checkout's commit.
        commits["here"] = _commit(here)
    return Session(
        at=now(),
        command=shlex.join(command),
        cascade=__version__,
        python=platform.python_version(),
        platform=platform.platform(),
        git={name: commit for name, commit in commits.items() if commit},
        versions=versions,
        accepts_silent_audio=silent_audio or msgspec.UNSET,
    )


def now() -> str:
    """Return the present time in UTC, ISO 8601, to the millisecond."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")


def _commit(folder: Path) -> str:
    """Return the commit of a folder, with `-dirty` where files were changed since, or `""` where there is none."""
    # The folder's own settings may name programs to start: the options and the environment prevent that.
    command = ["git", "-c", "core.fsmonitor=false", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40"]
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}
    try:
        process = subprocess.run(
            [*command, "--exclude=*"], capture_output=True, text=True, timeout=10, env=environment, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return process.stdout.strip()
