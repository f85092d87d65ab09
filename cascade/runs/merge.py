"""Several runs of one identity as one: shards of a job array, or sittings on several machines.

Where an item stands in several of them, all of it (captions and answers, which belong together) comes from the run that
answered most of its samples; of equals, from the one that was named first. What the others say differently is counted.
The merged run is as one run would be: items in the dataset's order, every line sealed, nothing of the shards left.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from cascade.errors import RunError
from cascade.io import jsonl
from cascade.runs import directory
from cascade.runs.directory import Run
from cascade.types import CaptionRecord, Completion, Item


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    """The run that was written: its items, how many were in several runs, and how many answers to these differed."""

    run: Run
    items: int
    shared: int
    conflicts: int


def merge(paths: Sequence[Path], out: Path) -> Merged:
    """Write the run that these runs are together, whole or not at all.

    Raises RunError for runs of different identity, damaged ones, shards of which some are missing, and an `out` that is
    there already.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RunError(f"{out} is there already; give --out a new directory")
    found = [_whole(directory.read_run(path)) for path in paths]
    for other in found[1:]:
        directory.check_same(other.path, other.spec, found[0].spec)
    items, owners = _owners(found)
    folder = _beside(out)
    try:
        _write(folder, found, items, owners)
        os.chmod(folder, 0o777 & ~jsonl.umask())
        os.replace(folder, out)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    shared = [name for name, count in Counter(item.id for run in found for item in run.items).items() if count > 1]
    conflicts = sum(len(texts) > 1 for texts in _texts(found, set(shared)).values())
    return Merged(run=directory.read_run(out), items=len(items), shared=len(shared), conflicts=conflicts)


def _beside(out: Path) -> Path:
    """A new folder on the disk of the one that it becomes."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
    except OSError as error:
        raise RunError(f"{out}: cannot be made there ({error.strerror}); give --out another directory") from error


def _whole(run: Run) -> Run:
    """The run, if nothing in it was changed by hand: what is sealed anew must have been sealed before."""
    if run.spec.prompt.mismatch_seed is not None and run.manifest.part:
        raise RunError(f"{run.path}: mismatched captions come from the other items: such a run has no shards")
    files = {name: jsonl.read(run.path / name, growing=True) for name in ("captions.jsonl", "log.jsonl")}
    files["run.json"] = iter([json.loads((run.path / "run.json").read_bytes())])
    for name, lines in files.items():
        if next(jsonl.broken_links(lines), None) is not None:
            raise RunError(f"{run.path}/{name}: it was changed after it was written; `cascade verify` says where")
    return run


# Which run has which item


def _owners(found: Sequence[Run]) -> tuple[list[Item], dict[str, int]]:
    """The items in the dataset's order, and for each (by id) the number of the run that it is taken from."""
    items: dict[int, Item] = {}
    owners: dict[str, int] = {}
    most: dict[str, int] = {}
    for number, run in enumerate(found):
        done = Counter(name for name, _ in directory.answered_samples(run.path))
        for place, item in zip(_places(run), run.items, strict=True):
            if items.setdefault(place, item) != item:
                raise RunError(f"{run.path}: {item.id!r} is another item in {found[owners[items[place].id]].path}")
            if item.id not in owners or done[item.id] > most[item.id]:
                owners[item.id], most[item.id] = number, done[item.id]
    _complete(found, items)
    return [items[place] for place in sorted(items)], owners


def _places(run: Run) -> Sequence[int]:
    part = run.manifest.part
    try:
        places = part.positions() if part else range(len(run.items))
    except ValueError:
        places = []
    if len(places) != len(run.items):
        raise RunError(f"{run.path}/run.json: does not say where its items stand; run the command that made it again")
    return places


def _complete(found: Sequence[Run], items: Mapping[int, Item]) -> None:
    total = max(run.manifest.part.total if run.manifest.part else len(run.items) for run in found)
    if missing := total - len(items):
        parts = [run.manifest.part.shard for run in found if run.manifest.part]
        of = parts[0].partition("/")[2] if parts else "1"
        absent = [f"{number}/{of}" for number in range(1, int(of) + 1) if f"{number}/{of}" not in parts]
        shown = f" (no run is of shard {', '.join(absent[:8])}{', …' if len(absent) > 8 else ''})" if absent else ""
        raise RunError(f"{missing} of {total} items are in none of these runs{shown}; give the runs that have them")


def _texts(found: Sequence[Run], shared: set[str]) -> dict[tuple[str, int], set[str]]:
    """What the runs' last answers say, for the items that are in several."""
    said: dict[tuple[str, int], set[str]] = {}
    for run in found if shared else ():
        for at, answer in directory.last_answers(run.path).items():
            if answer.item in shared and isinstance(answer.result, Completion):
                said.setdefault(at, set()).add(answer.result.text)
    return said


# Writing


def _write(folder: Path, found: Sequence[Run], items: Sequence[Item], owners: Mapping[str, int]) -> None:
    limits = [run.spec.limit for run in found]
    limit = None if None in limits else max(one for one in limits if one is not None)
    manifests = [run.manifest for run in found]
    together = replace(
        manifests[0],
        spec=replace(found[0].spec, limit=limit),
        created=min(one.created for one in manifests),
        sessions=tuple(session for one in manifests for session in one.sessions),
        part=None,
    )
    directory.write_manifest(folder, together, items)
    directory.write_captions(folder, _captions(found, items, owners))
    with open(folder / "log.jsonl", "w", encoding="utf-8", newline="\n") as file:
        file.writelines(jsonl.dumps(line) + "\n" for line in jsonl.hash_chain(_answers(found, owners)))


def _captions(found: Sequence[Run], items: Sequence[Item], owners: Mapping[str, int]) -> Iterator[CaptionRecord]:
    heard: dict[str, list[CaptionRecord]] = {}
    for number, run in enumerate(found):
        for one in directory.read_captions(run.path):
            if owners.get(one.item) == number:
                heard.setdefault(one.item, []).append(one)
    for item in items:
        yield from heard.get(item.id, ())


def _answers(found: Sequence[Run], owners: Mapping[str, int]) -> Iterator[dict[str, Any]]:
    """The log's lines as they stand, tries that failed too, of each item from its run."""
    for number, run in enumerate(found):
        for line in jsonl.read(run.path / "log.jsonl", growing=True):
            if owners.get(line["item"]) == number:
                yield {name: part for name, part in line.items() if name != "digest"}
