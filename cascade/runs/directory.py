"""Create, resume, find and read run directories. A run directory is complete: no other file is needed to read it.

    run.json        the spec, the template's text, and the sessions that made the run; written first, atomically
    items.jsonl     the questions, in the order in which they were asked; `run.json` has the file's digest
    captions.jsonl  one caption or failure per line, for each item and slot: key, text and meta; written before asking
    log.jsonl       append-only, one unchanged answer per line; the last line of an item and sample counts
    judge.jsonl     append-only, a judge's replies about the answers (`call_log`), if there is a judge
    reader.jsonl    append-only, a second reader's replies about the answers that the rules leave unread
    charges.jsonl   append-only, the charges of calls for captions against a budget, if there is one

Every other file can be deleted and rebuilt. The lines of captions and log form a hash chain, and `run.json` ends in its
own digest, so that `cascade verify` finds later changes.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from msgspec import UNSET
from msgspec.structs import replace

from cascade.errors import NOT_APPLICABLE, RunError
from cascade.io import files, jsonl
from cascade.io.digests import digest, digest_bytes
from cascade.io.jsonl import RecordLog, from_json, records, to_json, without_digest
from cascade.io.terminal import note
from cascade.prompting import templates
from cascade.prompting.templates import Template
from cascade.runs.costs import total
from cascade.runs.describe import captioners_label
from cascade.runs.provenance import Session, now
from cascade.types import Answer, CaptionRecord, Completion, Failure, Item, LLMSpec, Record, RunSpec, Shard

_FORMAT = 2
_OUT = "give --out another directory"


class Manifest(Record, frozen=True, kw_only=True):
    """The content of `run.json`.

    `sessions` made the run; one that equals the previous one is left out. `items` is the digest of the lines of
    items.jsonl, in any order. `data_version` and `licence` belong to the dataset, `audio_root` is the folder of the
    clips. `part` is the shard of the items that the run has; None means all items.
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

    @property
    def shard(self) -> str:
        """The shard of the items that the run has; `1/1` is all of them."""
        return self.part.shard if self.part else "1/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """The content of a run directory, without captions and answers."""

    path: Path
    manifest: Manifest
    items: tuple[Item, ...]

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r}, {len(self.items)} items)"

    @property
    def spec(self) -> RunSpec:
        """The spec of the run."""
        return self.manifest.spec

    def __fspath__(self) -> str:
        return str(self.path)

    def to_rows(self) -> list[dict[str, Any]]:
        """Return one row per item and sample that was asked; cost in US dollars."""
        rows: list[dict[str, Any]] = []
        for answer in last_answers(self.path).values():
            row = {"item": answer.item, "sample": answer.sample, "reply": None, "failure": None}
            tokens = {"input_tokens": None, "output_tokens": None}
            result = total(answer)
            if isinstance(result, Failure):
                row["failure"] = f"{result.kind}: {result.message}"
            else:
                row["reply"] = result.text
                tokens = {name: getattr(result, name) for name in tokens}
            rows.append({**row, **tokens, "cost": result.cost})
        return rows


def identity(spec: RunSpec) -> str:
    """Return the digest of everything that can change a result, except the number of items, which may grow.

    It does not contain the origin, because two origins may serve one model; `check_same` compares origins. It does not
    contain the headings of slots, because they follow from the engines, and a run keeps its first headings.
    """
    same = replace(spec, limit=None, llm=replace(spec.llm, origin=UNSET), prompt=replace(spec.prompt, headings=UNSET))
    return digest(to_json(same))


def default_directory(runs: Path, spec: RunSpec) -> Path:
    """Return `<dataset>-<model>-<digest>` in the folder of runs."""
    model = spec.llm.model.split("@")[0]
    name = re.sub(r"[^A-Za-z0-9.]+", "-", f"{spec.dataset}-{model}").strip("-.")
    return runs / f"{name[:80]}-{identity(spec).removeprefix('b2:')[:8]}"


def new_manifest(
    spec: RunSpec, template: str, session: Session, *, part: Shard | None = None, **dataset: str
) -> Manifest:
    """Return a new run's manifest, with its first session."""
    return Manifest(
        format=_FORMAT, spec=spec, template=template, created=now(), sessions=(session,), part=part, **dataset
    )


