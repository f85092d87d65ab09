"""The command line before any command: what it lists, and what it loads."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from cascade.cli import app
from tests.support.commands import cascade

# What `cascade --help` loads of the package.
LIGHT = {
    "cascade",
    "cascade.cli",
    "cascade.cli.app",
    "cascade.errors",
    "cascade.io",
    "cascade.io.terminal",
    "cascade.version",
}


@pytest.mark.parametrize("name", app.HELP)
def test_the_list_has_the_first_line_of_each_commands_help(name: str) -> None:
    command = typer.main.get_command(app.app).get_command(None, name)  # type: ignore[attr-defined]
    assert command.name == name and command.get_short_help_str(200) == app.HELP[name]
    assert f" {name} " in cascade(name, "--help").stdout.splitlines()[0]


def test_help_imports_no_command() -> None:
    script = "from cascade.cli.app import app; import sys; app(['--help'], standalone_mode=False)"
    script += "; print(*[name for name in sys.modules if name.startswith('cascade')])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.splitlines()[-1].split())
    assert loaded == LIGHT


def test_a_name_that_is_no_command_is_no_command() -> None:
    assert "Did you mean 'score'" in cascade("scor").stderr
    assert cascade("list").exit_code == 2 and "No such command 'list'" in cascade("list").stderr


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-", "2>/dev/full"])
@pytest.mark.parametrize(
    "command", ["run --dataset demo --llm fake --captions none --limit 2 --out {run}", "score {run}"]
)
def test_a_closed_stream_changes_only_what_is_seen(command: str, closed: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    cascade("run", "--dataset", "demo", "--llm", "fake", "--captions", "none", "--limit", "1", "--out", run)
    line = f"{shlex.quote(sys.executable)} -m cascade {command.format(run=shlex.quote(str(run)))} {closed}"
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    assert sorted(path.name for path in run.iterdir()) == ["captions.jsonl", "items.jsonl", "log.jsonl", "run.json"]
    assert cascade("verify", run).exit_code == 0
