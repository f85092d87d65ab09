"""What `cascade score` and `cascade --help` cost as whole processes, beside scripts that do the least that they could.

`score` is beside a script that reads a file of 1000 predictions, matches them by the official rule and prints three
breakdowns; `--help` is beside `python -c "import typer"`. The two of a pair run in turn, with bytecode kept, and a
ratio is the median of the pairs' own ratios, so that other work on the machine weighs on both alike. The processor's
time is given beside the clock's.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
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
TAGS = {
    "modality": ["speech", "sound", "music"],
    "category": ["Signal Layer", "Semantic Layer"],
    "sub-category": ["Counting", "Music Theory", "Content Analysis"],
}
BARE = """
import json, re, sys
def tokens(text):
    return set(re.findall(r"\\b\\w+\\b", text.lower()))
def right(row):
    said, answer = tokens(row["answer_prediction"]), tokens(row["answer"])
    other = set().union(*(tokens(choice) for choice in row["choices"] if tokens(choice) != answer)) - answer
    return bool(said) and answer <= said and said.isdisjoint(other)
counts = {"modality": {}, "category": {}, "sub-category": {}}
total = []
for line in open(sys.argv[1], encoding="utf-8"):
    row = json.loads(line)
    total.append(right(row))
    for tag, values in counts.items():
        values.setdefault(row[tag], []).append(total[-1])
print(sum(total) / len(total))
for tag, values in counts.items():
    for value, hits in values.items():
        print(tag, value, len(hits), sum(hits) / len(hits))
"""


def make_file(path: Path, n: int) -> None:
    """`n` questions with four choices and a prediction, seeded."""
    draw = random.Random(0)
    with open(path, "w", encoding="utf-8") as file:
        for number in range(n):
            choices = draw.sample(WORDS, 4)
            row = {"id": f"q{number}", "audio_path": "-", "question": "What is heard?", "choices": choices}
            row |= {"answer": draw.choice(choices), "thinking_prediction": " ".join(draw.choices(WORDS, k=300))}
            row |= {tag: draw.choice(values) for tag, values in TAGS.items()}
            file.write(json.dumps({**row, "answer_prediction": draw.choice(choices)}) + "\n")


class Cost(NamedTuple):
    """Seconds by the clock and of the processor."""

    clock: float
    cpu: float


def measure(arguments: list[str], env: dict[str, str]) -> Cost:
    """Return what Python with these arguments costs as a whole process."""
    started = time.perf_counter()
    job = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.DEVNULL, env=env)
    _, status, used = os.wait4(job.pid, 0)
    job.returncode = os.waitstatus_to_exitcode(status)
    if job.returncode:
        raise SystemExit(f"{arguments[:3]}: exit code {job.returncode}")
    return Cost(time.perf_counter() - started, used.ru_utime + used.ru_stime)


def compare(name: str, ours: list[str], theirs: list[str], env: dict[str, str], runs: int) -> dict[str, float]:
    """Return the medians of two commands that run in turn, and of the ratios pair by pair."""
    pairs = [(measure(ours, env), measure(theirs, env)) for _ in range(runs + 1)][1:]
    figures = {}
    for kind in ("clock", "cpu"):
        times = [(getattr(our, kind), getattr(their, kind)) for our, their in pairs]
        unit = "s" if kind == "clock" else "cpu_s"
        figures[f"{name}_{unit}"] = statistics.median(our for our, _ in times)
        figures[f"{name}_bare_{unit}"] = statistics.median(their for _, their in times)
        suffix = "" if kind == "clock" else "_cpu"
        figures[f"{name}_over_bare{suffix}"] = statistics.median(our / their for our, their in times)
    return figures


def measure_all(runs: int) -> dict[str, float]:
    """Return the figures of `score` and of `--help`."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    with tempfile.TemporaryDirectory() as folder:
        env |= {"PYTHONPATH": path, "PYTHONPYCACHEPREFIX": str(Path(folder, "bytecode"))}
        file = Path(folder, "predictions.jsonl")
        make_file(file, 1000)
        score = compare("score", ["-m", "cascade", "score", str(file)], ["-c", BARE, str(file)], env, runs)
        return score | compare("help", ["-m", "cascade", "--help"], ["-c", "import typer"], env, runs)


def main() -> None:
    """Print the figures, as text or as one flat JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer runs")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    given = parser.parse_args()
    figures = {name: round(value, 4) for name, value in measure_all(5 if given.quick else 15).items()}
    print(json.dumps(figures) if given.json else "\n".join(f"{name:<22} {value}" for name, value in figures.items()))


if __name__ == "__main__":
    main()
