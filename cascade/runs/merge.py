"""Several runs of one identity merged into one: shards of a job array, or parts made on several machines.

An item that several runs have is taken, with its captions and answers, from the run that asked most of its samples
again because they disagreed; of equals, from the run that answered most of them; of equals, from the first. Answers of
the other runs that differ are counted. The merged run is like one made at once: its items are in the dataset's order,
its files are new hash chains, and it has no shard.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from operator import attrgetter
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from cascade.errors import RunError
from cascade.io import files, jsonl
from cascade.io.jsonl import to_json, without_digest
from cascade.runs import directory
from cascade.runs.charges import Charge, caption_charges
from cascade.runs.directory import Run
from cascade.types import CaptionRecord, Completion, Item

_Owners = Mapping[str, Run]  # by an item's id, the run that the item is taken from


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    """The merged run: its items, how many of them several runs have, and how many answers to these differ."""

    run: Run
    items: int
    shared: int
    conflicts: int


def merge(paths: Sequence[Path], out: Path, *, same_model: bool = False) -> Merged:
    """Write the run that these runs make together, whole or not at all.

    Raises RunError for runs of different identity or, without `same_model`, of different origins, altered ones, shards
    of which some are missing, and an `out` that exists already.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RunError(f"{out} is there already; give --out a new directory")
    runs = [directory.read_run(path) for path in paths]
    for run in runs:
        if run.spec.prompt.mismatch_seed is not None and run.manifest.part:
            raise RunError(f"{run.path}: mismatched captions come from the other items: such a run has no shards")
        directory.check_seals(run.path)  # The merged run has new digests.
    for run in runs[1:]:
        advice = f"merge only the runs that are like {runs[0].path}"
        directory.check_same(run.path, run.spec, runs[0].spec, same_model=same_model, advice=advice)
        if run.spec.prompt != runs[0].spec.prompt:
            raise RunError(f"{run.path} has other headings in its prompts, from another version of cascade; {advice}")
    items, owners = _assign_items(runs)
    _write(out, runs, items, owners)
    counts = Counter[str]()
    for run in runs:
        counts.update(item.id for item in run.items)
    shared = {item for item, count in counts.items() if count > 1}
    # By item and sample, the different last answers of the runs.
    texts: dict[tuple[str, int], set[str]] = {}
    for run in runs if shared else ():
        for sample, answer in directory.last_answers(run.path).items():
            if answer.item in shared and isinstance(answer.result, Completion):
                texts.setdefault(sample, set()).add(answer.result.text)
    conflicts = sum(len(different) > 1 for different in texts.values())
    return Merged(run=directory.read_run(out), items=len(items), shared=len(shared), conflicts=conflicts)


def _assign_items(runs: Sequence[Run]) -> tuple[list[Item], _Owners]:
    """Return the items in the dataset's order, and the run that each is taken from.

    Raises RunError where runs have different items in one place, or some items are in no run (with the shards that no
    run has).
    """
    items: dict[int, Item] = {}
    owners: dict[str, Run] = {}
    most: dict[str, tuple[int, int]] = {}
    for run in runs:
        answered = Counter(item for item, _ in directory.answered_samples(run.path))
        again = Counter[str]()
        if run.spec.rounds and run.spec.rounds.when:
            again.update(item for (item, _), answer in directory.last_answers(run.path).items() if answer.first)
        places: Sequence[int] = ()
        with suppress(ValueError):
            places = run.manifest.part.positions() if run.manifest.part else range(len(run.items))
        if len(places) != len(run.items):
            raise RunError(
                f"{run.path}/run.json: does not say where its items stand; run the command that made it again"
            )
        for place, item in zip(places, run.items, strict=True):
            if items.setdefault(place, item) != item:
                raise RunError(f"{run.path}: {item.id!r} is another item in {owners[items[place].id].path}")
            progress = again[item.id], answered[item.id]
            if item.id not in owners or progress > most[item.id]:
                owners[item.id], most[item.id] = run, progress
    parts = [run.manifest.part for run in runs if run.manifest.part]
    total = max([len(run.items) for run in runs if not run.manifest.part] + [part.total for part in parts])
    if len(items) != total:
        shards = [part.shard for part in parts]  # not empty: without shards, the longest run has every item
        count = int(shards[0].partition("/")[2])
        absent = [f"{number}/{count}" for number in range(1, count + 1) if f"{number}/{count}" not in shards]
        shown = f" (no run is of shard {', '.join(absent[:8])}{', …' * (len(absent) > 8)})" * bool(absent)
        lacking = f"{total - len(items)} of {total} items are in none of these runs{shown}"
        raise RunError(f"{lacking}; give the runs that have them")
    return [items[place] for place in sorted(items)], owners


def _write(out: Path, runs: Sequence[Run], items: Sequence[Item], owners: _Owners) -> None:
    """Write the merged run beside `out`, then rename it."""
    manifests = [run.manifest for run in runs]
    limits = [run.spec.limit for run in runs if run.spec.limit is not None]
    manifest = replace(
        manifests[0],
        spec=replace(runs[0].spec, limit=max(limits) if len(limits) == len(runs) else None),
        created=min(manifest.created for manifest in manifests),
        sessions=tuple(session for manifest in manifests for session in manifest.sessions),
        part=None,
    )
    files.make_folder(out.parent)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as beside:
        folder = Path(beside, out.name)
        folder.mkdir()
        directory.write_manifest(folder, manifest, items)
        captions: dict[str, list[CaptionRecord]] = {item.id: [] for item in items}
        charges = Counter[Charge]()
        for run in runs:
            for caption in directory.read_captions(run.path):
                if owners.get(caption.item) is run:
                    captions[caption.item].append(caption)
            charges |= Counter(caption_charges(run.path))  # A run and its copy have the same charges, which count once.
        directory.write_captions(folder, chain.from_iterable(captions.values()))
        if charges:
            lines = map(to_json, sorted(charges.elements(), key=attrgetter("at")))
            jsonl.write(folder / "charges.jsonl", jsonl.hash_chain(lines))
        with open(folder / "log.jsonl", "w", encoding="utf-8", newline="\n") as file:
            file.writelines(jsonl.dumps(line) + "\n" for line in jsonl.hash_chain(_log_lines(runs, owners)))
        folder.replace(out)


def _log_lines(runs: Sequence[Run], owners: _Owners) -> Iterator[dict[str, Any]]:
    """Yield the log's lines of each item from its run, without their digests; failed attempts are among them.

    The first line names the merged run, where the first run's log names its own.
    """
    first = {"run": owner} if (owner := directory.log_owner(runs[0].path)) else {}
    for run in runs:
        for line in jsonl.read(run.path / "log.jsonl", growing=True):
            if owners.get(line["item"]) is run:
                fields = without_digest(line)
                fields.pop("run", None)
                yield {**fields, **first}
                first = {}
