"""Names for the evidence that runs had, made from their specs alone."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import UNSET
from msgspec.structs import replace

from cascade.types import LLMSpec, RunSpec


def captioners_label(spec: RunSpec, separator: str = " ") -> str:
    """Return `slot=engine` for each captioner of a run, or `none`."""
    return separator.join(f"{captioner.slot}={captioner.name}" for captioner in spec.captioners) or "none"


def with_answer_form(name: str, spec: RunSpec) -> str:
    """Return the name of a run's model or prompt, with a remark where a choice was forced."""
    return f"{name}, forced choice" if spec.llm.answer_as == "choice" else name


def same_model(llm: LLMSpec, other: LLMSpec) -> bool:
    """Return whether two runs ask one model with the same parameters, wherever it is served."""
    return replace(llm, origin=UNSET) == replace(other, origin=UNSET)


def controls(spec: RunSpec) -> list[str]:
    """Return how a run's evidence or choices were changed on purpose: `mismatched`, `shuffled`, both or neither."""
    changes = {"mismatched": spec.prompt.mismatch_seed, "shuffled": spec.prompt.order_seed}
    return [name for name, seed in changes.items() if seed is not None]


def evidence_label(spec: RunSpec) -> str:
    """Return what a run's evidence is, in a few words: its slots, `oracle` or `blind`, and the controls."""
    evidence = "+".join(spec.prompt.slots) or "blind"
    if {captioner.name for captioner in spec.captioners} == {"oracle"}:
        evidence = "oracle"
    return ", ".join([evidence, *controls(spec)])


def control_role(spec: RunSpec) -> str:
    """Return which control a run is: `blind`, `mismatched`, `oracle`, `shuffled`, or `""` for none."""
    if not spec.captioners:
        return "blind"
    if spec.prompt.mismatch_seed is not None:
        return "mismatched"
    if any(captioner.name == "oracle" for captioner in spec.captioners):
        return "oracle"
    if spec.prompt.order_seed is not None:
        return "shuffled"
    return ""


def is_plain(spec: RunSpec) -> bool:
    """Return whether a run has its clips' own captions, some or none, and nothing was changed on purpose."""
    return not controls(spec) and all(captioner.name != "oracle" for captioner in spec.captioners)


def full_set(specs: Sequence[RunSpec]) -> int:
    """Return the place of the full set: the first of the plain runs with the most slots."""
    plain = [place for place, spec in enumerate(specs) if is_plain(spec)]
    return max(plain or range(len(specs)), key=lambda place: (len(specs[place].prompt.slots), -place))


def variant_names(specs: Sequence[RunSpec]) -> list[str]:
    """Return a name for each run beside the others: `all`, `without X`, a source alone, or which control it is."""
    full = specs[full_set(specs)]
    return [_variant_name(spec, full) for spec in specs]


def _variant_name(spec: RunSpec, full: RunSpec) -> str:
    slots, label = spec.prompt.slots, evidence_label(spec)
    if not slots:
        return label
    if spec == full:
        return f"all: {label}"
    if slots == full.prompt.slots and label != "oracle":
        return label.removeprefix("+".join(slots)).lstrip(", ") or label
    missing = [slot for slot in full.prompt.slots if slot not in slots]
    if is_plain(spec) and len(missing) == 1:
        return f"{label} (without {missing[0]})" if len(slots) == 1 else f"without {missing[0]}"
    return label
