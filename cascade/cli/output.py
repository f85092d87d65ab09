"""What commands print: JSON, notes for people on stderr, failures of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from cascade.errors import UnknownName

if TYPE_CHECKING:
    pass

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass


FORMATS = ("table", "json", "md", "csv", "latex")


def check_format(form: str, known: tuple[str, ...] = FORMATS) -> None:
    """Raise UnknownName for a `--format` that there is not."""
    if form not in known:
        raise UnknownName("format", form, known)


def check_scorer(name: str) -> None:
    """Raise UnknownName for a `--scorer` that there is not."""
    from cascade.scoring.matchers.registry import SCORERS

    if name not in SCORERS:
        raise UnknownName("scorer", name, SCORERS)


def echo_json(value: Any) -> None:
    """A record, or plain values, on stdout as one line of JSON."""
    from cascade.io.jsonl import dumps, to_json

    typer.echo(dumps(to_json(value)))
