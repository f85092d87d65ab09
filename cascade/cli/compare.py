"""How paired differences are shown: two runs side by side, or several as a matrix."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cascade.analysis.compare import overall
from cascade.cli import options as o
from cascade.cli import output
from cascade.errors import UserError
from cascade.io.figures import p_value, percent, signed
from cascade.io.tables import format_table, format_words
from cascade.io.terminal import plain, prose

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cascade.analysis.compare import Comparison, Flip, Matrix, PairedDifference

_HEADER = ["", "n", "A", "B", "A-B", "95 %", "only A", "only B", "p", "p (Holm)"]


def show(found: Comparison, form: str, *, flips: bool = False) -> None:
    """Print a comparison to stdout; JSON has the flipped items always, the others where `flips` are wanted."""
    if form == "json":
        output.echo_json(found)
        return
    if form == "table":
        typer.echo(plain(_title(found)))
    elif form == "md":
        typer.echo(plain(f"A: {_label(found.a.run)}, B: {_label(found.b.run)}\n"))
    rows = _machines(found) if form == "csv" else [_HEADER, *_people(found, headings=form == "table")]
    typer.echo(format_table(rows[0], rows[1:], form), nl=False)
    if form == "table":
        typer.echo(prose(_legend(found)))
    if flips:
        typer.echo("\n" + _flipped(found.flipped, form), nl=False)


def _label(run: str) -> str:
    return Path(run).name or run


def _title(found: Comparison) -> str:
    sides = {"A": found.a, "B": found.b}
    lines = [
        f"{name}: {side.run}" + (f" ({side.llm.split('@')[0]})" if side.llm else "") + _left_out(side.left_out)
        for name, side in sides.items()
    ]
    return "\n".join([*lines, f"{found.n} items of both, by {found.scorer}\n"])


def _left_out(count: int) -> str:
    return f"; {count} items that the other lacks are left out" if count else ""


def _legend(found: Comparison) -> str:
    return (
        f"\nWith {found.n} items that differ as often as these, a true difference under "
        f"{100 * found.detectable:.1f} points is missed more often than one time in five.\n"
        "95 % paired bootstrap intervals; p: McNemar's, exact and two-sided; Holm's correction within each tag."
    )


def _people(found: Comparison, *, headings: bool) -> Iterator[list[str]]:
    yield _row("all", overall(found))
    for tag, values in found.by.items():
        if headings:
            yield [tag, *[""] * (len(_HEADER) - 1)]
        for value, one in values.items():
            yield _row(f"  {value}" if headings else f"{tag}: {value}", one)


def _row(name: str, one: PairedDifference) -> list[str]:
    test = one.mcnemar
    return [
        name,
        str(one.n),
        percent(one.a),
        percent(one.b),
        signed(one.difference),
        f"{signed(one.ci95[0], 1)} to {signed(one.ci95[1], 1)}",
        str(test.only_a),
        str(test.only_b),
        p_value(test.p),
        "" if test.p_holm is None else p_value(test.p_holm),
    ]


def _machines(found: Comparison) -> list[list[str]]:
    header = ["a", "b", "tag", "value", "n", "a_accuracy", "b_accuracy", "difference", "low", "high"]
    rows = [[*header, "only_a", "only_b", "p", "p_holm"]]
    parts = [("", "", overall(found))]
    parts += [(tag, value, one) for tag, values in found.by.items() for value, one in values.items()]
    for tag, value, one in parts:
        test = one.mcnemar
        figures = [repr(figure) for figure in (one.a, one.b, one.difference, *one.ci95)]
        counts = [str(test.only_a), str(test.only_b), repr(test.p), "" if test.p_holm is None else repr(test.p_holm)]
        rows.append([found.a.run, found.b.run, tag, value, str(one.n), *figures, *counts])
    return rows


def _flipped(flips: tuple[Flip, ...], form: str) -> str:
    rows = [[one.item, one.right.upper(), one.answer, one.a or "(none)", one.b or "(none)"] for one in flips]
    if not rows:
        return "No item is right in only one of the two.\n"
    header = ["item", "right", "answer", "A", "B"]
    return format_words(header, rows) if form == "table" else format_table(header, rows, form)


def show_matrix(found: Matrix, form: str) -> None:
    """Print several runs against each other, row − column in points; a star where Holm's p is under 0.05."""
    if form == "json":
        output.echo_json(found)
        return
    names = [str(place + 1) for place in range(len(found.runs))]
    if form == "table":
        typer.echo(f"{found.n} items of all, by {found.scorer}; row - column in points\n")
    rows = [
        [f"{name} {_label(side.run)}", percent(side.accuracy), *_cells(found, place)]
        for place, (name, side) in enumerate(zip(names, found.runs, strict=True))
    ]
    typer.echo(plain(format_table(["", found.scorer, *names], rows, form)), nl=False)
    if form == "table":
        typer.echo(prose("\n*: p < 0.05 by McNemar's exact test, with Holm's correction over all pairs."))


def _cells(found: Matrix, row: int) -> list[str]:
    def cell(difference: float, p: float | None) -> str:
        return "" if p is None else signed(difference) + ("*" if p < 0.05 else "")

    return [cell(*pair) for pair in zip(found.difference[row], found.p_holm[row], strict=True)]


def compare(
    sources: Annotated[
        list[Path], typer.Argument(metavar="RUN|FILE…", help="Two run directories or prediction files; or more.")
    ],
    form: o.Form = "table",
    scorer: o.ScorerName = "mmar",
    by: o.By = None,
    flips: Annotated[bool, typer.Option("--flips", help="List the items that only one of the two gets right.")] = False,
    extract: o.Extract = False,
    dataset: o.Joined = None,
    data: o.Data = None,
    seed: o.Seed = 0,
) -> None:
    """Compare two runs item by item; more than two as a matrix.

    Exact McNemar tests, bootstrap intervals of the difference, Holm's correction within each tag.
    """
    from cascade.analysis.compare import compare, matrix
    from cascade.cli.compare import show, show_matrix
    from cascade.scoring import outcomes

    output.check_format(form)
    if len(sources) < 2:
        raise UserError(f"compare {sources[0]}: give another run or prediction file to compare it with")
    if len(sources) > 2 and (flips or by):
        raise UserError(f"compare: --flips and --by are for two, and {len(sources)} are given")
    joined = o.load_questions(dataset, data)
    judged = [outcomes.score_source(source, joined, read_replies=extract) for source in sources]
    if len(judged) > 2:
        show_matrix(matrix(judged, scorer=scorer), form)
    else:
        show(compare(*judged, scorer=scorer, by=by or (), seed=seed), form, flips=flips)
