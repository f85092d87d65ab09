"""Text made safe for a terminal, and fitted to its width."""

from __future__ import annotations

import os
import sys
import unicodedata
from contextlib import suppress

_NARROWEST = 40  # no table is made narrower


def heading(text: str) -> str:
    """Return the lines above a table, wrapped to the terminal like the table, without control characters."""
    return prose(plain(text), most=sys.maxsize)


def prose(text: str, most: int = 120) -> str:
    """Return sentences wrapped to the terminal, and to at most `most` columns.

    Line breaks in the text are kept, and no word is cut.
    """
    import textwrap

    wide = min(terminal() or most, most)
    lines = (textwrap.wrap(line, wide, break_long_words=False, break_on_hyphens=False) for line in text.splitlines())
    return "\n".join("\n".join(line) for line in lines)


def quantity(number: int, noun: str) -> str:
    """Return a number of things: `1 item`, `2 items`, `0 replies` for the noun `reply`."""
    if number == 1:
        return f"{number} {noun}"
    return f"{number} {noun[:-1]}ies" if noun.endswith("ly") else f"{number} {noun}s"


def terminal() -> int | None:
    """Return the columns that there are to print in; None for a file or pipe, unless COLUMNS says it."""
    if not os.environ.get("COLUMNS") and not sys.stdout.isatty():
        return None
    from shutil import get_terminal_size

    return max(_NARROWEST, get_terminal_size().columns)


def plain(text: str) -> str:
    """Return the text without control characters but newline and tab, so that hostile text cannot drive a terminal."""
    if text.isprintable():
        return text
    return "".join(
        char if char in "\n\t" or unicodedata.category(char) not in ("Cc", "Cf", "Cs") else "\ufffd" for char in text
    )


def width(text: str) -> int:
    """Return the columns that a text takes in a terminal: wide characters take two, combining ones none."""
    if text.isascii():
        return len(text)
    spacing = [char for char in text if not unicodedata.combining(char)]
    return len(spacing) + sum(unicodedata.east_asian_width(char) in "WF" for char in spacing)


def note(text: str) -> None:
    """Print one line for people on stderr; control characters in it cannot drive their terminal.

    Where stderr goes to a full disk or a reader that has left, the note is lost and nothing else.
    """
    with suppress(OSError):
        print(" ".join(plain(text).split()), file=sys.stderr, flush=True)  # noqa: T201 - notes are for people
