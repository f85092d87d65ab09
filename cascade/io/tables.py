"""Tables as text, Markdown, CSV and LaTeX (booktabs), and text made safe for a terminal. Standard library only.

A text table that is wider than its terminal is made to fit: first its words are wrapped, and the headings of its
numbers; then its columns stand in parts, one below the other, each under the first column. A number is never cut.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection, Iterator, Sequence

from cascade.io.terminal import plain, terminal, width

Row = Sequence[str]
FORMATS = ("text", "md", "csv", "latex")
_LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        **{char: "\\" + char for char in "&%$#_{}"},
    }
)


_FLOOR = 12  # to which a column of words may be squeezed before columns are moved below
# Where a word that is too long may be cut: in paths, `slot=engine`, `mix-sound-speech`, but not in a number.
_BREAKS = re.compile(r"(?<=[-/:=+,_])(?=[^\W\d])")
_OF_THE_ONE_BEFORE = ("", "95 %")  # headings of columns that say nothing alone


def render_table(
    header: Row, rows: Sequence[Row], form: str = "text", left: Collection[int] = (0,), room: int | None = None
) -> str:
    """The table in one of FORMATS, ending in a newline. The columns in `left` are set flush left, the others right.

    A text table takes at most `room` columns of a terminal, where that is given and no number need be cut for it.
    """
    if form == "text":
        return _text(header, rows, left, room)
    return {"md": _markdown, "csv": _csv, "latex": _latex}[form](header, rows, left)


def format_table(header: Row, rows: Sequence[Row], form: str = "table", left: Collection[int] = (0,)) -> str:
    """The table as a command prints it: `table` is text that fits the terminal, the others are as in `render`."""
    return render_table(header, rows, "text" if form == "table" else form, left, terminal())


def format_words(header: Row, rows: Sequence[Row]) -> str:
    """A text table that fits the terminal and whose cells are words: every column flush left."""
    return format_table(header, [[" ".join(cell.split()) for cell in row] for row in rows], left=range(len(header)))


def _text(header: Row, rows: Sequence[Row], left: Collection[int], room: int | None) -> str:
    lines = [[plain(cell).replace("\n", " ").replace("\t", " ") for cell in row] for row in (header, *rows)]
    return "\n".join(_aligned(*part) for part in _parts(lines, left, room))


Part = tuple[list[list[str]], Collection[int], list[int]]  # lines, the columns flush left, each column's width


def _parts(lines: list[list[str]], left: Collection[int], room: int | None) -> Iterator[Part]:
    """The table whole, or in parts that each begin with its first column."""
    columns = list(zip(*lines, strict=True))
    widest = [max(map(width, column)) for column in columns]
    if room is None or _total(widest) <= room:
        yield lines, left, widest
        return
    least = [_least(column, at, at in left, room) for at, column in enumerate(columns)]
    if _total(least) <= room or len(columns) < 3:
        yield lines, left, _squeezed(widest, least, left, room)
    elif 0 in left and not _told_apart(lines[1:]):
        numbered = [["#", *lines[0]], *([str(at), *line] for at, line in enumerate(lines[1:], 1))]
        yield from _parts(numbered, [at + 1 for at in left], room)
    else:
        for part in _packed(lines[0], least, room):
            of_words = [at for at, column in enumerate(part) if column in left]
            sizes = _squeezed([widest[at] for at in part], [least[at] for at in part], of_words, room)
            yield [[line[at] for at in part] for line in lines], of_words, sizes


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + 2 * (len(widths) - 1)


def _least(column: Sequence[str], at: int, of_words: bool, room: int) -> int:
    """How narrow a column may become: a number stays whole under a wrapped heading, and words as far as they can."""
    heading = max((width(word) for word in column[0].split()), default=0)
    if not of_words:
        return max(heading, *map(width, column[1:]), 0)
    longest = max(_longest(cell, hang=at == 0) for cell in column)
    return min(max(map(width, column)), max(_FLOOR, heading, min(longest, room // 2 - 1)))


def _longest(cell: str, *, hang: bool) -> int:
    """The width of the longest piece that a cell is wrapped into, with its indentation."""
    pieces = [piece for word in cell.split() for piece in _BREAKS.split(word)]
    further = max(map(width, pieces[1:]), default=0) + 2 * hang
    return len(_indent(cell)) + max(width(pieces[0]) if pieces else 0, further if pieces[1:] else 0)


def _squeezed(widest: Sequence[int], least: Sequence[int], left: Collection[int], room: int) -> list[int]:
    """Widths between the two that fill the room: what is widest of the words gives way first."""
    sizes = [most if at in left else few for at, (most, few) in enumerate(zip(widest, least, strict=True))]
    while _total(sizes) > room and (wrapped := [at for at in left if sizes[at] > least[at]]):
        sizes[max(wrapped, key=lambda at: sizes[at])] -= 1
    return sizes


def _told_apart(rows: Sequence[Row]) -> bool:
    """Whether the first column says which row is which; a row of nothing else is a heading for those below it."""
    heading, names = "", []
    for name, *cells in rows:
        heading = heading if any(cells) else name
        names.append((heading, name))
    return len(set(names)) == len(names)


def _packed(header: Row, least: Sequence[int], room: int) -> Iterator[list[int]]:
    """The columns of each part: the first, and as many as fit, an interval with what it is of."""
    part = [0]
    for group in _groups(header):
        if len(part) > 1 and _total([least[at] for at in (*part, *group)]) > room:
            yield part
            part = [0]
        part += group
    yield part


def _groups(header: Row) -> list[list[int]]:
    groups: list[list[int]] = []
    for at, name in enumerate(header[1:], 1):
        if groups and name in _OF_THE_ONE_BEFORE:
            groups[-1].append(at)
        else:
            groups.append([at])
    return groups


def _aligned(lines: list[list[str]], left: Collection[int], sizes: Sequence[int]) -> str:
    return "".join(
        "  ".join(
            _padded(cell, size, at in left) for at, (cell, size) in enumerate(zip(cells, sizes, strict=True))
        ).rstrip()
        + "\n"
        for place, line in enumerate(lines)
        for cells in _stacked(line, sizes, left, heading=place == 0)
    )


def _padded(cell: str, size: int, left: bool) -> str:
    pad = " " * (size - width(cell))
    return cell + pad if left else pad + cell


def _stacked(line: Row, sizes: Sequence[int], left: Collection[int], *, heading: bool) -> Iterator[Row]:
    """A row as lines: cells begin at the top, headings end at the bottom."""
    wrapped = [
        _wrapped(cell, size, hang=at == 0) if heading or at in left else [cell]
        for at, (cell, size) in enumerate(zip(line, sizes, strict=True))
    ]
    deep = max(map(len, wrapped))
    empty = [[""] * (deep - len(cell)) for cell in wrapped]
    yield from zip(*(e + c if heading else c + e for c, e in zip(wrapped, empty, strict=True)), strict=True)


def _wrapped(text: str, size: int, *, hang: bool) -> list[str]:
    """The text in lines of at most `size` columns; `hang` indents those after the first, which belong to it."""
    if width(text) <= size:
        return [text]
    indent = _indent(text)
    lines, after = [indent], indent + "  " * hang

    def full(piece: str) -> bool:
        return bool(lines[-1].strip()) and width((lines[-1] + piece).rstrip()) > size

    for word in re.findall(r"\S+\s*", text):
        whole = width((after + word).rstrip()) <= size
        for piece in [word] if whole else _BREAKS.split(word):
            if full(piece):
                lines.append(after)
            for char in piece:
                if full(char):
                    lines.append(after)
                lines[-1] += char
    return [line.rstrip() for line in lines]


def _indent(text: str) -> str:
    return text[: len(text) - len(text.lstrip())]


def _markdown(header: Row, rows: Sequence[Row], left: Collection[int]) -> str:
    def line(cells: Row) -> str:
        return "| " + " | ".join(plain(cell).replace("|", r"\|").replace("\n", " ") for cell in cells) + " |\n"

    return line(header) + line([":--" if at in left else "--:" for at in range(len(header))]) + "".join(map(line, rows))


def _csv(header: Row, rows: Sequence[Row], left: Collection[int]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([header, *rows])
    return out.getvalue()


def _latex(header: Row, rows: Sequence[Row], left: Collection[int]) -> str:
    def line(cells: Row) -> str:
        return " & ".join(" ".join(plain(cell).split()).translate(_LATEX) for cell in cells) + r" \\" + "\n"

    columns = "".join("l" if at in left else "r" for at in range(len(header)))
    top, middle, bottom = (f"\\{part}rule\n" for part in ("top", "mid", "bottom"))
    body = "".join(map(line, rows))
    return f"\\begin{{tabular}}{{{columns}}}\n{top}{line(header)}{middle}{body}{bottom}\\end{{tabular}}\n"
