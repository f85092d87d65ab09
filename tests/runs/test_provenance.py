"""What a run says it was made with, and that no secret is in it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

import cascade as package
from cascade.runs import directory, provenance
from tests.support.commands import cascade, only_run

CANARY = "sk-canary-0123456789abcdef"


def git(*words: str) -> str:
    settings = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    return subprocess.run(["git", *settings, *words], capture_output=True, text=True, check=True).stdout.strip()


def test_a_session_names_code_platform_and_packages() -> None:
    session = provenance.session(["cascade", "run", "--only", "a b=c"], {"diskcache", "yaml", "no_such_module"})
    assert session.command == "cascade run --only 'a b=c'"
    assert session.cascade == package.__version__
    assert session.versions.keys() == {"diskcache", "yaml"} and session.versions["diskcache"].startswith("5.")
    assert session.at.endswith("+00:00") and session.python.startswith("3.") and session.platform


def test_the_working_folders_commit_is_noted_dirty_or_not() -> None:
    assert "here" not in provenance.session().git
    git("init", "-q")
    Path("notes").write_text("one")
    git("add", "notes")
    git("commit", "-qm", "one")
    head = git("rev-parse", "HEAD")
    assert provenance.session().git["here"] == head
    Path("notes").write_text("two")
    assert provenance.session().git["here"] == f"{head}-dirty"


def test_the_commit_of_the_code_is_noted_where_it_runs_from_a_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "__file__", str(Path("cascade/runs/provenance.py").resolve()))
    git("init", "-q")
    git("commit", "-qm", "empty", "--allow-empty")
    assert provenance.session().git == {"cascade": git("rev-parse", "HEAD")}


def test_a_folder_cannot_have_git_start_a_program() -> None:
    git("init", "-q")
    Path("evil").write_text("#!/bin/sh\ntouch started\n")
    Path("evil").chmod(0o755)
    git("config", "core.fsmonitor", str(Path("evil").resolve()))
    provenance.session()
    assert not Path("started").exists()


def test_the_command_is_kept_without_its_secrets(mini: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["run", "--dataset", str(mini), "--llm", "fake", "--captions", "none"]
    monkeypatch.setenv("SOME_API_KEY", "plain-looking-value")
    monkeypatch.setattr("sys.argv", ["cascade", *words, "http://user:hunter2hunter2@h", "plain-looking-value", CANARY])
    assert cascade(*words).exit_code == 0
    (session,) = directory.read_run(only_run()).manifest.sessions
    assert session.command.startswith("cascade run --dataset ")
    for file in only_run().iterdir():
        text = file.read_text(encoding="utf-8")
        assert not any(secret in text for secret in (CANARY, "hunter2hunter2", "plain-looking-value")), file
