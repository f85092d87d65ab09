"""Text made safe for a terminal, and fitted to its width."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
import unicodedata

_NARROWEST = 40  # no table is made narrower


def prose(text: str) -> str:
    """Sentences below a table, wrapped to the terminal; each line of the text begins anew, and no word is cut."""
    wide = min(terminal() or 120, 120)
    lines = (textwrap.wrap(line, wide, break_long_words=False, break_on_hyphens=False) for line in text.splitlines())
    return "\n".join("\n".join(line) for line in lines)


def terminal() -> int | None:
    """The columns that there are to print in; None for a file or pipe, unless COLUMNS says it."""
    if not os.environ.get("COLUMNS") and not sys.stdout.isatty():
        return None
    return max(_NARROWEST, shutil.get_terminal_size().columns)


def plain(text: str) -> str:
    """The text without control characters but newline and tab, so that hostile text cannot drive a terminal."""
    return "".join(
        char if char in "\n\t" or unicodedata.category(char) not in ("Cc", "Cf", "Cs") else "\ufffd" for char in text
    )


def width(text: str) -> int:
    """The columns that a text takes in a terminal: wide characters take two, combining ones none."""
    return sum(_columns(char) for char in text)


def _columns(char: str) -> int:
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def note(text: str) -> None:
    """Print one line for people on stderr; control characters in it cannot drive their terminal."""
    print(" ".join(plain(text).split()), file=sys.stderr, flush=True)  # noqa: T201 - notes are for people
