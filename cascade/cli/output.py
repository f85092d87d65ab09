"""What commands print: JSON, notes for people on stderr, failures of a run."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import typer

from cascade.errors import UserError
from cascade.io.jsonl import dumps, to_json
from cascade.io.tables import Row, format_words
from cascade.io.terminal import note
from cascade.scoring.summary import unfinished

SCORES = "\nmmar: the official matcher; strict: equality with the gold choice. 95 % Wilson intervals."  # a legend
DRY_RUN = "dry run: nothing was captioned, asked or written"


def joint_install(commands: Iterable[str]) -> str:
    """Return the one command that installs all packages that these commands would, or `""`."""
    extras = sorted({extra for command in commands for extra in re.findall(r"audio-cascade\[(\w+)\]", command)})
    return f"pip install 'audio-cascade[{','.join(extras)}]'" if extras else ""


def check_explain(explain: bool, form: str) -> None:
    """Raise UserError for `--explain` with a format that has no place for it."""
    if explain and form not in ("table", "json"):
        raise UserError(f"--explain goes with --format table or json, not with {form}")


def note_unfinished(run: str, not_asked: int | None, questions: int, outcome: str = "counted as failed") -> None:
    """Print the text that `unfinished` returns for a run to stderr, unless it is empty."""
    if text := unfinished(not_asked, questions, outcome):
        note(f"{run}: {text}")


def echo_list(header: Row, rows: Sequence[Row], otherwise: str, form: str = "table") -> None:
    """Print an empty line and a table of words, or the sentence `otherwise` if the table has no rows."""
    table = format_words(header, rows, form) if rows else f"{otherwise}\n"
    typer.echo(f"\n{table}", nl=False)


def echo_json(value: Any) -> None:
    """Print a record, or plain values, on stdout as one line of JSON."""
    typer.echo(dumps(to_json(value)))
