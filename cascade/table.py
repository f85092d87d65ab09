"""Tables as text, Markdown, CSV and LaTeX (booktabs), and text made safe for a terminal. Standard library only."""

from __future__ import annotations

import csv
import io
import unicodedata
from collections.abc import Collection, Sequence

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


def render(header: Row, rows: Sequence[Row], form: str = "text", left: Collection[int] = (0,)) -> str:
    """The table in one of FORMATS, ending in a newline. The columns in `left` are set flush left, the others right."""
    return {"text": _text, "md": _markdown, "csv": _csv, "latex": _latex}[form](header, rows, left)


def words(header: Row, rows: Sequence[Row]) -> str:
    """A text table whose cells are words: every column flush left."""
    lines = [[" ".join(plain(cell).split()) for cell in row] for row in (header, *rows)]
    widths = [max(map(width, column)) for column in zip(*lines, strict=True)]
    padded = ([cell + " " * (size - width(cell)) for cell, size in zip(line, widths, strict=True)] for line in lines)
    return "".join("  ".join(line).rstrip() + "\n" for line in padded)


def plain(text: str) -> str:
    """The text without control characters but newline and tab, so that hostile text cannot drive a terminal."""
    return "".join(
        char if char in "\n\t" or unicodedata.category(char) not in ("Cc", "Cf", "Cs") else "\ufffd" for char in text
    )


def width(text: str) -> int:
    """The columns that a text takes in a terminal: wide characters take two, combining ones none."""
    return sum(_columns(char) for char in text)


def _columns(char: str) -> int:
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def _text(header: Row, rows: Sequence[Row], left: Collection[int]) -> str:
    lines = [[plain(cell).replace("\n", " ").replace("\t", " ") for cell in row] for row in (header, *rows)]
    widths = [max(map(width, column)) for column in zip(*lines, strict=True)]
    return "".join(_aligned(line, widths, left) + "\n" for line in lines)


def _aligned(line: Row, widths: Sequence[int], left: Collection[int]) -> str:
    pads = [" " * (size - width(cell)) for cell, size in zip(line, widths, strict=True)]
    cells = zip(line, pads, strict=True)
    return "  ".join(cell + pad if at in left else pad + cell for at, (cell, pad) in enumerate(cells)).rstrip()


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