@contextmanager
def open_run(
    path: Path, wanted: Manifest, items: tuple[Item, ...], *, same_model: bool = False
) -> Iterator[tuple[Run, RecordLog]]:
    """Create a run directory, or resume one of the same identity; yield the run and its log, locked for this process.

    Extra items of the directory are kept. A new directory is removed if an error comes before the first answer.
    Raises RunError for a directory of another run or, without `same_model`, another origin, for a directory that is not
    a run or was altered, and for one that another process is writing.
    """
    _check_usable(path, wanted)
    begun = (path / "run.json").exists()
    new_folders = files.make_folder(path)
    with RecordLog(path / "log.jsonl", run=identity(wanted.spec)) as log:
        if begun:
            check_seals(path, ("captions.jsonl", "charges.jsonl"))
        if begun and (path / "items.jsonl").exists():
            wanted, items = _resume(path, wanted, items, same_model=same_model)
        try:
            wanted = write_manifest(path, wanted, items)
            yield Run(path=path, manifest=wanted, items=items), log
        except BaseException:
            if not begun and not (path / "log.jsonl").stat().st_size and not (path / "charges.jsonl").exists():
                names = ("run.json", "items.jsonl", "captions.jsonl", "log.jsonl")
                files.remove((path / name for name in names), new_folders)
            raise


def check_seals(path: Path, logs: Iterable[str] = ("captions.jsonl", "log.jsonl", "charges.jsonl")) -> None:
    """Raise RunError, with file and line, if `run.json` or a hash chain was changed after it was written."""
    if list(jsonl.broken_links([jsonl.loads((path / "run.json").read_bytes())])):
        raise RunError(f"{path}/run.json: it was changed after it was written: its digest does not match; restore it")
    hints = {"captions.jsonl": ", or delete it: the command that made the run makes it again"}
    for name in logs:
        if (path / name).exists():
            jsonl.check_chain(path / name, hints.get(name, ""))


def copy_run(source: Path, path: Path) -> None:
    """Copy a run directory atomically; raises as `check_seals` does."""
    check_seals(source)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        shutil.copytree(source, Path(folder, path.name)).rename(path)


def write_manifest(path: Path, manifest: Manifest, items: Iterable[Item]) -> Manifest:
    """Write `run.json` and `items.jsonl`; return the manifest with the items' digest in it."""
    text = jsonl.text(map(to_json, items))
    manifest = replace(manifest, items=_lines_digest(text.encode()))
    content = json.dumps(jsonl.with_digest(to_json(manifest)), indent=2, ensure_ascii=False)
    files.write_text(path / "run.json", content + "\n")
    files.write_text(path / "items.jsonl", text)
    return manifest


def _resume(
    path: Path, wanted: Manifest, items: tuple[Item, ...], *, same_model: bool
) -> tuple[Manifest, tuple[Item, ...]]:
    """Return the manifest and items of a run that is resumed; the larger set of items stays.

    Raises RunError for an altered items.jsonl, unless `items` are the items whose digest is in `run.json`. Raises it
    also if questions remain that would go to another origin than before, unless `same_model` is set.
    """
    earlier, file = _read_manifest(path), path / "items.jsonl"
    chosen = wanted
    if earlier.items in ("", _lines_digest(file.read_bytes())):
        known = tuple(records(Item, file))
    elif earlier.items == _lines_digest(jsonl.text(map(to_json, items)).encode()):
        note(f"{file}: it was changed after it was written; the items that run.json names are written again")
        known = items
    else:
        raise RunError(
            f"{file}: it was changed after it was written; run again the command that made it, or restore it"
        )
    if len(known) > len(items):
        chosen, items = earlier, known
    existing, requested = earlier.spec.llm, wanted.spec.llm
    if existing.origin != requested.origin and not same_model:
        answered = answered_samples(path)
        if any((item.id, sample) not in answered for item in items for sample in range(existing.samples)):
            check_origin(path, existing, requested, same_model=False)
    sessions = earlier.sessions
    if replace(wanted.sessions[0], at=sessions[-1].at) != sessions[-1]:
        sessions = (*sessions, *wanted.sessions)
    # The run keeps its first origin and its first headings.
    spec = replace(chosen.spec, llm=earlier.spec.llm, prompt=earlier.spec.prompt)
    manifest = replace(earlier, spec=spec, part=chosen.part, sessions=sessions, audio_root=wanted.audio_root)
    return manifest, items


