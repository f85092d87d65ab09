"""A corpus of replies as models write them: none is read wrongly, and as few as now are left unread."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from cascade.scoring.extraction.extract import extract

CORPUS = Path(__file__).parent / "extraction_corpus.jsonl"
ROWS: list[dict[str, Any]] = [json.loads(line) for line in CORPUS.read_text(encoding="utf-8").splitlines()]
KINDS = list(dict.fromkeys(row["kind"] for row in ROWS))
# Invented replies that a person would read and these rules do not, because no real reply justified a rule for them.
UNREAD_AT_MOST = 282


def outcome(row: dict[str, Any]) -> str:
    """Return `right`, `unread` (a person would read it) or `wrong` (read as another choice)."""
    text = extract(row["reply"], row["choices"]).text
    if text == row["expected"]:
        return "right"
    return "wrong" if text else "unread"


def test_the_corpus_is_large_and_well_formed() -> None:
    assert len(ROWS) >= 1000 and len(KINDS) >= 35
    assert min(Counter(row["kind"] for row in ROWS).values()) >= 3
    assert len({(row["reply"], *row["choices"]) for row in ROWS}) == len(ROWS)
    for row in ROWS:
        assert set(row) == {"kind", "reply", "choices", "expected"}
        assert row["expected"] == "" or row["expected"] in row["choices"], row
    named = sum(row["expected"] != "" for row in ROWS)
    assert named > 400 and len(ROWS) - named > 400  # Both to be read and to be left alone.


@pytest.mark.parametrize("kind", KINDS)
def test_no_reply_is_read_wrongly(kind: str) -> None:
    rows = [row for row in ROWS if row["kind"] == kind]
    assert rows
    assert [row for row in rows if outcome(row) == "wrong"] == []


def test_no_more_replies_are_unread_than_before() -> None:
    unread = [row["reply"] for row in ROWS if outcome(row) == "unread"]
    assert len(unread) <= UNREAD_AT_MOST, unread
