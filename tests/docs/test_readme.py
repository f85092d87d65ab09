"""What the README shows is what there is."""

from __future__ import annotations

import re
from pathlib import Path

from typer.testing import CliRunner

from cascade.cli.app import app
from cascade.datasets import demo

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def block(beginning: str) -> str:
    """The fenced block whose first line begins like this."""
    found = [body for body in re.findall(r"```\w*\n(.*?)```", README, re.DOTALL) if body.startswith(beginning)]
    assert len(found) == 1
    return str(found[0])


def test_the_help_is_what_the_command_prints() -> None:
    printed = CliRunner().invoke(app, ["--help"], prog_name="cascade", terminal_width=98).stdout
    assert block("Usage: cascade").rstrip() == printed.rstrip()


def test_every_command_is_shown_in_an_example() -> None:
    for command in re.findall(r"^  (\w+)  ", block("Usage: cascade").partition("Commands:")[2], re.MULTILINE):
        assert f"cascade {command}" in README.replace(block("Usage: cascade"), "")


def test_the_tree_is_the_tree() -> None:
    lines = block("cli.py ").splitlines()
    named: set[str] = set()
    for line in lines:
        names = [name for name in line[:25].split() if "/" in name or "." in name]
        named |= {("cascade/" if line.startswith("  ") else "") + name.rstrip("/") for name in names}
    assert len(named) > 30
    assert not [name for name in named if not (ROOT / name).exists()]
    rooms = {f"cascade/{path.name}" for path in (ROOT / "cascade").iterdir() if not path.name.startswith("_")}
    assert rooms - {"cascade/py.typed"} <= named


def test_the_set_has_as_many_clips_and_questions_as_it_says() -> None:
    items = demo.load().items
    assert f"hears the {len({item.audio for item in items})} clips" in README
    assert f"asks its {len(items)} questions" in README
