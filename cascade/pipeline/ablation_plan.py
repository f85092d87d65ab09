"""Families of runs made from one run: its sources alone and left out, and controls.

| variant | what it is | what its score shows |
|---|---|---|
| `all` | the run itself | |
| `SLOT` | one source alone | what that source is worth by itself |
| `without-SLOT` | all sources but one | what that source adds to the others |
| `blind` | no captions | what the model guesses from question and choices |
| `mismatched` | everything of another clip | whether the model goes by what it is given at all |
| `mismatched-audio` | another clip, without captions | whether the model hears the clip at all |
| `silence` | silence as long as the clip, without captions | the same, with nothing to hear |
| `reversed` | the clip from its end, without captions | what its order in time brings |
| `oracle` | the benchmark's own cues, where it has them | what perfect captions would bring |
| `shuffled` | the choices in another order | whether the order of the choices matters |

Arms change how the evidence is made. They are asked for by themselves:

| arm | variants |
|---|---|
| `question` | `question-blind`: listening without the question; for a run without it `question-aware` |
| `digest` | `undigested`: the captions in the place of their digest |
| `rounds` | `without-rounds`: no asking back; of several rounds also `1-round`, with several samples also `split` |
| `listeners` | `without-SLOT` for each of several listeners; it goes with any other arm |
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from msgspec import UNSET, structs

from cascade.captioners.registry import Engine
from cascade.errors import UnknownName, UserError
from cascade.io.terminal import note
from cascade.pipeline.jobs import Job, carry_out, count_spent
from cascade.pipeline.rounds import ReadReply
from cascade.plugins import DIGEST
from cascade.runs import describe, directory
from cascade.runs.directory import Run
from cascade.types import CaptionerSpec, RunSpec

_OF_AUDIO = ("mismatched-audio", "silence", "reversed")
KINDS = ("all", "alone", "leave-one-out", "blind", "mismatched", *_OF_AUDIO, "oracle", "shuffled")
ARMS = ("question", "digest", "rounds", "listeners")


def variants(
    spec: RunSpec, seed: int = 0, oracle: CaptionerSpec | None = None, kinds: Sequence[str] = KINDS
) -> dict[str, RunSpec]:
    """Return the variants of a run by the names of their directories, itself first, each once.

    `oracle` is the captioner that gives the benchmark's cues.
    Raises UnknownName for a kind that is none of KINDS, UserError for a run that is a control already.
    """
    for kind in kinds:
        if kind not in (*KINDS, *ARMS):
            raise UnknownName("kind of variant", kind, KINDS)
    if describe.controls(spec):
        raise UserError("an ablation starts from the choices in their own order and each clip's own captions and audio")
    for captioner in spec.captioners:
        if captioner.name == "oracle":
            raise UserError(
                f"{captioner.slot}=oracle: an ablation starts from captions of the clips; "
                "the benchmark's cues are a control"
            )
    family: dict[str, RunSpec] = {}
    for kind in ("all", *(kind for kind in (*KINDS[1:], *ARMS) if kind in kinds)):
        for name, variant in _of_kind(kind, spec, seed, oracle).items():
            if variant not in family.values():
                family[name] = variant
    return family


def _of_kind(kind: str, spec: RunSpec, seed: int, oracle: CaptionerSpec | None) -> dict[str, RunSpec]:
    slots = describe.sources(spec)
    if kind == "alone":
        return {slot: _with_slots(spec, {slot}) for slot in slots}
    if kind == "leave-one-out":
        return {f"without-{slot}": _with_slots(spec, {*slots} - {slot}) for slot in slots}
    if kind == "blind":
        return {"blind": structs.replace(_with_slots(spec, ()), rounds=UNSET)}
    if kind == "mismatched" and (slots or spec.rounds):
        return {"mismatched": structs.replace(spec, prompt=structs.replace(spec.prompt, mismatch_seed=seed))}
    if kind in _OF_AUDIO and spec.prompt.audio:
        return {kind: _audio_control(_with_slots(spec, {spec.prompt.audio}), kind, seed)}
    if kind == "question":
        return _turned(spec)
    if kind == "digest" and describe.is_digested(spec):
        return {"undigested": _with_slots(spec, slots, digest=False)}
    if kind == "rounds" and spec.rounds:
        once = structs.replace(spec.rounds, most=1)  # The run itself where it has one round: it is taken once.
        arms = {"without-rounds": structs.replace(spec, rounds=UNSET), "1-round": structs.replace(spec, rounds=once)}
        if spec.llm.samples > 1 and not spec.rounds.when:
            arms["split"] = structs.replace(spec, rounds=structs.replace(spec.rounds, when="split"))
        return arms
    if kind == "listeners":
        listeners = [captioner.slot for captioner in spec.captioners if Engine(captioner.name).is_listener]
        return {f"without-{slot}": _with_slots(spec, {*slots} - {slot}) for slot in listeners if len(listeners) > 1}
    if kind == "oracle" and oracle:
        return {"oracle": _with_captioners(spec, (oracle,))}
    if kind == "shuffled":
        return {"shuffled": structs.replace(spec, prompt=structs.replace(spec.prompt, order_seed=seed))}
    # The run itself, which `variants` takes once: for a control that makes no sense here, too.
    return {"all": spec}


def _with_slots(spec: RunSpec, slots: Collection[str], *, digest: bool = True) -> RunSpec:
    """Return the run with these sources alone and, where it has one and captions are left, their `digest`."""
    digest = digest and bool({*slots} - {spec.prompt.audio})
    kept = [
        captioner for captioner in spec.captioners if captioner.slot in slots or (captioner.name == DIGEST and digest)
    ]
    return _with_captioners(spec, tuple(kept))


def _with_captioners(spec: RunSpec, captioners: tuple[CaptionerSpec, ...]) -> RunSpec:
    own = {captioner.slot for captioner in captioners if captioner in spec.captioners}
    headings = {slot: heading for slot, heading in (spec.prompt.headings or {}).items() if slot in own}
    audio = spec.prompt.audio if spec.prompt.audio in own else UNSET
    slots = describe.shown_slots(captioners)
    prompt = structs.replace(spec.prompt, slots=slots, headings=headings or UNSET, audio=audio)
    return structs.replace(spec, captioners=captioners, prompt=prompt)


def _audio_control(alone: RunSpec, kind: str, seed: int) -> RunSpec:
    """Return a control of the run that is sent the clip alone."""
    if kind == "mismatched-audio":
        return structs.replace(alone, prompt=structs.replace(alone.prompt, mismatch_seed=seed))
    captioner = alone.captioners[0]
    changed = structs.replace(captioner, params={**captioner.params, "content": kind})
    return structs.replace(alone, captioners=(changed,))


def _turned(spec: RunSpec) -> dict[str, RunSpec]:
    """Return the run with the question shown to every engine that can take it or, if one was shown it, to none."""
    asks = not describe.informed_slots(spec)
    captioners = [Engine(captioner.name).with_question(captioner, asks=asks) for captioner in spec.captioners]
    return {"question-aware" if asks else "question-blind": _with_captioners(spec, tuple(captioners))}


def arm_kinds(spec: RunSpec, arms: str) -> list[str]:
    """Return the kinds of variants of arms that are joined by commas.

    Raises UnknownName for what is no arm, UserError where the run has nothing that an arm could change.
    """
    wanted = [arm.strip() for arm in arms.split(",")]
    for arm in wanted:
        if arm not in ARMS[:-1]:
            raise UnknownName("arm", arm, ARMS[:-1], "as in --arms question,digest,rounds")
    if "question" in wanted and spec in _turned(spec).values():
        raise UserError("--arms question: no engine here can be told the question; add an audio-llm or clap-sound")
    if "digest" in wanted and not describe.is_digested(spec):
        raise UserError("--arms digest: give --digest MODEL")
    if "rounds" in wanted and not spec.rounds:
        raise UserError("--arms rounds: give --rounds N")
    return [*wanted, ARMS[-1]]


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
    mismatched = any(variant.prompt.mismatch_seed is not None for variant in family.values())
    if mismatched and len({item.audio for item in whole.items}) < 2:
        raise UserError("mismatched captions need two different clips; raise --limit, or leave them out of --variants")
    usual = directory.default_directory(whole.how.runs, whole.spec)
    folder = folder or usual.with_name(f"ablate-{usual.name}")
    return [replace(whole, path=folder / name, spec=variant) for name, variant in family.items()]


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


def carry_out_family(jobs: Sequence[Job], read_reply: ReadReply) -> list[Run]:
    """Caption and ask whatever the runs of a family lack, within one budget, and return the runs."""
    for job in jobs:
        existing = existing_directory(job)
        if existing != job.path:
            directory.copy_run(existing, job.path)
    count_spent(jobs)
    return [carry_out(job, read_reply) for job in jobs]
