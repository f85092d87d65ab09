"""`cascade leaderboard`: many runs as one table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from cascade.analysis import leaderboard as board
from cascade.analysis.leaderboard import BoardRow
from cascade.cli import options as o
from cascade.cli import output
from cascade.errors import UserError
from cascade.io.tables import Cell, Column, Dollars, Interval, Share, format_columns
from cascade.io.terminal import note, prose


def leaderboard(
    folders: Annotated[list[Path], typer.Argument(metavar="DIR…", help="Run directories, folders of runs.")],
    sort: Annotated[str, o.one_of("--sort", board.SORTS, "What stands first.")] = "mmar",
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
    for folder in folders:
        if not folder.exists():
            raise UserError(f"{folder}: there is no such folder; give run directories, or folders of them")
    rows = board.board_rows(folders, by or (), lambda text: note(f"passed over: {text}"))
    if not rows and form == "table":
        raise UserError(f"{', '.join(map(str, folders))}: no run is there; give the folder of runs, as in runs/")
    has_kinds = any(row.kind for row in rows)
    tags = [tag for tag in by or () if tag != board.KIND or not has_kinds]
    for tag in tags:
        if rows and not any(tag in row.by for row in rows):
            raise UserError(f"--by {tag}: no run has items with that tag; as in --by modality")
    groups = board.ordered(rows, sort)
    rows = []
    for name, group in zip(board.named(groups), groups, strict=True):
        rows += [replace(row, items=name) for row in group]
    if form == "json":
        output.echo_json(rows)
        return
    columns: list[Column] = []
    cells: list[list[Cell]] = []
    for column, cell in _fields(rows, tags, items="items" if len(groups) > 1 else None, form=form):
        values = [cell(row) for row in rows]
        if not rows or any(value is not None for value in values):
            columns.append(column)
            cells.append(values)
    typer.echo(format_columns(columns, zip(*cells, strict=True), form), nl=False)
    if form == "table":
        legend = "\nmmar: the official matcher; strict: equality with the gold choice. 95 % Wilson intervals."
        if any(row.readings for row in rows):
            legend += "\nmmar read: by the rules' reading of a reply, or else by that of the model that is named."
        typer.echo(prose(legend))
    for row in rows:
        output.note_unfinished(row.run, row.not_asked, row.n * row.samples)
    if len(groups) > 1:
        note(f"the runs are of {len(groups)} different sets of items: rows of one set can be compared, others not")


def _fields(
    rows: Sequence[BoardRow], by: Sequence[str], *, items: str | None, form: str
) -> list[tuple[Column, Callable[[BoardRow], Cell]]]:
    """Return each column with the function that returns its cell of a row; a column of None alone is not shown.

    `items` is the heading of the column with the names of the sets of items.
    """
    most: dict[tuple[str, str], int] = {}
    for tag in by:
        for row in rows:
            for value, rate in row.by.get(tag, {}).items():
                most[tag, value] = max(rate.n, most.get((tag, value), 0))
    tagged = []
    missing = "" if form == "csv" else "-"
    for tag, value in sorted(most, key=lambda pair: (by.index(pair[0]), -most[pair], pair[1])):
        tagged.append((Column(value, (f"{tag}: {value}",)), partial(_tagged, tag, value, missing)))
    read_csv = ("mmar_read_low", "mmar_read_high")
    return [
        (Column(None, ("run", "model")), lambda row: (row.run, row.model)),
        (Column("kind", ("kind",), words=True), lambda row: row.kind),
        (Column("model", words=True), lambda row: row.model.split("@")[0]),
        (Column("answered by", ("answered_by",), words=True), lambda row: row.origins or None),
        (Column("captions", ("captions",), words=True), lambda row: row.captions),
        (Column("prompt", ("prompt",), words=True), lambda row: row.prompt),
        (Column("differs", ("differs",), words=True), lambda row: row.differs),
        (Column(items, ("items",), words=True), lambda row: row.items),
        (Column(None, ("items_digest",)), lambda row: row.items_digest),
        (Column("n", ("n",)), lambda row: row.n),
        (Column("mmar", ("mmar",)), lambda row: Share(row.mmar.accuracy)),
        (Column("95 %", ("mmar_low", "mmar_high")), lambda row: Interval(*row.mmar.ci95)),
        (Column("mmar read", ("mmar_read",)), lambda row: Share(row.mmar_read.accuracy) if row.mmar_read else None),
        (Column("95 %", read_csv), lambda row: Interval(*row.mmar_read.ci95) if row.mmar_read else None),
        (Column("strict", ("strict",)), lambda row: Share(row.strict.accuracy)),
        (Column("95 %", ("strict_low", "strict_high")), lambda row: Interval(*row.strict.ci95)),
        *tagged,
        (Column("coverage", ("coverage",)), lambda row: Share(row.coverage)),
        (Column("failed", ("failed",)), lambda row: row.failed),
        (Column("unread", ("unread",)), lambda row: row.unread),
        (Column("samples", ("samples",)), lambda row: row.samples),
        (Column("cost", ("cost",)), lambda row: Dollars(row.cost)),
        (Column(None, ("captions_cost",)), lambda row: Dollars(row.captions_cost)),
        (Column("replies", ("replies",), words=True), lambda row: str(row.readings) if row.readings else None),
        (Column("run", words=True), lambda row: Path(row.run).name),
    ]


def _tagged(tag: str, value: str, missing: str, row: BoardRow) -> Cell:
    rate = row.by.get(tag, {}).get(value)
    return Share(rate.accuracy) if rate else missing
