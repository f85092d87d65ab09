"""Names of what a run's evidence is: its label and its role as a control, from the spec alone."""

from __future__ import annotations

from cascade.types import RunSpec


def evidence_label(spec: RunSpec) -> str:
    """What a run's evidence is, in a few words: its slots, or which control it is."""
    engines = {one.name for one in spec.captioners}
    base = "oracle" if engines == {"oracle"} else "+".join(spec.prompt.slots) or "blind"
    mismatched = ", mismatched" if spec.prompt.mismatch_seed is not None else ""
    return base + mismatched + (", shuffled" if spec.prompt.order_seed is not None else "")


def control_role(spec: RunSpec) -> str:
    """Which control a run is, by its spec alone; `""` for none."""
    if not spec.captioners:
        return "blind"
    if spec.prompt.mismatch_seed is not None:
        return "mismatched"
    if any(one.name == "oracle" for one in spec.captioners):
        return "oracle"
    return "shuffled" if spec.prompt.order_seed is not None else ""
