"""Run directories: created, resumed and read; each explains itself.

    run.json        what was asked for, with the template's text, and what with; written first, whole, atomically
    items.jsonl     the questions, in the order in which they were asked; `run.json` has the file's digest
    captions.jsonl  what was heard, an item and slot a line: key, text and meta, or the failure; written before asking
    log.jsonl       append-only, one answer a line, raw as the model gave it; the last line of an item and sample wins
    judge.jsonl     append-only, what a judge said of the answers (`judgements`), where one was asked

Anything else in a run directory can be deleted and rebuilt. The lines of captions and log, and `run.json`, end in a
`digest` of the rest and of the line before, so that `cascade verify` finds what was changed by hand.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from cascade.errors import RunError
from cascade.io import jsonl
from cascade.io.digests import digest, digest_bytes
from cascade.io.jsonl import RecordLog, from_json, records, to_json, without_digest
from cascade.runs.provenance import Session, now
from cascade.types import Answer, CaptionRecord, Completion, Failure, Item, Record, RunSpec, Shard

_FORMAT = 2


class Manifest(Record, frozen=True, kw_only=True):
    """The content of `run.json`. `audio_root` is where the clips were; `data_version` and `licence` the dataset's.

    `items` is the digest of items.jsonl's lines, in any order. `sessions` are the sittings that the run took, but for
    those that were like the one before. `part` says which shard of the items it has, None that it has all.
    """

    format: int
    spec: RunSpec
    template: str
    created: str
    sessions: tuple[Session, ...]
    items: str = ""
    data_version: str = ""
    licence: str = ""
    audio_root: str = ""
    part: Shard | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A run directory as it was read."""

    path: Path
    manifest: Manifest
    items: tuple[Item, ...]

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r}, {len(self.items)} items)"

    @property
    def spec(self) -> RunSpec:
        """What was asked for."""
        return self.manifest.spec

    def to_rows(self) -> list[dict[str, Any]]:
        """Return a row an item and sample that was asked; cost in US dollars."""
        rows: list[dict[str, Any]] = []
        for answer in last_answers(self.path).values():
            row = {"item": answer.item, "sample": answer.sample, "reply": None, "failure": None}
            tokens = {"input_tokens": None, "output_tokens": None}
            if isinstance(answer.result, Failure):
                row["failure"] = f"{answer.result.kind}: {answer.result.message}"
            else:
                row["reply"] = answer.result.text
                tokens = {name: getattr(answer.result, name) for name in tokens}
            rows.append({**row, **tokens, "cost": answer.result.cost})
        return rows


def identity(spec: RunSpec) -> str:
    """The digest that names a run: all that can change a result but the number of items, which may grow."""
    return digest(to_json(replace(spec, limit=None)))


def default_directory(runs: Path, spec: RunSpec) -> Path:
    """`<dataset>-<model>-<digest>` under the folder of runs."""
    model = spec.llm.model.split("@")[0]
    name = re.sub(r"[^A-Za-z0-9.]+", "-", f"{spec.dataset}-{model}").strip("-.")
    return runs / f"{name[:80]}-{identity(spec).removeprefix('b2:')[:8]}"


def new_manifest(
    spec: RunSpec, template: str, session: Session, *, part: Shard | None = None, **dataset: str
) -> Manifest:
    """A new run's manifest, in its first sitting."""
    return Manifest(
        format=_FORMAT, spec=spec, template=template, created=now(), sessions=(session,), part=part, **dataset
    )


@contextmanager
def open_run(path: Path, wanted: Manifest, items: tuple[Item, ...]) -> Iterator[tuple[Run, RecordLog]]:
    """Create a run directory, or go on with one of the same identity; yields it and its log, locked for this process.

    A directory that holds more items than are asked for keeps them. Raises RunError for a directory of another run, one
    that is no run, and one that another process is writing.
    """
    _usable(path, wanted)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{path}: cannot be made there ({error.strerror}); give --out another directory") from error
    with jsonl.Appender(path / "log.jsonl") as lines:
        log = RecordLog(lines, path / "log.jsonl")
        if (path / "run.json").exists() and (path / "items.jsonl").exists():
            wanted, items = _resumed(path, wanted, items)
        wanted = write_manifest(path, wanted, items)
        yield Run(path=path, manifest=wanted, items=items), log


def copy_run(source: Path, path: Path) -> None:
    """Make a run directory of what another one has, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        shutil.copytree(source, Path(folder, path.name)).rename(path)


def write_manifest(path: Path, wanted: Manifest, items: Iterable[Item]) -> Manifest:
    """Write `run.json` and `items.jsonl`; returns the manifest with the items' digest in it."""
    text = jsonl.text(map(to_json, items))
    wanted = replace(wanted, items=_lines_digest(text.encode()))
    written = json.dumps(jsonl.with_digest(to_json(wanted)), indent=2, ensure_ascii=False)
    jsonl.write_text(path / "run.json", written + "\n")
    jsonl.write_text(path / "items.jsonl", text)
    return wanted


def _resumed(path: Path, wanted: Manifest, items: tuple[Item, ...]) -> tuple[Manifest, tuple[Item, ...]]:
    """The manifest and items of a run that goes on: the larger number of items stays."""
    earlier, known = _manifest(path), tuple(records(Item, path / "items.jsonl"))
    larger = len(known) > len(items)
    same = replace(wanted.sessions[0], at=earlier.sessions[-1].at) == earlier.sessions[-1]
    sessions = earlier.sessions if same else (*earlier.sessions, *wanted.sessions)
    chosen = earlier if larger else wanted
    together = replace(earlier, spec=chosen.spec, part=chosen.part, sessions=sessions, audio_root=wanted.audio_root)
    return together, known if larger else items


