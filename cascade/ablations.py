"""Families of runs made from one: its sources alone and left out, and the controls that say what a score is worth.

| variant | what it tells |
|---|---|
| `all` | the run itself |
| `SLOT` | one source alone |
| `without-SLOT` | all but one: what that source adds to the others |
| `blind` | no captions: what the model guesses from question and choices |
| `mismatched` | another clip's captions: whether it reads them at all |
| `oracle` | the benchmark's own cues, where it has them: what perfect ears would bring |
| `shuffled` | the choices in another order: whether their place matters |
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random

from cascade import runs
from cascade.errors import UnknownName, UserError
from cascade.runs import Heard
from cascade.types import CaptionerSpec, Item, PromptSpec, RunSpec

KINDS = ("all", "alone", "leave-one-out", "blind", "mismatched", "oracle", "shuffled")


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One run of a family, by the name that its directory has."""

    name: str
    spec: RunSpec


def family(
    spec: RunSpec, seed: int = 0, oracle: CaptionerSpec | None = None, kinds: Sequence[str] = KINDS
) -> list[Variant]:
    """The variants of a run, itself first, each once; `oracle` is the captioner that tells the benchmark's cues.

    Raises UnknownName for a kind that is none of KINDS, UserError for a run that is a control already.
    """
    for kind in kinds:
        if kind not in KINDS:
            raise UnknownName("kind of variant", kind, KINDS)
    if spec.prompt.order_seed is not None or spec.prompt.mismatch_seed is not None:
        raise UserError("an ablation starts from the choices in their own order and each clip's own captions")
    if told := [one.slot for one in spec.captioners if one.name == "oracle"]:
        raise UserError(f"{told[0]}=oracle: an ablation starts from what was heard; the benchmark's cues are a control")
    found: dict[str, RunSpec] = {}
    for kind in ("all", *(kind for kind in KINDS[1:] if kind in kinds)):
        for name, one in _of_kind(kind, spec, seed, oracle).items():
            if one not in found.values():
                found[name] = one
    return [Variant(name=name, spec=one) for name, one in found.items()]


def _of_kind(kind: str, spec: RunSpec, seed: int, oracle: CaptionerSpec | None) -> dict[str, RunSpec]:
    slots = spec.prompt.slots
    if kind == "all":
        return {"all": spec}
    if kind == "alone":
        return {slot: _with(spec, [slot]) for slot in slots}
    if kind == "leave-one-out":
        return {f"without-{slot}": _with(spec, [one for one in slots if one != slot]) for slot in slots}
    if kind == "blind":
        return {"blind": _with(spec, [])}
    if kind == "mismatched":
        return {"mismatched": replace(spec, prompt=replace(spec.prompt, mismatch_seed=seed))} if slots else {}
    if kind == "oracle":
        return {"oracle": _heard_by(spec, (oracle,))} if oracle else {}
    return {"shuffled": replace(spec, prompt=replace(spec.prompt, order_seed=seed))}


def _with(spec: RunSpec, slots: Iterable[str]) -> RunSpec:
    wanted = set(slots)
    return _heard_by(spec, tuple(one for one in spec.captioners if one.slot in wanted))


def _heard_by(spec: RunSpec, captioners: tuple[CaptionerSpec, ...]) -> RunSpec:
    prompt = replace(spec.prompt, slots=tuple(one.slot for one in captioners))
    return replace(spec, captioners=captioners, prompt=prompt)


def label(spec: RunSpec) -> str:
    """What a run's evidence is, in a few words: its slots, or which control it is."""
    engines = {one.name for one in spec.captioners}
    base = "oracle" if engines == {"oracle"} else "+".join(spec.prompt.slots) or "blind"
    mismatched = ", mismatched" if spec.prompt.mismatch_seed is not None else ""
    return base + mismatched + (", shuffled" if spec.prompt.order_seed is not None else "")


# Another clip's captions


def shown(items: Sequence[Item], heard: Iterable[Heard], spec: PromptSpec) -> dict[str, dict[str, Heard]]:
    """The captions that each item's prompt is made from, by item and slot: its own clip's, or another's.

    Raises UserError where captions shall be another clip's, and there is no other.
    """
    own = runs.by_item(heard)
    if spec.mismatch_seed is None or not spec.slots:
        return own
    keys = {item.audio: tuple(one.key for one in own.get(item.id, {}).values()) for item in items}
    teller = {item.audio: item.id for item in items}
    donors = mismatched(keys, spec.mismatch_seed)
    return {item.id: own.get(teller[donors[item.audio]], {}) for item in items}


def mismatched(clips: Mapping[str, object], seed: int) -> dict[str, str]:
    """For each clip another one whose captions differ in what they were made from, drawn by the seed.

    `clips` maps each clip to what tells it apart (the keys of its captions). The donor is one of the clips before it,
    so that a run which grows keeps those it has; the first clip's is the first that comes after. Raises UserError where
    all clips are one.
    """
    names = list(clips)
    donors: dict[str, str] = {}
    for place, name in enumerate(names):
        before = Random(f"{seed}:{name}").sample(names[:place], place)
        donor = next((one for one in (*before, *names[place + 1 :]) if clips[one] != clips[name]), None)
        if donor is None:
            raise UserError("mismatched captions need two different clips; raise --limit")
        donors[name] = donor
    return donors
