"""Arms of an experiment on how evidence is made: listening with or without the question, merged in a digest or not.

Every combination of the arms is a run. Where the captions have two listeners or more, each is also left out. The runs
stand in the folder of an ablation, so that they share captions, replies and controls with its other runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cascade.captioners.registry import Engine
from cascade.errors import UnknownName, UserError
from cascade.pipeline.ablation_plan import Variant, family_jobs, with_captioners, with_slots
from cascade.pipeline.jobs import Job
from cascade.runs import describe
from cascade.types import CaptionerSpec, RunSpec

ARMS = ("question", "digest")


def arm_jobs(whole: Job, arms: str | Sequence[str], folder: Path | None = None) -> list[Job]:
    """Return the jobs of the arms, the whole run first; `arms` may be joined by commas.

    Raises UnknownName for what is no arm, UserError where the run has nothing that an arm could change.
    """
    wanted = [arm.strip() for arm in arms.split(",")] if isinstance(arms, str) else list(arms)
    for arm in wanted:
        if arm not in ARMS:
            raise UnknownName("arm", arm, ARMS, "as in --arms question,digest")
    variants = {"all": whole.spec}
    if "question" in wanted:
        name = "question-blind" if describe.informed_slots(whole.spec) else "question-aware"
        variants[name] = _turned(whole, asks=name == "question-aware")
        if variants[name] == whole.spec:
            raise UserError("--arms question: no engine here can be told the question; add an audio-llm or clap-sound")
    if "digest" in wanted:
        if not describe.is_digested(whole.spec):
            raise UserError("--arms digest: give --digest MODEL")
        for name, spec in list(variants.items()):
            variants[f"{name}-undigested".removeprefix("all-")] = with_slots(spec, describe.sources(spec), digest=False)
    listeners = [spec.slot for spec in whole.spec.captioners if Engine(spec.name).is_listener]
    for slot in listeners if len(listeners) > 1 else ():
        variants[f"without-{slot}"] = with_slots(whole.spec, {*describe.sources(whole.spec)} - {slot})
    return family_jobs(whole, [Variant(name=name, spec=spec) for name, spec in variants.items()], folder)


def _turned(whole: Job, *, asks: bool) -> RunSpec:
    """Return the run with every engine told the question that can be, or with none; captions of a file stay."""
    captioners: list[CaptionerSpec] = []
    for spec in whole.spec.captioners:
        kept = spec.slot in whole.how.bundles or spec.slot == describe.DIGEST
        captioners.append(spec if kept else Engine(spec.name).with_question(spec, asks=asks))
    return with_captioners(whole.spec, tuple(captioners))
