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

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from cascade.errors import UnknownName, UserError
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
        return {slot: _with_slots(spec, [slot]) for slot in slots}
    if kind == "leave-one-out":
        return {f"without-{slot}": _with_slots(spec, [one for one in slots if one != slot]) for slot in slots}
    if kind == "blind":
        return {"blind": _with_slots(spec, [])}
    if kind == "mismatched":
        return {"mismatched": replace(spec, prompt=replace(spec.prompt, mismatch_seed=seed))} if slots else {}
    if kind == "oracle":
        return {"oracle": _with_captioners(spec, (oracle,))} if oracle else {}
    return {"shuffled": replace(spec, prompt=replace(spec.prompt, order_seed=seed))}


def _with_slots(spec: RunSpec, slots: Iterable[str]) -> RunSpec:
    wanted = set(slots)
    return _with_captioners(spec, tuple(one for one in spec.captioners if one.slot in wanted))


def _with_captioners(spec: RunSpec, captioners: tuple[CaptionerSpec, ...]) -> RunSpec:
    prompt = replace(spec.prompt, slots=tuple(one.slot for one in captioners))
    return replace(spec, captioners=captioners, prompt=prompt)


# Another clip's captions