def _check_usable(path: Path, wanted: Manifest) -> None:
    """Raise RunError if a path contains another run, another shard, or anything that is not a run."""
    if (path / "run.json").exists():
        existing = _read_manifest(path)
        check_same(path, existing.spec, wanted.spec, same_model=True)
        _check_owner(path, existing.spec)
        if existing.shard != wanted.shard:
            raise RunError(
                f"{path} holds shard {existing.shard}, and {wanted.shard} is asked for; give --out another directory"
            )
    elif path.exists():
        # A start that was killed leaves an empty log, or a temporary `run.json` that is not complete.
        resumable = path.is_dir() and all(re.match(r"log\.jsonl\Z|\.run\.json\.", name) for name in os.listdir(path))
        if not resumable:
            raise RunError(f"{path} is no run directory and not empty; give --out a new or empty one")
        if log_owner(path) not in (None, identity(wanted.spec)):
            raise RunError(f"{path}/log.jsonl is another run's, or does not say whose; give --out a new directory")


def log_owner(path: Path) -> str | None:
    """Return the digest of the run that a log's first line names; `""` if it names none, None if there is no line."""
    file = path / "log.jsonl"
    if not file.exists():
        return None
    for line in jsonl.read(file, growing=True):
        if isinstance(line, dict):
            return str(line.get("run", ""))
        return ""
    return None


def _check_owner(path: Path, spec: RunSpec) -> None:
    """Raise RunError if the first line of the log names another run; logs of older versions name none."""
    if log_owner(path) not in (None, "", identity(spec)):
        raise RunError(f"{path}/log.jsonl:1: its first line names another run; restore the log of this one")


def check_same(
    path: Path, existing: RunSpec, requested: RunSpec, *, same_model: bool = False, advice: str = _OUT
) -> None:
    """Raise RunError, with the differences and `advice`, if the run in `path` has another identity than the requested.

    Raises it also for another origin, unless `same_model` says that both origins serve one model.
    """
    if identity(existing) == identity(requested):
        check_origin(path, existing.llm, requested.llm, same_model=same_model, advice=advice)
        return
    captioners = [captioners_label(spec, ",") for spec in (existing, requested)]
    if captioners[0] != captioners[1]:
        differences = [f"captions are {captioners[0]} there, {captioners[1]} here"]
    else:
        old, new = ({"llm.answer_as": "text", **jsonl.flatten(to_json(spec))} for spec in (existing, requested))
        keys = sorted(key for key in old.keys() | new.keys() if key != "limit" and old.get(key) != new.get(key))
        differences = [f"{key} is {old.get(key)!r} there, {new.get(key)!r} here" for key in keys[:3]]
    raise RunError(f"{path} holds another run ({'; '.join(differences)}); {advice}")


def check_origin(place: Path, existing: LLMSpec, requested: LLMSpec, *, same_model: bool, advice: str = _OUT) -> None:
    """Raise RunError if two models have different origins, unless these serve the `same_model`."""
    if existing.origin != requested.origin and not same_model:
        there, here = (llm.origin or "the provider's own address" for llm in (existing, requested))
        recorded = "" if existing.origin else ", or one that was not recorded"
        raise RunError(
            f"{place} has answers of {there}{recorded}, and {here} is asked for; {advice}, "
            "or give --same-model if both serve one model"
        )


def find_runs(folder: Path, depth: int = 1) -> list[Path]:
    """Return the folder itself if it is a run, otherwise the runs in it, sorted by name, down to `depth` levels below.

    Hidden folders, unreadable folders and the folders inside a run are skipped.
    """
    runs: list[Path] = []
    with suppress(OSError):
        if (folder / "run.json").exists():
            return [folder]
        if depth:
            for path in sorted(folder.iterdir()):
                if path.is_dir() and not path.name.startswith("."):
                    runs += find_runs(path, depth - 1)
    return runs


