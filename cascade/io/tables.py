"""Tables of typed cells as text for a terminal, as Markdown, as LaTeX (booktabs) and as CSV.

For people a cell is its text; in CSV it is its unrounded values, in one column or several. CSV holds no control
character, and no text that a spreadsheet would take for a formula. A text table that is wider
than its terminal is folded by rich: words are wrapped, numbers never; where that is not enough, the columns stand in
parts, one below the other, each under the first column.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from cascade.io.terminal import plain, terminal, width

FORMATS = ("table", "md", "csv", "latex")
_LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        **{char: "\\" + char for char in "&%$#_{}"},
    }
)
_FLOOR = 12  # the least width of a column of words before the table is split
# rich breaks a text at white space. This character is white space of no width, and is taken out again: it lets a long
# name break at its punctuation.
_BREAK = "\x1f"
_BREAKS = re.compile(r"(?<=[-/_|])(?=[^\W\d])")
# How a text begins that a spreadsheet takes for a formula, and the texts that begin so and are none: a difference, an
# interval, a marked difference, a dash for none.
_FORMULA = re.compile(r"[=+@\t\r\n＝＋－＠-]")
_NUMBER = re.compile(r"-|[-+]?[\d.]+(e[-+]?\d+)?( to [-+]?[\d.]+)?\*?")


def percent(share: float) -> str:
    """Return a share in per cent, with two decimals."""
    return f"{100 * share:.2f}"


def signed(share: float, digits: int) -> str:
    """Return a difference of shares in points, with its sign; a zero has none."""
    text = f"{100 * share:+.{digits}f}"
    return text if float(text) else text.lstrip("+-")


class Share(NamedTuple):
    """A share in [0, 1], for people in per cent."""

    share: float

    def __str__(self) -> str:
        return percent(self.share)


class Interval(NamedTuple):
    """The 95 % interval of a share."""

    low: float
    high: float

    def __str__(self) -> str:
        return f"{100 * self.low:.1f}-{100 * self.high:.1f}"


class Points(NamedTuple):
    """A difference of shares, for people in points with its sign."""

    difference: float

    def __str__(self) -> str:
        return signed(self.difference, 2)


class PointsInterval(NamedTuple):
    """The 95 % interval of a difference of shares."""

    low: float
    high: float

    def __str__(self) -> str:
        return f"{signed(self.low, 1)} to {signed(self.high, 1)}"


class PValue(NamedTuple):
    """A p value."""

    p: float

    def __str__(self) -> str:
        return "<0.0001" if self.p < 0.0001 else f"{self.p:.4f}"


class Dollars(NamedTuple):
    """An amount in US dollars, None where a price is unknown."""

    amount: float | None

    def __str__(self) -> str:
        return "unknown" if self.amount is None else f"${self.amount:.4f}"


class Label(NamedTuple):
    """The name of a row: a value of a tag, or a name alone. A terminal shows the values below their tag."""

    tag: str
    value: str | None = None

    def __str__(self) -> str:
        return self.tag if self.value is None else f"{self.tag}: {self.value}"


Cell = str | int | None | tuple[Any, ...]  # a tuple is one of the classes above, or values for CSV alone
Row = Sequence[Cell]


class Column(NamedTuple):
    """A column. `name` is its heading in printed tables, or None to leave it out; `csv` lists its headings in CSV."""

    name: str | None
    csv: tuple[str, ...] = ()
    words: bool = False


def format_columns(columns: Sequence[Column], rows: Iterable[Row], form: str) -> str:
    """Return the table as a command prints it: for people the columns that they see, for CSV the unrounded values."""
    if form == "csv":
        lines = [[name for column in columns for name in column.csv]]
        for row in rows:
            values: list[Any] = []
            for cell, column in zip(row, columns, strict=True):
                parts = cell if isinstance(cell, tuple) else [cell] * len(column.csv)
                values += parts[: len(column.csv)]
            lines.append(["" if value is None else str(value) for value in values])
        return _csv(lines)
    shown = [place for place, column in enumerate(columns) if column.name is not None]
    left = [at for at, place in enumerate(shown) if columns[place].words]
    cells: list[list[Cell]] = []
    tag = None
    for row in rows:
        line = [row[place] for place in shown]
        # Below a row of the tag alone, a terminal shows its values indented.
        if form == "table" and isinstance(line[0], Label) and line[0].value is not None:
            if line[0].tag != tag:
                tag = line[0].tag
                cells.append([tag, *[None] * (len(line) - 1)])
            line[0] = f"  {line[0].value}"
        cells.append(line)
    return format_table([columns[place].name for place in shown], cells, form, left or (0,))


def format_table(header: Row, rows: Iterable[Row], form: str = "table", left: Collection[int] = (0,)) -> str:
    """Return the table as a command prints it, CSV as people read it: `table` is text that fits the terminal."""
    return render_table(header, rows, form, left, terminal())


def format_words(header: Row, rows: Iterable[Row], form: str = "table") -> str:
    """Return a table as `format_table` does; a text table whose cells are words has every column flush left."""
    if form != "table":
        return format_table(header, rows, form)
    cells = [[" ".join(str(cell).split()) for cell in row] for row in rows]
    return format_table(header, cells, left=range(len(header)))


def render_table(
    header: Row, rows: Iterable[Row], form: str = "table", left: Collection[int] = (0,), room: int | None = None
) -> str:
    """Return the table in one of FORMATS, ending in a newline; the columns in `left` flush left, the others right.

    A text table takes at most `room` columns of a terminal, where that is given and no number need be cut for it.
    """
    lines = [["" if cell is None else str(cell) for cell in row] for row in (header, *rows)]
    if form == "csv":
        return _csv(lines)
    if form != "table":
        return {"md": _markdown, "latex": _latex}[form](lines, left)
    lines = [[plain(cell).replace("\n", " ").replace("\t", " ") for cell in line] for line in lines]
    sizes = [max(map(width, column)) for column in zip(*lines, strict=True)]
    if room is not None and sum(sizes) + 2 * (len(sizes) - 1) > room:
        return "\n".join(_folded(part, words, room) for part, words in _parts(lines, left, room))
    for line in lines:
        for place, size in enumerate(sizes):
            pad = " " * (size - width(line[place]))
            line[place] = line[place] + pad if place in left else pad + line[place]
    return "".join("  ".join(line).rstrip() + "\n" for line in lines)


def _least(column: Sequence[str], words: bool) -> int:
    """Return how narrow a column may become: numbers stay whole under a wrapped heading."""
    if words:
        return min(_FLOOR, max(map(width, column)))
    return max(map(width, [*column[0].split(), *column[1:]]), default=0)


def _parts(
    lines: list[list[str]], left: Collection[int], room: int
) -> Iterator[tuple[list[list[str]], Collection[int]]]:
    """Yield the table whole where it can be folded, else in parts that begin with its first column, and their words."""
    least = [_least(column, at in left) for at, column in enumerate(zip(*lines, strict=True))]
    parts = [[0]]
    for at, name in enumerate(lines[0][1:], 1):
        # An interval stands beside what it is of, where it is not the first of all.
        group = [parts[-1].pop(), at] if name in ("", "95 %") and len(parts[-1]) > 1 else [at]
        taken = [*parts[-1], *group]
        if len(parts[-1]) > 1 and sum(least[place] for place in taken) + 2 * (len(taken) - 1) > room:
            parts.append([0])
        parts[-1] += group
    names = [line[0] for line in lines[1:] if any(line[1:])]
    if len(parts) > 1 and 0 in left and len(set(names)) < len(names) and lines[0][0] != "#":
        numbered = [["#", *lines[0]], *([str(at), *line] for at, line in enumerate(lines[1:], 1))]
        yield from _parts(numbered, [at + 1 for at in left], room)
        return
    for part in parts:
        yield [[line[at] for at in part] for line in lines], [at for at, place in enumerate(part) if place in left]


def _folded(lines: list[list[str]], left: Collection[int], room: int) -> str:
    from rich.console import Console
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="")
    for at, column in enumerate(zip(*lines, strict=True)):
        words = at in left
        table.add_column(
            Text(column[0]),
            justify=("right", "left")[words],
            vertical="top",
            overflow="fold",
            min_width=_least(column, words),
            max_width=None if words else _least(column, words),
        )
    for line in lines[1:]:
        # The lines that a cell is wrapped into are indented as the cell is.
        cells = []
        for cell in line:
            text = _BREAKS.sub(_BREAK, cell.lstrip())
            cells.append(Padding(Text(text), (0, 0, 0, len(cell) - len(cell.lstrip()))))
        table.add_row(*cells)
    out = io.StringIO()
    Console(file=out, width=room, color_system=None, legacy_windows=False).print(table, crop=False)
    return "".join(line.rstrip() + "\n" for line in out.getvalue().replace(_BREAK, "").split("\n")[:-1])


def _markdown(lines: list[list[str]], left: Collection[int]) -> str:
    marks = [":--" if at in left else "--:" for at in range(len(lines[0]))]
    cells = [[plain(cell).replace("|", r"\|").replace("\n", " ") for cell in line] for line in lines]
    return "".join("| " + " | ".join(line) + " |\n" for line in [cells[0], marks, *cells[1:]])


def _csv(lines: list[list[str]]) -> str:
    """Return CSV whose cells are data to a spreadsheet and to a terminal.

    A text that would be a formula begins with an apostrophe. Source: OWASP, CSV injection.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    for line in lines:
        is_formula = [_FORMULA.match(cell.lstrip(" ")) and not _NUMBER.fullmatch(cell) for cell in line]
        writer.writerow(["'" * bool(formula) + plain(cell) for cell, formula in zip(line, is_formula, strict=True)])
    return out.getvalue()


def _latex(lines: list[list[str]], left: Collection[int]) -> str:
    columns = "".join("l" if at in left else "r" for at in range(len(lines[0])))
    cells = [[" ".join(plain(cell).split()).translate(_LATEX) for cell in line] for line in lines]
    head, *body = [" & ".join(line) + r" \\" + "\n" for line in cells]
    top, middle, bottom = (f"\\{part}rule\n" for part in ("top", "mid", "bottom"))
    return f"\\begin{{tabular}}{{{columns}}}\n{top}{head}{middle}{''.join(body)}{bottom}\\end{{tabular}}\n"
