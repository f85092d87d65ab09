"""The commands on the pages exist, with their flags, and run."""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.support import doc_pages
from tests.support.doc_pages import PAGES
from tests.support.doc_stage import prepare, run_command

for needed in ("litellm", "jinja2", "zstandard"):
    if find_spec(needed) is None:
        pytest.skip(f"{needed} is not installed", allow_module_level=True)

WITH_COMMANDS = [page for page in PAGES if doc_pages.commands(page)]


def test_most_pages_have_commands() -> None:
    assert len(WITH_COMMANDS) >= 12


@pytest.mark.parametrize("page", PAGES)
def test_the_commands_and_flags_exist(page: str) -> None:
    for command in [*doc_pages.commands(page), *doc_pages.inline_commands(page)]:
        given = {word.partition("=")[0] for word in command.words if word.startswith("--")}
        assert given <= doc_pages.flags(command), command.line


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the commands read."""
    folder = tmp_path_factory.mktemp("stage")
    prepare(folder)
    return folder


@pytest.mark.parametrize("page", WITH_COMMANDS)
def test_the_commands_run(page: str, stage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(stage, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CASCADE_DATA", str(tmp_path / "data"))
    for flags_file in doc_pages.blocks(page, "yaml"):
        name = flags_file.partition("\n")[0].removeprefix("# ")
        (tmp_path / name).write_text(flags_file)
    for command in doc_pages.commands(page):
        run_command(command)
