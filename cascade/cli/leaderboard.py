"""`cascade leaderboard`: many runs as one table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cascade.cli import options as o
from cascade.cli import output
from cascade.errors import UnknownName, UserError
from cascade.io.figures import interval, percent
from cascade.io.tables import format_table
from cascade.io.terminal import note, prose

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cascade.analysis.leaderboard import BoardRow
    from cascade.scoring.statistics import Rate

_SORTED = "mmar|strict|cost|coverage|failed|unread|n|samples|model|captions|prompt|run"


def leaderboard(
    folders: Annotated[list[Path], typer.Argument(metavar="DIR…", help="Run directories, folders of runs.")],
    sort: Annotated[str, typer.Option("--sort", metavar=_SORTED, help="What stands first.")] = "mmar",
    by: Annotated[
        list[str] | None, typer.Option("--by", metavar="TAG", help="A column for each value of this tag. Repeatable.")
    ] = None,
    form: o.Form = "table",
) -> None:
    """Show many runs as one table.

    A folder that is damaged, or no run, is named and passed over. Runs of other items stand apart.
    """
    from cascade.analysis import leaderboard as board

    output.check_format(form)
    if sort not in board.SORTS:
        raise UnknownName("column to sort by", sort, board.SORTS)
    for folder in folders:
        if not folder.exists():
            raise UserError(f"{folder}: there is no such folder; give run directories, or folders of them")
    rows = board.board_rows(folders, by or (), lambda text: note(f"passed over: {text}"))
    if not rows and form == "table":
        raise UserError(f"{', '.join(map(str, folders))}: no run is there; give the folder of runs, as in runs/")
    if lacking := [tag for tag in by or () if rows and not any(tag in row.by for row in rows)]:
        raise UserError(f"--by {lacking[0]}: no run has items with that tag; as in --by modality")
    _show(board.ordered(rows, sort), tuple(by or ()), form)


def _show(groups: Sequence[Sequence[BoardRow]], by: Sequence[str], form: str) -> None:
    """Print the groups to stdout as one table, with a column that says which items, where they differ."""
    from cascade.analysis import leaderboard as board

    names = board.named(groups)
    if form == "json":
        from cascade.io.jsonl import to_json

        output.echo_json(
            [{**to_json(row), "items": name} for name, group in zip(names, groups, strict=True) for row in group]
        )
        return
    values = _values(groups, by)
    table = (_machines if form == "csv" else _people)(groups, names, values)
    words = [at for at, name in enumerate(table[0]) if name in ("model", "captions", "prompt", "items", "run")]
    typer.echo(format_table(table[0], table[1:], form, words), nl=False)
    if form == "table":
        typer.echo(prose("\nmmar: the official matcher; strict: equality with the gold choice. 95 % Wilson intervals."))
    if len(groups) > 1:
        note(f"the runs are of {len(groups)} different sets of items: rows of one set can be compared, others not")


def _values(groups: Sequence[Sequence[BoardRow]], by: Sequence[str]) -> list[tuple[str, str]]:
    """(tag, value) of each further column, the most frequent value first."""
    found = [
        (tag, value, rate.n)
        for tag in by
        for group in groups
        for row in group
        for value, rate in row.by.get(tag, {}).items()
    ]
    most: dict[tuple[str, str], int] = {}
    for tag, value, n in found:
        most[tag, value] = max(n, most.get((tag, value), 0))
    return sorted(most, key=lambda one: (by.index(one[0]), -most[one], one[1]))


def _people(
    groups: Sequence[Sequence[BoardRow]], names: Sequence[str], values: Sequence[tuple[str, str]]
) -> list[list[str]]:
    apart = len(groups) > 1
    head = ["model", "captions", "prompt", *(["items"] if apart else []), "n", "mmar", "95 %", "strict", "95 %"]
    rows = [[*head, *(value for _, value in values), "coverage", "failed", "unread", "samples", "cost", "run"]]
    for name, group in zip(names, groups, strict=True):
        rows += [_person(row, [name] if apart else [], values) for row in group]
    return rows


def _person(row: BoardRow, items: list[str], values: Sequence[tuple[str, str]]) -> list[str]:
    rates = [cell for rate in (row.mmar, row.strict) for cell in (percent(rate.accuracy), interval(rate))]
    parts = [percent(rate.accuracy) if rate else "-" for rate in _rates(row, values)]
    counts = [percent(row.coverage), str(row.failed), str(row.unread), str(row.samples)]
    what = [row.model.split("@")[0], row.captions, row.prompt, *items, str(row.n)]
    return [*what, *rates, *parts, *counts, "unknown" if row.cost is None else f"${row.cost:.4f}", Path(row.run).name]


def _rates(row: BoardRow, values: Sequence[tuple[str, str]]) -> list[Rate | None]:
    return [row.by.get(tag, {}).get(value) for tag, value in values]


def _machines(
    groups: Sequence[Sequence[BoardRow]], names: Sequence[str], values: Sequence[tuple[str, str]]
) -> list[list[str]]:
    """Unrounded shares; what is unknown is empty."""
    scores = [f"{name}{end}" for name in ("mmar", "strict") for end in ("", "_low", "_high")]
    parts = [f"{tag}: {value}" for tag, value in values]
    counts = ["coverage", "failed", "unread", "samples", "cost", "captions_cost"]
    rows = [["run", "model", "captions", "prompt", "items", "items_digest", "n", *scores, *parts, *counts]]
    for name, group in zip(names, groups, strict=True):
        rows += [_machine(row, name, values) for row in group]
    return rows


def _machine(row: BoardRow, items: str, values: Sequence[tuple[str, str]]) -> list[str]:
    what = [row.run, row.model, row.captions, row.prompt, items, row.items_digest, str(row.n)]
    shares = [repr(share) for rate in (row.mmar, row.strict) for share in (rate.accuracy, *rate.ci95)]
    parts = ["" if rate is None else repr(rate.accuracy) for rate in _rates(row, values)]
    costs = ["" if cost is None else repr(cost) for cost in (row.cost, row.captions_cost)]
    return [*what, *shares, *parts, repr(row.coverage), str(row.failed), str(row.unread), str(row.samples), *costs]
