"""`cascade leaderboard`: many runs as one table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from cascade.analysis import leaderboard as board
from cascade.analysis.leaderboard import BoardRow
from cascade.cli import options as o
from cascade.cli import output
from cascade.errors import UnknownName, UserError
from cascade.io.jsonl import to_json
from cascade.io.tables import Column, Dollars, Interval, Row, Share, format_columns
from cascade.io.terminal import note, prose

_SORTED = "|".join(board.SORTS)


def leaderboard(
    folders: Annotated[list[Path], typer.Argument(metavar="DIR…", help="Run directories, folders of runs.")],
    sort: Annotated[str, typer.Option("--sort", metavar=_SORTED, help="What stands first.")] = "mmar",
    by: Annotated[
        list[str] | None,
        typer.Option(
            "--by", metavar="TAG|kind", help="A column for each value of this tag; kind groups rows. Repeatable."
        ),
    ] = None,
    form: o.Form = "table",
) -> None:
    """Show many runs as one table.

    A folder that is damaged, or no run, is named and passed over. Runs of other items stand apart.
    """
    output.check_format(form)
    if sort not in board.SORTS:
        raise UnknownName("column to sort by", sort, board.SORTS)
    for folder in folders:
        if not folder.exists():
            raise UserError(f"{folder}: there is no such folder; give run directories, or folders of them")
    rows = board.board_rows(folders, by or (), lambda text: note(f"passed over: {text}"))
    if not rows and form == "table":
        raise UserError(f"{', '.join(map(str, folders))}: no run is there; give the folder of runs, as in runs/")
    tags = [tag for tag in by or () if tag != board.KIND or not any(row.kind for row in rows)]
    if lacking := [tag for tag in tags if rows and not any(tag in row.by for row in rows)]:
        raise UserError(f"--by {lacking[0]}: no run has items with that tag; as in --by modality")
    _show(board.ordered(rows, sort), tags, form)


def _show(groups: Sequence[Sequence[BoardRow]], by: Sequence[str], form: str) -> None:
    """Print the groups to stdout as one table, with a column that says which items, where they differ."""
    named = [(name, row) for name, group in zip(board.named(groups), groups, strict=True) for row in group]
    if form == "json":
        output.echo_json([{**to_json(row), "items": name} for name, row in named])
        return
    values = _values([row for _, row in named], by)
    read = any(row.readings for _, row in named)
    rows = [row for _, row in named]
    kinds, differ = any(row.kind for row in rows), any(row.differs for row in rows)
    served = any(row.served for row in rows)
    columns = _columns(values, apart=len(groups) > 1, kinds=kinds, read=read, differ=differ, served=served)
    typer.echo(format_columns(columns, [_row(row, name, values, form) for name, row in named], form), nl=False)
    if form == "table":
        legend = "\nmmar: the official matcher; strict: equality with the gold choice. 95 % Wilson intervals."
        if read:
            legend += "\nmmar read: by the rules' reading of a reply, or else by that of the model that is named."
        typer.echo(prose(legend))
    for _, row in named:
        output.note_unfinished(row.run, row.not_asked, row.n * row.samples)
    if len(groups) > 1:
        note(f"the runs are of {len(groups)} different sets of items: rows of one set can be compared, others not")


def _values(rows: Sequence[BoardRow], by: Sequence[str]) -> list[tuple[str, str]]:
    """Return (tag, value) of each further column, the most frequent value first."""
    most: dict[tuple[str, str], int] = {}
    for tag in by:
        for row in rows:
            for value, rate in row.by.get(tag, {}).items():
                most[tag, value] = max(rate.n, most.get((tag, value), 0))
    return sorted(most, key=lambda pair: (by.index(pair[0]), -most[pair], pair[1]))


_READ = [
    Column("mmar read", ("mmar_read",)),
    Column("95 %", ("mmar_read_low", "mmar_read_high")),
    Column("replies", ("replies",), words=True),
]


def _columns(
    values: Sequence[tuple[str, str]], *, apart: bool, kinds: bool, read: bool, differ: bool, served: bool
) -> list[Column]:
    """Return the columns; kinds, readings of a second reader, origins and differences only where there are any."""
    share, interval, replies = _READ if read else [Column(None)] * 3
    return [
        Column(None, ("run", "model")),
        Column("kind", ("kind",), words=True) if kinds else Column(None),
        Column("model", words=True),
        Column("answered by", ("answered_by",), words=True) if served else Column(None),
        Column("captions", ("captions",), words=True),
        Column("prompt", ("prompt",), words=True),
        Column("differs", ("differs",), words=True) if differ else Column(None),
        Column("items" if apart else None, ("items",), words=True),
        Column(None, ("items_digest",)),
        Column("n", ("n",)),
        Column("mmar", ("mmar",)),
        Column("95 %", ("mmar_low", "mmar_high")),
        share,
        interval,
        Column("strict", ("strict",)),
        Column("95 %", ("strict_low", "strict_high")),
        *(Column(value, (f"{tag}: {value}",)) for tag, value in values),
        Column("coverage", ("coverage",)),
        Column("failed", ("failed",)),
        Column("unread", ("unread",)),
        Column("samples", ("samples",)),
        Column("cost", ("cost",)),
        Column(None, ("captions_cost",)),
        replies,
        Column("run", words=True),
    ]


def _row(row: BoardRow, items: str, values: Sequence[tuple[str, str]], form: str) -> Row:
    rates = [row.by.get(tag, {}).get(value) for tag, value in values]
    missing = "" if form == "csv" else "-"
    return (
        (row.run, row.model),
        row.kind,
        row.model.split("@")[0],
        row.origins or None,
        row.captions,
        row.prompt,
        row.differs,
        items,
        row.items_digest,
        row.n,
        Share(row.mmar.accuracy),
        Interval(*row.mmar.ci95),
        Share(row.mmar_read.accuracy) if row.mmar_read else None,
        Interval(*row.mmar_read.ci95) if row.mmar_read else None,
        Share(row.strict.accuracy),
        Interval(*row.strict.ci95),
        *(Share(rate.accuracy) if rate else missing for rate in rates),
        Share(row.coverage),
        row.failed,
        row.unread,
        row.samples,
        Dollars(row.cost),
        Dollars(row.captions_cost),
        str(row.readings) if row.readings else None,
        Path(row.run).name,
    )
