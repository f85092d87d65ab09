"""A folder in which the commands of a page run offline: small data, a cache, and the runs that the commands name."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

from cascade.datasets import mmar
from tests.support.commands import cascade, rows
from tests.support.doc_pages import Command

SLOTS = "speech=fake,sound=fake,music=fake"
_FAKE = ("--llm", "fake", "--captions", SLOTS)
_KEPT = ("file", "bundle", "oracle", "fake")  # engines that need no weights and no network
_PLANNED = (("run",), ("ablate",), ("reproduce",))
_MODALITIES = ("sound", "music", "speech", "mix-sound-speech")
_CRITERIA = [
    {"name": f"criterion {number}", "scoring_point": "It is stated.", "choices": [0, 1]} for number in range(5)
]


def prepare(folder: Path) -> None:
    """Write MMAR with eight items, a dataset, prediction and caption files, a clip, and caches with captions."""
    questions = list(rows(8, language="en", thinking="The clip says so.", rubric=_CRITERIA))
    for number, row in enumerate(questions):
        row["modality"] = _MODALITIES[number % len(_MODALITIES)]
    hub = folder / "data" / mmar.SOURCE.folder.name
    for place, name in ((hub, "MMAR-meta.jsonl"), (folder / "DIR", "MMAR-meta.jsonl"), (folder, "mine.jsonl")):
        place.mkdir(parents=True, exist_ok=True)
        _write_rows(place / name, questions)
        for row in questions:
            (place / row["audio_path"]).write_bytes(b"clip of " + row["id"].encode())
    (hub / mmar.SOURCE.metadata).write_text(json.dumps(questions))
    (hub / "fetched.json").write_text("{}")
    (folder / "clips").mkdir()
    for row in questions:
        (folder / "clips" / row["audio_path"]).write_bytes(b"clip of " + row["id"].encode())
    reply = {"text": "A caption.", "answer_prediction": "rain", "thinking_prediction": "The clip says so."}
    _write_rows(folder / "theirs.jsonl", [{"id": row["id"], **reply} for row in questions])
    _write_rows(folder / "predictions.jsonl", [{**row, **reply} for row in questions])
    (folder / "clip.wav").write_bytes(b"a clip")
    (folder / "mine.txt").write_text("[instrument] a recording of {}\na cello\na flute\n")
    cache = str(folder / "cache")
    run_offline("caption", "--data", str(hub), "--captions", SLOTS, "--cache", cache)
    run_offline("cache", "export", str(folder / "captions.jsonl.zst"), "--cache", cache)
    shutil.copytree(cache, folder / "other" / "cache")


def _write_rows(file: Path, values: list[dict[str, object]]) -> None:
    file.write_text("".join(json.dumps(value) + "\n" for value in values))


def run_offline(*words: str, codes: tuple[int, ...] = (0,)) -> None:
    """Run a command. Raises AssertionError, with what it printed, if it exits with another code."""
    result = cascade(*words)
    assert result.exit_code in codes, f"cascade {' '.join(words)}\n{result.output}"


def stage_runs(command: Command) -> None:
    """Make the run directories that a command reads."""
    for place, word in enumerate(command.words):
        if place and command.words[place - 1] == "--out":
            continue
        if command.name == ("merge",):
            for number in (1, 2):
                run_offline("run", *_FAKE, "--shard", f"{number}/2", "--out", f"runs/shard-{number}")
        elif word.rstrip("/") == "runs" or word == "more/":
            run_offline("run", *_FAKE, "--out", f"{word.rstrip('/')}/some-run")
        elif word == "RUN" or word.startswith("runs/"):
            _stage_run(Path(word))


def _stage_run(path: Path) -> None:
    if path.exists():
        return
    command = ["ablate", "--variants", "blind"] if path.name.startswith("ablat") else ["run"]
    dataset = "mmar"
    if path.name.startswith("demo"):
        dataset = "demo"
    if path.name.startswith("mine"):
        dataset = "tagged.jsonl"
        _write_rows(Path(dataset), list(rows(8, speaker="one")))
    run_offline(*command, *_FAKE, "--dataset", dataset, "--seed", str(len(path.name)), "--out", str(path))


def offline_words(command: Command) -> list[str]:
    """Return a command's words with the models and the engines replaced by fakes, and without Ray."""
    kept = list[str]()
    words = iter(command.words)
    for word in words:
        if word in ("--captions", "--rounds-with"):
            kept += [word, _offline_captions(next(words))]
        elif word in ("--caption-param", "--backend", "--worker"):
            next(words)
        elif word == "--probe":  # A fake hears nothing.
            continue
        elif word in ("--llm", "--judge", "--reader", "--digest"):
            next(words)
            kept += [word, "fake"]
        else:
            kept.append(word)
    takes_model = command.name in (("run",), ("ablate",), ("ask",), ("doctor",))
    takes_captions = takes_model or command.name in (("caption",), ("prompts", "show"))
    takes_captions = takes_captions or (command.name == ("cache", "export") and "--dataset" in kept)
    if takes_model and "--llm" not in kept:
        kept += ["--llm", "fake"]
    if takes_captions and "--captions" not in kept:
        kept += ["--captions", SLOTS]
    return kept


def _offline_captions(given: str) -> str:
    if given.endswith((".jsonl", ".zst")) and "=" not in given:
        return given
    from cascade.pipeline.parsing import parse_captions

    parts = []
    for slot, engine, parameters in parse_captions(given):
        if engine in _KEPT:
            inner = ",".join(f"{name}={value}" for name, value in parameters.items())
            parts.append(f"{slot}={engine}({inner})" if inner else f"{slot}={engine}")
        else:
            parts.append(f"{slot}=fake")
    return ",".join(parts) or "none"


def run_command(command: Command) -> None:
    """Run a command of a page: as it is written with `--dry-run`, if it has that flag, and with fakes.

    Reproductions, and commands that read a file of flags, are planned only: the models are named elsewhere.
    """
    stage_runs(command)
    planned = "--dry-run" in command.words
    if command.name in _PLANNED:
        extra = () if planned or "--list" in command.words else ("--dry-run",)
        run_offline(*command.name, *command.words, *extra)
        planned = planned or command.name == ("reproduce",) or "--spec" in command.words
    if not planned:
        run_offline(*command.name, *_expanded(offline_words(command)), codes=(0, 3))


def _expanded(words: list[str]) -> Iterator[str]:
    """Yield the words with the shell's patterns replaced by the paths that they match."""
    for word in words:
        if "*" in word:
            yield from sorted(map(str, Path().glob(word)))
        else:
            yield word
