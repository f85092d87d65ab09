"""Measure the reader of replies: right, unread and wrong, on real replies and, apart from them, on invented ones.

`--replies FILE` (JSON lines with `reply`, `choices`, `expected`, and for a finer table `source` and `kind`) holds real
replies that a person has read. Without it only the re-creations and the invented replies of the tests are measured.
A reply is `right` where the reading is the expected choice, `unread` where a person reads a choice and the rules none,
`wrong` where the rules read another choice, or one where a person reads none. Intervals are 95 % Wilson intervals.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

from cascade.io.tables import percent
from cascade.scoring.extraction.extract import extract
from cascade.scoring.statistics import wilson

TESTS = Path(__file__).parent.parent / "tests" / "scoring"
OUTCOMES = ("right", "unread", "wrong", "right none")


def outcome(row: dict[str, Any]) -> tuple[str, str]:
    """Return the outcome of a row, and the rule that read it; `right none` is no reading where none is expected."""
    choice = extract(row["reply"], row["choices"])
    if choice.text == row["expected"]:
        return ("right" if choice.text else "right none"), choice.how
    return ("wrong" if choice.text else "unread"), choice.how


def measure(rows: list[dict[str, Any]], field: str) -> dict[str, Counter[str]]:
    """Return the counts of outcomes by a field of the rows, or by the `rule` that read them, most frequent first."""
    table: dict[str, Counter[str]] = {}
    for row in rows:
        result, rule = outcome(row)
        name = rule if field == "rule" else str(row.get(field, "")).split("|")[0]
        table.setdefault(name, Counter())[result] += 1
    return dict(sorted(table.items(), key=lambda entry: -entry[1].total()))


def figures(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Return the shares that count: of answerable replies read rightly, and of readings that are wrong."""
    started = time.perf_counter()
    results = Counter(outcome(row)[0] for row in rows)
    seconds = time.perf_counter() - started
    answerable = sum(bool(row["expected"]) for row in rows)
    readings = results["right"] + results["wrong"]
    right, wrong = wilson(results["right"], answerable), wilson(results["wrong"], max(readings, 1))
    return {
        "rows": len(rows),
        "answerable": answerable,
        "read_right": results["right"] / max(answerable, 1),
        "read_right_low": right[0],
        "read_right_high": right[1],
        "wrong": results["wrong"],
        "wrong_of_readings": results["wrong"] / max(readings, 1),
        "wrong_low": wrong[0],
        "wrong_high": wrong[1],
        "replies_per_s": len(rows) / seconds,
    }


def as_text(name: str, rows: list[dict[str, Any]]) -> str:
    """Return the figures and the tables by source, kind and rule of some rows as text."""
    shown = figures(rows)
    lines = [
        f"{name}: {shown['rows']} replies, {shown['answerable']} answerable; {shown['replies_per_s']:.0f} replies a second",
        f"  read right: {percent(shown['read_right'])} % of the answerable "
        f"({percent(shown['read_right_low'])} to {percent(shown['read_right_high'])})",
        f"  wrong: {shown['wrong']}, {percent(shown['wrong_of_readings'])} % of the readings "
        f"({percent(shown['wrong_low'])} to {percent(shown['wrong_high'])})",
    ]
    for field in ("source", "kind", "rule"):
        table = measure(rows, field)
        lines.append(f"  {'by ' + field:<60}" + "".join(f"{title:>12}" for title in OUTCOMES))
        for entry, counts in table.items():
            lines.append(f"    {entry[:56]:<58}" + "".join(f"{counts[title]:>12}" for title in OUTCOMES))
    return "\n".join(lines)


def main() -> None:
    """Print the tables, or one flat JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replies", type=Path, action="append", default=[], metavar="FILE", help="labelled real replies")
    parser.add_argument("--quick", action="store_true", help="accepted like in the other benchmarks; changes nothing")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    given = parser.parse_args()
    sets = {f"real ({file.name})": file for file in given.replies}
    sets |= {"re-created": TESTS / "replies_minimal.jsonl", "invented": TESTS / "extraction_corpus.jsonl"}
    rows = {name: [json.loads(line) for line in file.read_text("utf-8").splitlines()] for name, file in sets.items()}
    if given.json:
        flat = {f"{name} {key}": round(value, 4) for name in rows for key, value in figures(rows[name]).items()}
        print(json.dumps(flat))
    else:
        print("\n\n".join(as_text(name, rows[name]) for name in rows))


if __name__ == "__main__":
    main()
