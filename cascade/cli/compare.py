"""The command `compare`: the paired differences of two runs, or of several as a matrix."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import typer

from cascade.analysis import compare as paired
from cascade.analysis.compare import Comparison, Matrix, PairedDifference
from cascade.cli import options as o
from cascade.cli import output
from cascade.datasets import registry
from cascade.errors import UserError
from cascade.io.tables import (
    Cell,
    Column,
    Label,
    Points,
    PointsInterval,
    PValue,
    Row,
    Share,
    format_columns,
    format_table,
    percent,
)
from cascade.io.terminal import heading, note, plain, prose, quantity
from cascade.runs.served import served_text
from cascade.scoring import outcomes

_LABELS = [Column(None, ("a", "b")), Column("", ("tag", "value"), words=True)]
_FIELDS: list[tuple[Column, Callable[[PairedDifference], Cell]]] = [
    (Column("n", ("n",)), lambda row: row.n),
    (Column("A", ("a_accuracy",)), lambda row: Share(row.a)),
    (Column("B", ("b_accuracy",)), lambda row: Share(row.b)),
    (Column("A-B", ("difference",)), lambda row: Points(row.difference)),
    (Column("95 %", ("low", "high")), lambda row: PointsInterval(*row.ci95)),
    (Column("only A", ("only_a",)), lambda row: row.mcnemar.only_a),
    (Column("only B", ("only_b",)), lambda row: row.mcnemar.only_b),
    (Column("p", ("p",)), lambda row: PValue(row.mcnemar.p)),
    (Column("p (Holm)", ("p_holm",)), lambda row: None if row.mcnemar.p_holm is None else PValue(row.mcnemar.p_holm)),
]
_READ = "\nread by a model: by the rules' reading of a reply, or else by that model's."


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
    seed: Annotated[int, typer.Option("--seed", hidden=True, help="No effect: nothing is drawn any more.")] = 0,
) -> None:
    """Compare two runs item by item; more than two as a matrix.

    Exact McNemar tests, Tango's score intervals of the difference, Holm's correction within each tag.
    """
    if len(sources) < 2:
        raise UserError(f"compare {sources[0]}: give another run or prediction file to compare it with")
    if len(sources) > 2 and (flips or by):
        raise UserError(f"compare: --flips and --by are for two, and {len(sources)} are given")
    joined = registry.load_questions(dataset, data)
    scored = [outcomes.score_source(source, joined, read_replies=extract) for source in sources]
    forced = [source.about["run"] for source in scored if source.spec and source.spec.llm.answer_as == "choice"]
    if 0 < len(forced) < len(scored):
        note(f"choices were forced in {', '.join(forced)}; the replies of the others are free")
    for source in scored:
        if source.spec:
            whole = len(source.items) * source.spec.llm.samples
            output.note_unfinished(source.about["run"], source.about["not_asked"], whole)
    if len(scored) > 2:
        show_matrix(paired.matrix(scored, scorer=scorer), form)
    else:
        show(paired.compare(*scored, scorer=scorer, by=by or ()), form, flips=flips)


def show(comparison: Comparison, form: str, *, flips: bool = False) -> None:
    """Print a comparison to stdout; JSON has the flipped items always, the others where `flips` are wanted."""
    if form == "json":
        output.echo_json(comparison)
        return
    title = plain(_title(comparison))
    if form == "table":
        title = heading(title) + "\n"
    if form == "latex":
        title = "".join(f"% {line}\n" for line in title.splitlines())
    if form != "csv":
        typer.echo(title + "\n" * (form != "latex"), nl=False)
    runs = comparison.a.run, comparison.b.run
    rows = [(Label("" if form == "csv" else "all"), comparison.whole)]
    if comparison.combined and (readings := comparison.a.readings):
        rows.append((Label(f"all, read by {readings.name}"), comparison.combined.whole))
    for tag, values in comparison.by.items():
        rows += [(Label(tag, value), difference) for value, difference in values.items()]
    cells: list[Row] = []
    for label, difference in rows:
        cells.append([runs, label, *(cell(difference) for _, cell in _FIELDS)])
    typer.echo(format_columns([*_LABELS, *(column for column, _ in _FIELDS)], cells, form), nl=False)
    if form == "table":
        legend = (
            "\nThe smallest difference that this comparison would detect with 80 % power is "
            f"{100 * comparison.detectable:.1f} points.\n"
            "95 %: Tango's paired score intervals; p: McNemar's, exact and two-sided"
        )
        legend += "; Holm's correction within each tag." if comparison.by else "."
        typer.echo(prose(legend + _READ * (comparison.combined is not None)))
    if flips:
        texts = [
            [flip.item, flip.right.upper(), flip.answer, flip.a or "(none)", flip.b or "(none)"]
            for flip in comparison.flipped
        ]
        header = ["item", "right", "answer", "A", "B"]
        output.echo_list(header, texts, "No item is right in only one of the two.", form)


def _title(comparison: Comparison) -> str:
    lines = []
    for name, side in (("A", comparison.a), ("B", comparison.b)):
        line = f"{name}: {' '.join(side.run.split())}{side.label}"
        if side.left_out:
            line += f"; left out: {quantity(side.left_out, 'item')} that the other lacks"
        if side.served:
            line += f"; answers: {served_text(side.served)}"
        if side.agreement:
            line += f"; {percent(side.agreement.consistency.accuracy)} % have the same choice in all samples"
            line += f", {percent(side.agreement.all_right.accuracy)} % are right in all"
        if side.readings:
            line += f"; replies {side.readings}"
        lines.append(line)
    return "\n".join([*lines, f"{quantity(comparison.n, 'item')} of both, by {comparison.scorer}\n"])


def show_matrix(matrix: Matrix, form: str) -> None:
    """Print several runs against each other, row − column in points; a star where Holm's p is under 0.05."""
    if form == "json":
        output.echo_json(matrix)
        return
    if form == "table":
        served = {side.run: served_text(side.served) for side in matrix.runs if side.served}
        if len(served) == len(matrix.runs) and len({*served.values()}) == 1:
            served = {"each run": served[matrix.runs[0].run]}
        for run, text in served.items():
            typer.echo(heading(f"{run}: answers: {text}"))
        typer.echo(f"{quantity(matrix.n, 'item')} of all, by {matrix.scorer}; row - column in points\n")
    rows = list(_matrix_rows(matrix))
    if matrix.combined:
        rows += _matrix_rows(matrix.combined, ", read by {}")
    header = ["row - column", matrix.scorer, *map(str, range(1, len(matrix.runs) + 1))]
    typer.echo(plain(format_table(header, rows, form)), nl=False)
    if form == "table":
        starred = any("*" in str(cell) for row in rows for cell in row[2:])
        legend = "\n*: p < 0.05 by McNemar's exact test, with Holm's correction over all pairs." * starred
        if legend := legend + _READ * (matrix.combined is not None):
            typer.echo(prose(legend))


def _matrix_rows(matrix: Matrix, suffix: str = "") -> Iterator[Row]:
    for number, side in enumerate(matrix.runs, 1):
        cells = []
        for difference, p in zip(matrix.difference[number - 1], matrix.p_holm[number - 1], strict=True):
            star = "*" if p is not None and p < paired.SIGNIFICANT else ""
            cells.append("" if p is None else f"{Points(difference)}{star}")
        reader = suffix.format(side.readings.name) if side.readings else ""
        yield [f"{number} {side.run}{side.label}{reader}", Share(side.accuracy), *cells]
