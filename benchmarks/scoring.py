"""What `cascade score` costs beside a bare script that only reads a file of 1000 predictions and matches them.

Both run as whole processes, in turn, on the same generated file; the medians are compared.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

WORDS = [
    "rain",
    "a bell",
    "two people",
    "major",
    "minor",
    "a siren",
    "slow",
    "fast",
    "laughter",
    "piano",
    "drums",
    "wind",
]
BARE = """
import json, re, sys
def tokens(text):
    return set(re.findall(r"\\b\\w+\\b", text.lower()))
right = 0
rows = [json.loads(line) for line in open(sys.argv[1], encoding="utf-8")]
for row in rows:
    said, answer = tokens(row["answer_prediction"]), tokens(row["answer"])
    other = set().union(*(tokens(choice) for choice in row["choices"] if tokens(choice) != answer)) - answer
    right += bool(said) and answer <= said and said.isdisjoint(other)
print(right / len(rows))
"""


def make_file(path: Path, n: int) -> None:
    """`n` questions with four choices and a prediction, seeded."""
    draw = random.Random(0)
    with open(path, "w", encoding="utf-8") as file:
        for number in range(n):
            choices = draw.sample(WORDS, 4)
            row = {"id": f"q{number}", "audio_path": "-", "question": "What is heard?", "choices": choices}
            row |= {"answer": draw.choice(choices), "modality": draw.choice(["speech", "sound", "music"])}
            file.write(json.dumps({**row, "answer_prediction": draw.choice(choices)}) + "\n")


def seconds(command: list[str]) -> float:
    """How long the command takes as a whole process."""
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def measure(runs: int) -> dict[str, float]:
    """Medians of both, taken in turn, and their difference and ratio."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "predictions.jsonl"
        make_file(file, 1000)
        score = [sys.executable, "-m", "cascade", "score", str(file)]
        bare = [sys.executable, "-c", BARE, str(file)]
        pairs = [(seconds(score), seconds(bare)) for _ in range(runs + 1)][1:]
    ours, theirs = (statistics.median(column) for column in zip(*pairs, strict=True))
    return {"score_s": ours, "bare_s": theirs, "score_minus_bare_s": ours - theirs, "score_over_bare": ours / theirs}


def main() -> None:
    """Print the figures, as text or as one flat JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer runs")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    given = parser.parse_args()
    figures = {name: round(value, 4) for name, value in measure(5 if given.quick else 15).items()}
    print(json.dumps(figures) if given.json else "\n".join(f"{name:<20} {value}" for name, value in figures.items()))


if __name__ == "__main__":
    main()
