"""Measure the reader of replies on `tests/scoring/extraction_corpus.jsonl`: right, unread and wrong by kind.

`right` is the expected choice, or no choice where none is expected; `unread` is no choice where a person would read
a choice; `wrong` is any other choice, or a choice where none is expected.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

from cascade.scoring.extraction.extract import extract

CORPUS = Path(__file__).parent.parent / "tests" / "scoring" / "extraction_corpus.jsonl"
OUTCOMES = ("right", "unread", "wrong")


def outcome(row: dict[str, Any]) -> str:
    """Return which of the three the reading of a row is."""
    text = extract(row["reply"], row["choices"]).text
    if text == row["expected"]:
        return "right"
    return "wrong" if text else "unread"


def measure(rows: list[dict[str, Any]]) -> dict[str, Counter[str]]:
    """Return the counts of outcomes by kind, in the order of the corpus."""
    table: dict[str, Counter[str]] = {}
    for row in rows:
        table.setdefault(row["kind"], Counter())[outcome(row)] += 1
    return table


def ratios(table: dict[str, Counter[str]], seconds: float) -> dict[str, float]:
    """Return the shares of all rows, and the replies read in a second."""
    total = sum(table.values(), Counter[str]())
    shares = {f"extraction_{name}": total[name] / total.total() for name in OUTCOMES}
    return {"extraction_rows": total.total(), **shares, "extraction_replies_per_s": total.total() / seconds}


def as_text(table: dict[str, Counter[str]]) -> str:
    """Return the table as text, a kind a line, with its sum."""
    lines = [f"{'kind':<22}" + "".join(f"{name:>8}" for name in OUTCOMES)]
    for kind, counts in [*table.items(), ("all", sum(table.values(), Counter[str]()))]:
        lines.append(f"{kind:<22}" + "".join(f"{counts[name]:>8}" for name in OUTCOMES))
    return "\n".join(lines)


def main() -> None:
    """Print the table, or one flat JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="accepted like in the other benchmarks; changes nothing")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    given = parser.parse_args()
    rows = [json.loads(line) for line in CORPUS.read_text(encoding="utf-8").splitlines()]
    started = time.perf_counter()
    table = measure(rows)
    figures = ratios(table, time.perf_counter() - started)
    print(json.dumps({name: round(value, 4) for name, value in figures.items()}) if given.json else as_text(table))


if __name__ == "__main__":
    main()
