"""The generated parts of the pages are current."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.doc_pages import ROOT


def make_docs(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(root / "scripts" / "make_docs.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_generated_parts_are_current() -> None:
    result = make_docs(ROOT, "--check")
    assert (result.returncode, result.stderr) == (0, "")


@pytest.fixture
def changed(tmp_path: Path) -> Path:
    """A copy of the pages in which a help text was changed by hand."""
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / "scripts" / "make_docs.py", tmp_path / "scripts")
    page = tmp_path / "docs" / "command-line.md"
    text = page.read_text(encoding="utf-8")
    assert text.count("Usage: cascade run") == 1
    page.write_text(text.replace("Usage: cascade run", "Usage: cascade runs"), encoding="utf-8")
    return tmp_path


def test_a_page_that_is_not_current_is_named(changed: Path) -> None:
    result = make_docs(changed, "--check")
    assert (result.returncode, result.stderr.split(";")[0]) == (1, "not current: command-line.md")


def test_the_script_makes_a_page_current(changed: Path) -> None:
    assert make_docs(changed).returncode == 0
    page = changed / "docs" / "command-line.md"
    assert page.read_bytes() == (ROOT / "docs" / "command-line.md").read_bytes()