def _usable(path: Path, wanted: Manifest) -> None:
    if (path / "run.json").exists():
        there = _manifest(path)
        check_same(path, there.spec, wanted.spec)
        shards = [one.part.shard if one.part else "1/1" for one in (there, wanted)]
        if shards[0] != shards[1]:
            raise RunError(
                f"{path} holds shard {shards[0]}, and {shards[1]} is asked for; give --out another directory"
            )
    elif path.exists() and (not path.is_dir() or any(not _is_leftover(file) for file in path.iterdir())):
        raise RunError(f"{path} is no run directory and not empty; give --out a new or empty one")


def _is_leftover(file: Path) -> bool:
    """Whether a start that was killed may have left it: an empty log, or a `run.json` that was not yet whole."""
    return file.name == "log.jsonl" or file.name.startswith(".run.json.")


def check_same(path: Path, there: RunSpec, here: RunSpec) -> None:
    """Raise RunError, with what differs, where the run in `path` has another identity than the one that is here."""
    if identity(there) == identity(here):
        return
    old, new = _flat(to_json(there)), _flat(to_json(here))
    other = sorted(key for key in old.keys() | new.keys() if key != "limit" and old.get(key) != new.get(key))
    shown = "; ".join(f"{key} is {old.get(key)!r} there, {new.get(key)!r} here" for key in other[:3])
    names = [",".join(f"{one.slot}={one.name}" for one in spec.captioners) or "none" for spec in (there, here)]
    if names[0] != names[1]:  # the first of its parameters would say less
        shown = f"captions are {names[0]} there, {names[1]} here"
    raise RunError(f"{path} holds another run ({shown}); give --out another directory")


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    flat = {key: part for name, inner in parts for key, part in _flat(inner, f"{prefix}.{name}".lstrip(".")).items()}
    return flat or {prefix: value}


def read_run(path: Path) -> Run:
    """A run directory. Raises RunError, with file and line, where it is none, is damaged, or has other items."""
    found, file = _manifest(path), path / "items.jsonl"
    items = tuple(records(Item, file))
    if found.items and _lines_digest(file.read_bytes()) != found.items:
        raise RunError(f"{file}: these are not the items that run.json names; run the command that made it again")
    if bare := next((item.id for item in items if not item.choices), None):
        raise RunError(f"{file}: {bare!r} has no choices; run the command that made it again")
    return Run(path=path, manifest=found, items=items)


def _lines_digest(content: bytes) -> str:
    """Items may stand in any order, but none may be added, changed or taken out: a score would be of other items."""
    return digest_bytes(b"\n".join(sorted(content.splitlines())))


def _below(path: Path) -> str:
    """What to type where the runs lie in the folder that was given, as those of an ablation do."""
    found = sorted(file.parent for file in path.glob("*/run.json"))
    return f"; there are {len(found)} in it: give {path}/*, or one: {found[0]}" if found else ""


def _manifest(path: Path) -> Manifest:
    file = path / "run.json"
    try:
        content = jsonl.loads(file.read_bytes())
        if isinstance(content, dict) and content.get("format") != _FORMAT:
            raise RunError(
                f"{file} has format {content.get('format')!r}, this cascade reads {_FORMAT}: use the one that made it"
            )
        found = from_json(Manifest, without_digest(content))
        if not found.sessions:
            raise ValueError("Manifest: sessions must hold one or more")
        return found
    except FileNotFoundError:
        raise RunError(f"{path} is no run directory: it has no run.json{_below(path)}") from None
    except ValueError as error:
        raise RunError(f"{file}: cannot be read as a run's manifest ({error})") from error


def last_answers(path: Path) -> dict[tuple[str, int], Answer]:
    """The last answer of each (item, sample) in the log."""
    log = records(Answer, path / "log.jsonl", growing=True)
    return {(answer.item, answer.sample): answer for answer in log}


def answered_samples(path: Path) -> set[tuple[str, int]]:
    """Each (item, sample) whose last answer is a completion; held are only these, however long the log is."""
    done: set[tuple[str, int]] = set()
    for answer in records(Answer, path / "log.jsonl", growing=True):
        (done.add if isinstance(answer.result, Completion) else done.discard)((answer.item, answer.sample))
    return done


def mean_reply_tokens(results: Iterable[Completion | Failure]) -> float | None:
    """The mean of the replies' tokens, where they are known; None before any is."""
    told = [one.output_tokens for one in results if isinstance(one, Completion) and one.output_tokens is not None]
    return sum(told) / len(told) if told else None


def total_cost(path: Path) -> float:
    """What the log's answers have cost together, in US dollars, where it is known; those that were tried again too."""
    return sum(answer.result.cost or 0.0 for answer in records(Answer, path / "log.jsonl", growing=True))


def write_captions(path: Path, heard: Iterable[CaptionRecord]) -> None:
    """Replace the run's captions, whole or not at all."""
    jsonl.write(path / "captions.jsonl", jsonl.hash_chain(map(to_json, heard)))


def read_captions(path: Path) -> list[CaptionRecord]:
    """What was heard, in the order of items and slots."""
    return list(records(CaptionRecord, path / "captions.jsonl"))
