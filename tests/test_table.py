"""Tables as they are printed, literally."""

from __future__ import annotations

import pytest

from cascade.table import FORMATS, plain, render, width

HEADER = ("what", "n", "accuracy")
ROWS = [("speech", "294", "60.9 %"), ("a|b_c & $d", "7", "100 %")]
WANTED = {
    "text": "what          n  accuracy\nspeech      294    60.9 %\na|b_c & $d    7     100 %\n",
    "md": "| what | n | accuracy |\n| :-- | --: | --: |\n| speech | 294 | 60.9 % |\n| a\\|b_c & $d | 7 | 100 % |\n",
    "csv": "what,n,accuracy\nspeech,294,60.9 %\na|b_c & $d,7,100 %\n",
    "latex": (
        "\\begin{tabular}{lrr}\n\\toprule\nwhat & n & accuracy \\\\\n\\midrule\n"
        "speech & 294 & 60.9 \\% \\\\\na|b\\_c \\& \\$d & 7 & 100 \\% \\\\\n\\bottomrule\n\\end{tabular}\n"
    ),
}


@pytest.mark.parametrize("form", FORMATS)
def test_a_table_in_each_format(form: str) -> None:
    assert render(HEADER, ROWS, form) == WANTED[form]


@pytest.mark.parametrize(
    ("form", "wanted"),
    [
        ("text", "k  v\n"),
        ("md", "| k | v |\n| :-- | --: |\n"),
        ("csv", "k,v\n"),
        ("latex", "\\begin{tabular}{lr}\n\\toprule\nk & v \\\\\n\\midrule\n\\bottomrule\n\\end{tabular}\n"),
    ],
)
def test_a_table_without_rows(form: str, wanted: str) -> None:
    assert render(("k", "v"), [], form) == wanted


def test_wide_and_combining_characters_stay_in_line() -> None:
    assert (
        render(("k", "v"), [("猫", "1"), ("e\u0301", "22"), ("ab", "３")]) == "k    v\n猫   1\ne\u0301   22\nab  ３\n"
    )
    assert [width(text) for text in ("", "ab", "猫", "e\u0301", "ｱ", "Ａ")] == [0, 2, 2, 1, 1, 2]


@pytest.mark.parametrize(
    ("form", "wanted"),
    [
        ("text", "k      v\na b c  1\n"),
        ("md", "| k | v |\n| :-- | --: |\n| a b\tc | 1 |\n"),
        ("csv", 'k,v\n"a\nb\tc",1\n'),
    ],
)
def test_a_line_break_in_a_cell_breaks_no_table(form: str, wanted: str) -> None:
    assert render(("k", "v"), [("a\nb\tc", "1")], form) == wanted


def test_a_line_break_in_a_latex_cell_is_a_space() -> None:
    assert "a b & 1 \\\\\n" in render(("k", "v"), [("a\n\nb", "1")], "latex").replace("  ", " ")


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
    assert render((char,), [], "latex").splitlines()[2] == wanted + r" \\"


def test_csv_quotes_what_must_be_quoted() -> None:
    assert render(("a,b", 'say "x"'), [], "csv") == '"a,b","say ""x"""\n'


@pytest.mark.parametrize("hostile", ["\x1b[2J", "\x07", "\x9b1m", "\u202e", "\x7f", "\ud800", "\r"])
def test_control_characters_never_reach_a_terminal(hostile: str) -> None:
    assert plain(f"a{hostile}b\n\tc") == f"a\ufffd{hostile[1:]}b\n\tc"
    for form in ("text", "md", "latex"):
        assert hostile[0] not in render((f"a{hostile}",), [], form)


def test_an_unknown_format_is_a_bug_of_the_caller() -> None:
    with pytest.raises(KeyError, match="html"):
        render(HEADER, ROWS, "html")


def test_columns_of_words_are_set_left() -> None:
    rows = [["a", "b", "10"], ["long", "word", "9"]]
    assert render(["x", "y", "n"], rows, "text", (0, 1)) == "x     y      n\na     b     10\nlong  word   9\n"
    assert render(["x", "y", "n"], rows, "md", (0, 1)).splitlines()[1] == "| :-- | :-- | --: |"
    assert "{llr}" in render(["x", "y", "n"], rows, "latex", (0, 1))
