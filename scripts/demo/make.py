"""Makes the demo set again: questions of our own over clips of synthesised speech, sound and music.

    python scripts/demo/make.py [--out DIR]

It needs numpy, soundfile and the command `flite` (Debian: apt install flite) with its voices slt, awb and rms. With the
same versions of these it writes the same bytes. What it wrote is checked before it ends.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

from questions import QUESTIONS, Question

OUT = Path(__file__).resolve().parents[2] / "cascade" / "datasets" / "demo_set"
LAYERS = {
    "Signal": {"Acoustic Quality Analysis", "Anomaly Detection", "Audio Difference Analysis"},
    "Perception": {
        "Correlation Analysis",
        "Counting and Statistics",
        "Environmental Perception and Reasoning",
        "Music Theory",
        "Spatial Analysis",
        "Temporal Analysis",
    },
    "Semantic": {"Content Analysis", "Emotion and Intention", "Speaker Analysis"},
    "Cultural": {"Aesthetic Evaluation", "Culture of Speaker", "Imagination", "Professional Knowledge and Reasoning"},
}
NEEDS = {"numpy": "pip install numpy", "soundfile": "pip install soundfile", "flite": "apt install flite"}
SHORTEST, LONGEST = 3.0, 30.0  # seconds a clip
LOUDEST = 0.99
STEPS = 4096  # 13 bits, rounding 74 dB under full scale: two thirds of the size of 16
MOST_BYTES = 4_000_000


def main() -> int:
    """Writes and checks the set."""
    parser = argparse.ArgumentParser(description="Makes the demo set again.")
    parser.add_argument("--out", type=Path, default=OUT, metavar="DIR", help="default: %(default)s")
    out: Path = parser.parse_args().out
    if missing := _missing():
        print(f"make.py needs {', '.join(f'{name} ({NEEDS[name]})' for name in missing)}", file=sys.stderr)
        return 2
    rows = _rows()
    _write(out, rows)
    for problem in (problems := [*_row_problems(rows), *_coverage_problems(rows), *_clip_problems(out)]):
        print(problem, file=sys.stderr)
    if not problems:
        print(f"{len(rows)} questions over {len(_numbers())} clips, {_size(out) / 1e6:.2f} MB: {out}")
    return 1 if problems else 0


def _missing() -> list[str]:
    packages = [name for name in ("numpy", "soundfile") if find_spec(name) is None]
    return packages + [name for name in ("flite",) if shutil.which(name) is None]


def _mingled() -> Iterator[tuple[str, Question]]:
    """The questions with their modalities, one of each in turn, so that the first seven show all seven."""
    turns = zip_longest(*([(modality, one) for one in questions] for modality, questions in QUESTIONS.items()))
    return (pair for pair in chain.from_iterable(turns) if pair is not None)


def _numbers() -> dict[str, int]:
    """The clips that are asked about, numbered in the order of the questions."""
    clips = dict.fromkeys(question.clip for _, question in _mingled())
    return {clip: number for number, clip in enumerate(clips, 1)}


def _audio_path(clip: str) -> str:
    return f"audio/{_numbers()[clip]:02d}.flac"


def _rows() -> list[dict[str, Any]]:
    return [_row(f"demo-{number:02d}", *pair) for number, pair in enumerate(_mingled(), 1)]


def _row(name: str, modality: str, asked: Question) -> dict[str, Any]:
    layer, _, kind = asked.kind.partition(": ")
    return {
        "id": name,
        "audio_path": _audio_path(asked.clip),
        "question": asked.question,
        "choices": [choice.removeprefix("*") for choice in asked.choices],
        "answer": "".join(choice[1:] for choice in asked.choices if choice.startswith("*")),
        "modality": modality,
        "category": f"{layer} Layer",
        "sub-category": kind,
        "cue": list(asked.cue),
    }


def _write(out: Path, rows: list[dict[str, Any]]) -> None:
    import numpy as np
    import soundfile
    from clips import CLIPS
    from sounds import RATE

    (out / "audio").mkdir(parents=True, exist_ok=True)
    for clip, number in _numbers().items():
        samples = CLIPS[clip](np.random.default_rng(number))
        soundfile.write(out / _audio_path(clip), np.round(samples * STEPS) / STEPS, RATE, "PCM_16", format="FLAC")
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    (out / "questions.jsonl").write_text("".join(lines), encoding="utf-8", newline="\n")


def _size(out: Path) -> int:
    return sum(path.stat().st_size for path in out.rglob("*") if path.is_file())


def _row_problems(rows: list[dict[str, Any]]) -> Iterator[str]:
    seen: set[str] = set()
    for row in rows:
        if row["id"] in seen:
            yield f"{row['id']}: stands twice"
        if row["choices"].count(row["answer"]) != 1 or len(set(row["choices"])) < len(row["choices"]):
            yield f"{row['id']}: one choice, and one only, must be right: {row['choices']}"
        if row["sub-category"] not in LAYERS[row["category"].removesuffix(" Layer")]:
            yield f"{row['id']}: {row['sub-category']!r} is not of the {row['category']}"
        seen.add(row["id"])


def _coverage_problems(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Too few questions of a modality, of a layer, or with the right choice at one of the four places."""
    layers = [("category", f"{name} Layer", 3) for name in LAYERS]
    for field, value, least in [("modality", name, 4) for name in QUESTIONS] + layers:
        if (count := sum(row[field] == value for row in rows)) < least:
            yield f"{field} {value}: {count} questions, {least} are needed"
    places = [row["choices"].index(row["answer"]) for row in rows if len(row["choices"]) == 4]
    for place in range(4):
        if not 0.15 <= (share := places.count(place) / len(places)) <= 0.35:
            yield f"choice {place + 1} of four is right in {share:.0%} of the questions"


def _clip_problems(out: Path) -> Iterator[str]:
    import numpy as np
    import soundfile

    for clip in _numbers():
        samples, rate = soundfile.read(out / _audio_path(clip))
        if not SHORTEST <= len(samples) / rate <= LONGEST:
            yield f"{clip}: {len(samples) / rate:.1f} s long"
        if not 0.1 <= np.abs(samples).max() <= LOUDEST:
            yield f"{clip}: the highest sample is {np.abs(samples).max():.3f}"
    wanted = {out / _audio_path(clip) for clip in _numbers()}
    for stray in sorted(set((out / "audio").iterdir()) - wanted):
        yield f"{stray}: no question is about it"
    if _size(out) > MOST_BYTES:
        yield f"{out}: {_size(out) / 1e6:.2f} MB, more than {MOST_BYTES / 1e6:.0f}"


if __name__ == "__main__":
    sys.exit(main())
