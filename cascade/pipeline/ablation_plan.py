"""Families of runs made from one run: its sources alone and left out, and controls.

| variant | what it is | what its score shows |
|---|---|---|
| `all` | the run itself | |
| `SLOT` | one source alone | what that source is worth by itself |
| `without-SLOT` | all sources but one | what that source adds to the others |
| `blind` | no captions | what the model guesses from question and choices |
| `mismatched` | another clip's captions | whether the model reads the captions at all |
| `oracle` | the benchmark's own cues, where it has them | what perfect captions would bring |
| `shuffled` | the choices in another order | whether the order of the choices matters |
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from msgspec import UNSET, structs

from cascade.captioners.registry import Engine
from cascade.errors import UnknownName, UserError
from cascade.io.terminal import note
from cascade.pipeline.jobs import Job, carry_out, count_spent
from cascade.runs import directory
from cascade.runs.directory import Run
from cascade.types import CaptionerSpec, RunSpec

KINDS = ("all", "alone", "leave-one-out", "blind", "mismatched", "oracle", "shuffled")


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One run of a family, by the name that its directory has."""

    name: str
    spec: RunSpec


def variants(
    spec: RunSpec, seed: int = 0, oracle: CaptionerSpec | None = None, kinds: Sequence[str] = KINDS
) -> list[Variant]:
    """Return the variants of a run, itself first, each once; `oracle` is the captioner that gives the benchmark's cues.

    Raises UnknownName for a kind that is none of KINDS, UserError for a run that is a control already.
    """
    for kind in kinds:
        if kind not in KINDS:
            raise UnknownName("kind of variant", kind, KINDS)
    if spec.prompt.order_seed is not None or spec.prompt.mismatch_seed is not None:
        raise UserError("an ablation starts from the choices in their own order and each clip's own captions")
    for captioner in spec.captioners:
        if captioner.name == "oracle":
            raise UserError(
                f"{captioner.slot}=oracle: an ablation starts from captions of the clips; "
                "the benchmark's cues are a control"
            )
    family: dict[str, RunSpec] = {}
    for kind in ("all", *(kind for kind in KINDS[1:] if kind in kinds)):
        for name, variant in _of_kind(kind, spec, seed, oracle).items():
            if variant not in family.values():
                family[name] = variant
    return [Variant(name=name, spec=variant) for name, variant in family.items()]


def _of_kind(kind: str, spec: RunSpec, seed: int, oracle: CaptionerSpec | None) -> dict[str, RunSpec]:
    slots = spec.prompt.slots
    if kind == "alone":
        return {slot: _with_slots(spec, {slot}) for slot in slots}
    if kind == "leave-one-out":
        return {f"without-{slot}": _with_slots(spec, {*slots} - {slot}) for slot in slots}
    if kind == "blind":
        return {"blind": _with_slots(spec, ())}
    if kind == "mismatched" and slots:
        return {"mismatched": structs.replace(spec, prompt=structs.replace(spec.prompt, mismatch_seed=seed))}
    if kind == "oracle" and oracle:
        return {"oracle": _with_captioners(spec, (oracle,))}
    if kind == "shuffled":
        return {"shuffled": structs.replace(spec, prompt=structs.replace(spec.prompt, order_seed=seed))}
    # The run itself, which `variants` takes once: for a control that makes no sense here, too.
    return {"all": spec}


def _with_slots(spec: RunSpec, slots: Collection[str]) -> RunSpec:
    return _with_captioners(spec, tuple(captioner for captioner in spec.captioners if captioner.slot in slots))


def _with_captioners(spec: RunSpec, captioners: tuple[CaptionerSpec, ...]) -> RunSpec:
    slots = tuple(captioner.slot for captioner in captioners)
    own = {captioner.slot for captioner in captioners if captioner in spec.captioners}
    headings = {slot: heading for slot, heading in (spec.prompt.headings or {}).items() if slot in own}
    prompt = structs.replace(spec.prompt, slots=slots, headings=headings or UNSET)
    return structs.replace(spec, captioners=captioners, prompt=prompt)


def variant_jobs(whole: Job, kinds: str | Sequence[str], seed: int, folder: Path | None = None) -> list[Job]:
    """Return the jobs of a family, each carried out as the whole run would be, with directories in one folder.

    `kinds` may be joined by commas; `folder` is by default named after the whole run. Raises as `variants` does, and
    UserError where captions of another clip are wanted and there is only one.
    """
    if isinstance(kinds, str):
        kinds = [kind.strip() for kind in kinds.split(",") if kind.strip()]
    cues = any(item.reference.get("cue") for item in whole.items)
    engine = Engine("oracle")
    oracle = engine.specify(engine.module.SLOT, {})[0] if cues else None
    family = variants(whole.spec, seed, oracle, kinds)
    if "oracle" in kinds and not cues:
        note(f"{whole.spec.dataset} has no cues: no oracle run, so perception and reasoning are not told apart")
    if len({item.audio for item in whole.items}) < 2 and "mismatched" in [variant.name for variant in family]:
        raise UserError("mismatched captions need two different clips; raise --limit, or leave them out of --variants")
    usual = directory.default_directory(whole.how.runs, whole.spec)
    folder = folder or usual.with_name(f"ablate-{usual.name}")
    return [replace(whole, path=folder / variant.name, spec=variant.spec) for variant in family]


def existing_directory(job: Job) -> Path:
    """Return the directory that a run has in the family or, before it is begun there, where `cascade run` made it."""
    usual = directory.default_directory(job.how.runs, job.spec)
    if job.path.exists() or not usual.exists():
        return job.path
    try:
        run = directory.read_run(usual)
    except UserError:
        return job.path
    same = directory.identity(run.spec) == directory.identity(job.spec) and run.manifest.part is None
    same = same and (run.spec.llm.origin == job.spec.llm.origin or job.how.same_model)
    if same and {item.id for item in run.items} <= {item.id for item in job.items}:
        return usual
    return job.path


def carry_out_family(jobs: Sequence[Job]) -> list[Run]:
    """Caption and ask whatever the runs of a family lack, within one budget, and return the runs."""
    for job in jobs:
        existing = existing_directory(job)
        if existing != job.path:
            directory.copy_run(existing, job.path)
    count_spent(jobs)
    return [carry_out(job) for job in jobs]
