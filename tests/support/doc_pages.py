"""The pages that people read, as blocks and commands."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from typer.main import get_command

from cascade.cli.app import app

ROOT = Path(__file__).parents[2]
GENERATED = "docs/command-line.md"  # its generated help may be longer than a page
PAGES = tuple(
    sorted(str(path.relative_to(ROOT)) for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]),
)
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Command:
    """A `cascade` command of a page: the path of the subcommand, and the words that follow it."""

    name: tuple[str, ...]
    words: tuple[str, ...]

    @property
    def line(self) -> str:
        """The command as it would be typed."""
        return shlex.join(["cascade", *self.name, *self.words])


def text_of(page: str) -> str:
    """Return a page's text."""
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str, language: str) -> list[str]:
    """Return the fenced blocks of a page that are in this language."""
    return [body for name, body in _FENCE.findall(text_of(page)) if name == language]


def prose(page: str) -> str:
    """Return a page's text without its fenced blocks."""
    return _FENCE.sub("", text_of(page))


def commands(page: str) -> list[Command]:
    """Return the `cascade` commands in the `bash` blocks of a page, in their order."""
    lines = "".join(blocks(page, "bash")).replace("\\\n", " ").splitlines()
    return [command for line in lines for command in _in_line(line)]


def _in_line(line: str) -> list[Command]:
    words = shlex.split(line, comments=True)
    parts: list[list[str]] = [[]]
    for word in words:
        if word in ("&&", ";", "|"):
            parts.append([])
        elif parts[-1] or "=" not in word:  # a variable that is set for one command comes before its name
            parts[-1].append(word)
    return [split_command(part[1:]) for part in parts if part[:1] == ["cascade"]]


@cache
def _root() -> Any:
    return get_command(app)


def split_command(words: list[str]) -> Command:
    """Return the words after `cascade` as a command. Raises AssertionError for a command that does not exist."""
    group, name = _root(), list[str]()
    while (inner := getattr(group, "commands", None)) and words and not words[0].startswith("-"):
        assert words[0] in inner, f"cascade {' '.join([*name, *words])}: there is no command {words[0]!r}"
        group, name, words = group.get_command(None, words[0]), [*name, words[0]], words[1:]
    return Command(tuple(name), tuple(words))


def flags(command: Command) -> set[str]:
    """Return the names of the flags that a command takes."""
    found = _root()
    for word in command.name:
        found = found.get_command(None, word)
    return {name for parameter in found.params for name in parameter.opts} | {"--help", "-h"}


def inline_commands(page: str) -> list[Command]:
    """Return the commands that a page names inside its sentences and tables, as in `cascade score RUN --explain`."""
    quoted = [" ".join(text.split()) for text in re.findall(r"`(cascade [^`]+)`", prose(page))]
    return [split_command(text.split()[1:]) for text in quoted if not text.startswith(("cascade COMMAND", "cascade/"))]
