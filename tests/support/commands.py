"""TODO"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from cascade.cli.app import app
from cascade.io import jsonl

ROOT = Path(__file__).parents[2]


FAKE = ["--captions", "speech=fake", "--llm", "fake"]


def cascade(*args: object) -> Result:
    """Run a command in this process; a bug keeps its traceback."""
    result = CliRunner().invoke(app, [str(arg) for arg in args])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def rows(n: int, **changes: Any) -> Iterator[dict[str, Any]]:
    for number in range(n):
        row = {
            "id": f"q{number}",
            "audio_path": f"{number}.wav",
            "question": f"What is heard in clip {number}?",
            "choices": ["rain", "a bell", "a siren", "wind"],
            "answer": ["rain", "a bell", "a siren", "wind"][number % 4],
            "modality": ["sound", "speech"][number % 2],
            "category": "Perception Layer",
            "cue": [f"secret cue {number}"],
        }
        yield {**row, **changes}


@pytest.fixture
def mini(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A dataset of eight questions with clips of their own, in the current folder."""
    monkeypatch.chdir(tmp_path)
    return write(tmp_path / "mini.jsonl", list(rows(8)))


def write(file: Path, questions: list[dict[str, Any]]) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in questions))
    for row in questions:
        (file.parent / row["audio_path"]).write_bytes(b"clip of " + row["id"].encode())
    return file


def log_of(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def only_run() -> Path:
    (run,) = Path("runs").iterdir()
    return run


def forge(file: Path, change: Callable[[list[dict[str, Any]]], Any]) -> None:
    """Change the records of `run.json` or of a log, and compute their digests anew, as a forger would."""
    text = file.read_text()
    records = [json.loads(text)] if file.suffix == ".json" else list(map(json.loads, text.splitlines()))
    records = [jsonl.without_digest(record) for record in records]
    change(records)
    jsonl.write(file, jsonl.hash_chain(records))