def read_run(path: Path, *, any_log: bool = False) -> Run:
    """Read a run directory. Raises RunError, with file and line, if it is not a run, is damaged, or has other items.

    Raises it also for another run's log, unless `any_log` is set.
    """
    manifest, file = _read_manifest(path), path / "items.jsonl"
    items = tuple(records(Item, file))
    if manifest.items and _lines_digest(file.read_bytes()) != manifest.items:
        raise RunError(f"{file}: these are not the items that run.json names; run again the command that made it")
    if not any_log:
        _check_owner(path, manifest.spec)
    for item in items:
        if not item.choices:
            raise RunError(f"{file}: {item.id!r} has no choices; run again the command that made it")
    return Run(path=path, manifest=manifest, items=items)


def _lines_digest(content: bytes) -> str:
    """Return a digest of the lines in any order: it changes with every line that is added, altered or removed."""
    return digest_bytes(b"\n".join(sorted(content.splitlines())))


def missing_run(path: Path) -> RunError:
    """Return the error for a path that is no run directory, with the runs that lie in it."""
    if not path.exists():
        return RunError(f"{path}: there is no such run directory; `ls runs` shows those of `cascade run`")
    hint = ""
    if runs := find_runs(path):  # a folder of runs, such as an ablation's
        hint = f"; there are {len(runs)} in it: give {path}/*, or one: {runs[0]}"
    return RunError(f"{path} is no run directory: it has no run.json{hint}")


def _read_manifest(path: Path) -> Manifest:
    file = path / "run.json"
    try:
        content = jsonl.loads(file.read_bytes())
        if isinstance(content, dict) and content.get("format") != _FORMAT:
            raise RunError(
                f"{file} has format {content.get('format')!r}, this version reads {_FORMAT}: use the one that wrote it"
            )
        manifest = from_json(Manifest, without_digest(content))
        if not manifest.sessions:
            raise ValueError("Manifest: sessions must hold one or more")
        name = manifest.spec.prompt.template
        templates.check_template(Template(name=name, text=manifest.template), f"{file}: the template {name!r}")
        return manifest
    except FileNotFoundError:
        raise missing_run(path) from None
    except ValueError as error:
        raise RunError(f"{file}: cannot be read as a run's manifest ({error})") from error


def last_answers(path: Path) -> dict[tuple[str, int], Answer]:
    """Return the last answer of each (item, sample) in the log."""
    return {(answer.item, answer.sample): answer for answer in _answers(path)}


def answered_samples(path: Path) -> set[tuple[str, int]]:
    """Return each (item, sample) that need not be asked again, without keeping the answers in memory.

    Its last answer is a completion, or a failure which says that the run does not apply to the item.
    """
    answered: set[tuple[str, int]] = set()
    for answer in _answers(path):
        if isinstance(answer.result, Completion) or answer.result.kind == NOT_APPLICABLE:
            answered.add((answer.item, answer.sample))
        else:
            answered.discard((answer.item, answer.sample))
    return answered


def mean_reply_tokens(results: Iterable[Completion | Failure]) -> float | None:
    """Return the mean number of output tokens of the completions with a known number; None if there are none."""
    completions = [result for result in results if isinstance(result, Completion)]
    tokens = [completion.output_tokens for completion in completions if completion.output_tokens is not None]
    return sum(tokens) / len(tokens) if tokens else None


def _answers(path: Path) -> Iterator[Answer]:
    return records(Answer, path / "log.jsonl", growing=True)


def write_captions(path: Path, captions: Iterable[CaptionRecord]) -> None:
    """Replace the run's captions atomically."""
    jsonl.write(path / "captions.jsonl", jsonl.hash_chain(map(to_json, captions)))


def read_captions(path: Path) -> list[CaptionRecord]:
    """Return the run's captions, in the order of items and slots."""
    return list(records(CaptionRecord, path / "captions.jsonl"))
