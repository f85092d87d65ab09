"""Tables as they are printed, literally."""

from __future__ import annotations

import csv
import io

import pytest

from cascade.io.tables import (
    FORMATS,
    Cell,
    Column,
    Dollars,
    Interval,
    Label,
    Points,
    PointsInterval,
    PValue,
    Share,
    format_columns,
    format_words,
    render_table,
)
from cascade.io.terminal import heading, plain, prose, terminal, width

HEADER = ("what", "n", "accuracy")
ROWS = [("speech", "294", "60.9 %"), ("a|b_c & $d", "7", "100 %")]
WANTED = {
    "table": "what          n  accuracy\nspeech      294    60.9 %\na|b_c & $d    7     100 %\n",
    "md": "| what | n | accuracy |\n| :-- | --: | --: |\n| speech | 294 | 60.9 % |\n| a\\|b_c & $d | 7 | 100 % |\n",
    "csv": "what,n,accuracy\nspeech,294,60.9 %\na|b_c & $d,7,100 %\n",
    "latex": (
        "\\begin{tabular}{lrr}\n\\toprule\nwhat & n & accuracy \\\\\n\\midrule\n"
        "speech & 294 & 60.9 \\% \\\\\na|b\\_c \\& \\$d & 7 & 100 \\% \\\\\n\\bottomrule\n\\end{tabular}\n"
    ),
}


@pytest.mark.parametrize("form", FORMATS)
def test_a_table_in_each_format(form: str) -> None:
    assert render_table(HEADER, ROWS, form) == WANTED[form]


@pytest.mark.parametrize(
    ("form", "wanted"),
    [
        ("table", "k  v\n"),
        ("md", "| k | v |\n| :-- | --: |\n"),
        ("csv", "k,v\n"),
        ("latex", "\\begin{tabular}{lr}\n\\toprule\nk & v \\\\\n\\midrule\n\\bottomrule\n\\end{tabular}\n"),
    ],
)
def test_a_table_without_rows(form: str, wanted: str) -> None:
    assert render_table(("k", "v"), [], form) == wanted


def test_wide_and_combining_characters_stay_in_line() -> None:
    assert (
        render_table(("k", "v"), [("猫", "1"), ("e\u0301", "22"), ("ab", "３")])
        == "k    v\n猫   1\ne\u0301   22\nab  ３\n"
    )
    assert [width(text) for text in ("", "ab", "猫", "e\u0301", "ｱ", "Ａ")] == [0, 2, 2, 1, 1, 2]


@pytest.mark.parametrize(
    ("form", "wanted"),
    [
        ("table", "k      v\na b c  1\n"),
        ("md", "| k | v |\n| :-- | --: |\n| a b\tc | 1 |\n"),
        ("csv", 'k,v\n"a\nb\tc",1\n'),
    ],
)
def test_a_line_break_in_a_cell_breaks_no_table(form: str, wanted: str) -> None:
    assert render_table(("k", "v"), [("a\nb\tc", "1")], form) == wanted


def test_a_line_break_in_a_latex_cell_is_a_space() -> None:
    assert "a b & 1 \\\\\n" in render_table(("k", "v"), [("a\n\nb", "1")], "latex").replace("  ", " ")


@pytest.mark.parametrize(
    ("char", "wanted"),
    [
        ("\\", r"\textbackslash{}"),
        ("~", r"\textasciitilde{}"),
        ("^", r"\textasciicircum{}"),
        ("{}", r"\{\}"),
        ("#", r"\#"),
        ("a_b%", r"a\_b\%"),
    ],
)
def test_latex_specials_are_escaped_once(char: str, wanted: str) -> None:
    assert render_table((char,), [], "latex").splitlines()[2] == wanted + r" \\"


