"""A captioner from another package: built and installed as its users would, then used by name, in another process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

HERE = Path(__file__).parent
PACKAGE = HERE / "plugin"

for needed in ("soundfile", "hatchling", "pip"):
    if find_spec(needed) is None:
        pytest.skip(f"{needed} is not installed", allow_module_level=True)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the package was installed into."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*command, "--target", str(folder), str(PACKAGE)], check=True)
    return folder


def cascade(installed: Path, *words: str, code: int = 0) -> str:
    path = os.pathsep.join([str(installed), os.environ["PYTHONPATH"]])
    done = subprocess.run(
        [sys.executable, "-m", "cascade", *words],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
        check=False,
    )
    assert done.returncode == code, done.stderr
    return done.stdout if code == 0 else done.stderr


def test_it_is_an_engine_like_any_other(installed: Path) -> None:
    rows = {row["name"]: row for row in json.loads(cascade(installed, "captioners", "--format", "json"))}
    assert rows["loudness"]["ready"] and rows["loudness"]["slots"] == ["sound"]
    words = ["caption", "--dataset", "demo", "--limit", "2", "--captions", "loudness", "--format", "jsonl"]
    told = [json.loads(line) for line in cascade(installed, *words).splitlines()]
    assert [(one["slot"], one["engine"], one["text"]) for one in told] == [
        ("sound", "loudness", level) for level in ("quiet", "loud")
    ]
    again = [json.loads(line) for line in cascade(installed, *words).splitlines()]
    assert again == told
    other = cascade(installed, *words, "--caption-param", "sound.loud=0.01")
    assert [json.loads(line)["text"] for line in other.splitlines()] == ["loud"] * 2
    assert json.loads(other.splitlines()[0])["key"] != told[0]["key"]


def test_its_mistakes_are_told_like_ours(installed: Path) -> None:
    words = ["caption", "--dataset", "demo", "--limit", "1", "--captions", "loudness"]
    assert "sound.loud=much: float is needed" in cascade(
        installed, *words, "--caption-param", "sound.loud=much", code=2
    )
    assert "did you mean 'loudness'" in cascade(installed, *words[:-1], "lodness", code=2)