@pytest.mark.parametrize(
    "text", ["=1+1", "+1+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "\n=1", " =1", "＝1", "-x"]
)
def test_csv_has_no_formula_and_drives_no_terminal(text: str) -> None:
    """Wherever CSV is written: as people read it and unrounded, in a heading, a name, a tag, its value, a word."""
    hostile = text + "\x1b]0;owned\x07\x1b[31m"
    column = Column(hostile, (hostile,))
    for written in (
        render_table([hostile], [[hostile]], "csv"),
        format_columns([column], [[hostile]], "csv"),
        format_columns([Column("", (hostile, "value"))], [[Label(hostile, hostile)]], "csv"),
    ):
        assert "\x1b" not in written and "\x07" not in written and "\r" not in written
        cells = [cell for row in csv.reader(io.StringIO(written)) for cell in row if cell not in ("", "value")]
        assert cells and all(cell[0] == "'" for cell in cells)
    for form in FORMATS:
        assert "\x1b" not in render_table([hostile], [[hostile]], form)


@pytest.mark.parametrize("number", ["-0.25", "+66.67", "-1e-05", "-33.3 to +12.0", "-33.33*", "-", "0.5", "<0.0001"])
def test_numbers_in_csv_stay_numbers(number: str) -> None:
    assert render_table(["x"], [[number]], "csv") == f"x\n{number}\n"


def test_csv_quotes_what_must_be_quoted() -> None:
    assert render_table(("a,b", 'say "x"'), [], "csv") == '"a,b","say ""x"""\n'


@pytest.mark.parametrize("hostile", ["\x1b[2J", "\x07", "\x9b1m", "\u202e", "\x7f", "\ud800", "\r"])
def test_control_characters_never_reach_a_terminal(hostile: str) -> None:
    assert plain(f"a{hostile}b\n\tc") == f"a\ufffd{hostile[1:]}b\n\tc"
    for form in ("table", "md", "latex"):
        assert hostile[0] not in render_table((f"a{hostile}",), [], form)


def test_an_unknown_format_is_a_bug_of_the_caller() -> None:
    with pytest.raises(KeyError, match="html"):
        render_table(HEADER, ROWS, "html")


def test_columns_of_words_are_set_left() -> None:
    rows = [["a", "b", "10"], ["long", "word", "9"]]
    assert render_table(["x", "y", "n"], rows, "table", (0, 1)) == "x     y      n\na     b     10\nlong  word   9\n"
    assert render_table(["x", "y", "n"], rows, "md", (0, 1)).splitlines()[1] == "| :-- | :-- | --: |"
    assert "{llr}" in render_table(["x", "y", "n"], rows, "latex", (0, 1))


SCORES = [
    ["", "n", "mmar", "95 %", "strict", "95 %"],
    ["all", "38", "15.79", "7.4-30.4", "15.79", "7.4-30.4"],
    ["modality", "", "", "", "", ""],
    ["  mix-sound-music-speech", "5", "100.00", "20.7-100.0", "0.00", "0.0-43.4"],
    ["  Environmental Perception and Reasoning", "3", "0.00", "0.0-56.1", "0.00", "0.0-56.1"],
]


def test_a_table_that_fits_its_terminal_is_left_alone() -> None:
    whole = render_table(SCORES[0], SCORES[1:])
    assert render_table(SCORES[0], SCORES[1:], room=max(map(len, whole.splitlines()))) == whole


def test_words_are_wrapped_before_columns_are_moved() -> None:
    assert render_table(SCORES[0], SCORES[1:], room=72) == (
        "                                 n    mmar        95 %  strict      95 %\n"
        "all                             38   15.79    7.4-30.4   15.79  7.4-30.4\n"
        "modality\n"
        "  mix-sound-music-speech         5  100.00  20.7-100.0    0.00  0.0-43.4\n"
        "  Environmental Perception and   3    0.00    0.0-56.1    0.00  0.0-56.1\n"
        "  Reasoning\n"
    )


def test_a_narrow_terminal_gets_the_columns_in_parts_each_interval_with_its_figure() -> None:
    assert render_table(SCORES[0], SCORES[1:], room=40) == (
        "                   n    mmar        95 %\n"
        "all               38   15.79    7.4-30.4\n"
        "modality\n"
        "  mix-sound-       5  100.00  20.7-100.0\n"
        "  music-speech\n"
        "  Environmental    3    0.00    0.0-56.1\n"
        "  Perception and\n"
        "  Reasoning\n"
        "\n"
        "                        strict      95 %\n"
        "all                      15.79  7.4-30.4\n"
        "modality\n"
        "  mix-sound-music-        0.00  0.0-43.4\n"
        "  speech\n"
        "  Environmental           0.00  0.0-56.1\n"
        "  Perception and\n"
        "  Reasoning\n"
    )


def test_headings_of_numbers_are_wrapped_and_end_at_the_bottom() -> None:
    assert render_table(["run", "captions to make"], [["speech alone", "7"]], room=23) == (
        "              captions\nrun            to make\nspeech alone         7\n"
    )


def test_no_number_is_ever_cut() -> None:
    rows = [["speech", "-1234567.89 to +1234567.89", "0.0001"]]
    for room in range(1, 60):
        assert all(cell in render_table(["", "95 %", "p"], rows, room=room) for cell in rows[0][1:])


def test_rows_that_their_first_column_does_not_tell_apart_are_numbered() -> None:
    rows = [["qwen", "speech=faster-whisper", "11.11", "one"], ["qwen", "sound=events", "22.22", "two"]]
    assert render_table(["model", "captions", "mmar", "run"], rows, "table", (0, 1, 3), room=26) == (
        "#  model  captions\n"
        "1  qwen   speech=faster-\n"
        "          whisper\n"
        "2  qwen   sound=events\n"
        "\n"
        "#   mmar  run\n"
        "1  11.11  one\n"
        "2  22.22  two\n"
    )


def test_wide_characters_and_endless_words_are_wrapped_by_what_they_take(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    lines = format_words(["item", "said"], [["猫" * 30, "b2:" + "0123456789abcdef" * 4]]).splitlines()
    assert max(map(width, lines)) <= 40
    assert "".join(line.strip().split("  ")[0] for line in lines[1:]) == "猫" * 30
    assert "".join(line.split()[-1] for line in lines[1:]) == "b2:" + "0123456789abcdef" * 4


def test_the_terminals_columns_are_those_it_has_or_says(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert terminal() == 160
    monkeypatch.setenv("COLUMNS", "7")
    assert terminal() == 40
    monkeypatch.delenv("COLUMNS")
    assert terminal() is None


TYPED: list[tuple[Cell, str, list[str]]] = [
    (Share(0.5), "50.00", ["0.5"]),
    (Interval(0.4, 0.6), "40.0-60.0", ["0.4", "0.6"]),
    (Points(-0.125), "-12.50", ["-0.125"]),
    (Points(0.0), "0.00", ["0.0"]),
    (PointsInterval(-0.25, 0.5), "-25.0 to +50.0", ["-0.25", "0.5"]),
    (PValue(1e-9), "<0.0001", ["1e-09"]),
    (Dollars(0.25), "$0.2500", ["0.25"]),
    (Dollars(None), "unknown", [""]),
    (7, "7", ["7"]),
    (None, "", [""]),
]


@pytest.mark.parametrize(("cell", "text", "values"), TYPED)
def test_a_cell_is_text_for_people_and_unrounded_values_in_csv(cell: Cell, text: str, values: list[str]) -> None:
    columns = [Column("name", words=True), Column("cell", tuple("ab"[: len(values)]))]
    assert format_columns(columns, [("x", cell)], "md").splitlines()[2] == f"| x | {text} |"
    assert list(csv.reader([format_columns(columns, [("x", cell)], "csv").splitlines()[1]])) == [values]


def test_the_values_of_a_tag_stand_below_it_in_a_terminal_alone() -> None:
    columns = [Column(None, ("run",)), Column("", ("tag", "value"), words=True), Column("n", ("n",))]
    rows = [("r", Label("all"), 3), ("r", Label("modality", "speech"), 2), ("r", Label("modality", ""), 1)]
    assert format_columns(columns, rows, "table") == "          n\nall       3\nmodality\n  speech  2\n          1\n"
    assert format_columns(columns, rows, "md").splitlines()[3] == "| modality: speech | 2 |"
    assert format_columns(columns, rows, "csv") == "run,tag,value,n\nr,all,,3\nr,modality,speech,2\nr,modality,,1\n"


def test_sentences_are_wrapped_line_by_line_and_no_address_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    address = "https://example.org/" + "a-path/" * 9
    assert prose(f"\nmmar: the official matcher; strict: equality.\np: a test. {address}") == (
        f"\nmmar: the official matcher; strict:\nequality.\np: a test.\n{address}"
    )
    assert (
        heading("a run whose name is so long that it ends\x1b here\nb\n")
        == "a run whose name is so long that it\nends\ufffd here\nb"
    )
    monkeypatch.delenv("COLUMNS")
    assert heading("word " * 50 + "end") == "word " * 50 + "end"  # A file is as wide as the table in it.
