"""Names for runs and for the evidence that they had, made from their specs alone."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from msgspec import UNSET
from msgspec.structs import replace

from cascade.io.digests import digest
from cascade.io.jsonl import to_json
from cascade.io.terminal import quantity
from cascade.plugins import DIGEST
from cascade.prompting.templates import shipped_name
from cascade.types import SENT_AUDIO, CaptionerSpec, CaptionRecord, LLMSpec, RunSpec

_LONGEST = 40  # characters of a value; a longer value is cut, and followed by its digest


def shown_slots(captioners: Sequence[CaptionerSpec]) -> tuple[str, ...]:
    """Return the slots that a prompt shows: a digest replaces the captions, but not the clip."""
    shown = [captioner.slot for captioner in captioners if captioner.name in (DIGEST, SENT_AUDIO)]
    digested = any(captioner.name == DIGEST for captioner in captioners)
    return tuple(shown) if digested else tuple(captioner.slot for captioner in captioners)


def sources(spec: RunSpec) -> tuple[str, ...]:
    """Return the slots of a run's evidence, whether its prompts show them or a digest of them."""
    return tuple(captioner.slot for captioner in spec.captioners if captioner.name != DIGEST)


def is_digested(spec: RunSpec) -> bool:
    """Return whether a run's prompts show a digest instead of the captions."""
    return any(captioner.name == DIGEST for captioner in spec.captioners)


def informed_slots(spec: RunSpec) -> frozenset[str]:
    """Return the slots whose engine hears the clip and was shown the question."""
    engines = [captioner for captioner in spec.captioners if captioner.name != DIGEST]
    return frozenset(
        engine.slot
        for engine in engines
        if engine.params.get("question") is True or engine.params.get("labels") == "choices"
    )


def captioners_label(spec: RunSpec, separator: str = " ") -> str:
    """Return `slot=engine` for each captioner of a run, or `none`."""
    return slots_label({captioner.slot: captioner.name for captioner in spec.captioners}, separator)


def slots_label(captioners: Mapping[str, str], separator: str = " ") -> str:
    """Return `slot=engine` for each slot and its engine, or `none`; one word where both have one name, as `audio`."""
    labels = [slot if slot == name else f"{slot}={name}" for slot, name in captioners.items()]
    return separator.join(labels) or "none"


def with_answer_form(name: str, spec: RunSpec) -> str:
    """Return the name of a run's model or prompt, with a remark where it has rounds or a choice was forced."""
    parts = [name]
    if spec.rounds:
        parts.append(_rounds_label(spec))
    if spec.llm.answer_as == "choice":
        parts.append("forced choice")
    return ", ".join(parts)


def same_model(llm: LLMSpec, other: LLMSpec) -> bool:
    """Return whether two runs ask one model with the same parameters, wherever it is served."""
    return replace(llm, origin=UNSET) == replace(other, origin=UNSET)


def controls(spec: RunSpec) -> list[str]:
    """Return how a run's evidence or choices were changed on purpose: `mismatched`, `shuffled`, both or neither.

    If the clip is sent, `silence` or `reversed` names the audio that replaced it.
    """
    changes = {"mismatched": spec.prompt.mismatch_seed, "shuffled": spec.prompt.order_seed}
    contents = [str(captioner.params.get("content")) for captioner in spec.captioners if captioner.name == SENT_AUDIO]
    replaced = [content for content in contents if content != "clip"]
    return [*replaced, *(name for name, seed in changes.items() if seed is not None)]


def evidence_label(spec: RunSpec) -> str:
    """Return what a run's evidence is, in a few words: its slots, `oracle` or `blind`, and the controls."""
    evidence = "+".join(sources(spec)) or "blind"
    if {captioner.name for captioner in spec.captioners} == {"oracle"}:
        evidence = "oracle"
    parts = [evidence, *["digested"] * is_digested(spec)]
    if spec.rounds:
        parts = [part.replace("blind", "no captions") for part in parts] + [_rounds_label(spec)]
    return ", ".join([*parts, *controls(spec)])


def _rounds_label(spec: RunSpec) -> str:
    if not spec.rounds:
        return "without rounds"
    return quantity(spec.rounds.most, "round") + " if split" * bool(spec.rounds.when)


def control_role(spec: RunSpec) -> str:
    """Return which control a run is: `blind`, `oracle`, one of `controls`, or `""` for none."""
    if not spec.captioners and not spec.rounds:
        return "blind"
    if spec.prompt.mismatch_seed is not None:
        return "mismatched"
    if any(captioner.name == "oracle" for captioner in spec.captioners):
        return "oracle"
    return next(iter(controls(spec)), "")


def is_plain(spec: RunSpec) -> bool:
    """Return whether a run has its clips' own captions, some or none, and nothing was changed on purpose."""
    return not controls(spec) and all(captioner.name != "oracle" for captioner in spec.captioners)


def full_set(specs: Sequence[RunSpec]) -> int:
    """Return the place of the full set: the first of the plain runs with the most slots and, of these, rounds."""
    plain = [place for place, spec in enumerate(specs) if is_plain(spec)]
    most = {place: spec.rounds.most for place, spec in enumerate(specs) if spec.rounds}
    return max(plain or range(len(specs)), key=lambda place: (len(sources(specs[place])), most.get(place, 0), -place))


def variant_names(specs: Sequence[RunSpec]) -> list[str]:
    """Return a name for each run beside the others: `all`, `without X`, a source alone, or which control it is."""
    full = specs[full_set(specs)]
    return [_variant_name(spec, full) for spec in specs]


def differences(specs: Sequence[RunSpec | None], left_out: Collection[str]) -> list[str]:
    """Return for each run the parts of its spec that are not equal in all runs, in words; a file (None) has none.

    Runs of different specs have different words, but for the parts that are left out.
    """
    parts = [{} if spec is None else _parts(spec) for spec in specs]
    unequal = []
    for name in dict.fromkeys(name for own in parts for name in own):
        values = {own.get(name) for own in parts}
        if " " in name:
            values.discard(None)
        if len(values) > 1 and name not in left_out:
            unequal.append(name)
    return [", ".join(f"{name}={own[name]}" for name in unequal if own.get(name)) for own in parts]


def _parts(spec: RunSpec) -> dict[str, str]:
    """Return the parts of a spec as text; a name of two words is compared only between runs that have its first."""
    llm, prompt = to_json(spec.llm), spec.prompt
    model, _, revision = spec.llm.model.partition("@")
    parts = {
        "captions": captioners_label(spec),
        "prompt": prompt.template,
        f"{prompt.template} digest": prompt.template_digest,
        "controls": " ".join(controls(spec)),
        "mismatched seed": prompt.mismatch_seed,
        "shuffled seed": prompt.order_seed,
        "dataset": spec.dataset,
        f"{spec.dataset} digest": spec.dataset_digest,
        "only": " ".join(f"{tag}={'|'.join(values)}" for tag, values in sorted(spec.only.items())),
        "limit": spec.limit,
        f"{model} revision": revision,
        **llm.pop("params"),
        **llm,
    }
    if spec.rounds:
        parts |= {"rounds": spec.rounds.most, "rounds form": spec.rounds.form, "rounds version": spec.rounds.version}
        parts["rounds when"] = spec.rounds.when or "always"
        parts["rounds with"] = " ".join(f"{engine.slot}={engine.name}" for engine in spec.rounds.engines)
        for engine in spec.rounds.engines:
            for name, value in {"version": engine.version, **engine.params}.items():
                parts[f"rounds {engine.slot}={engine.name} {name}"] = value
    for captioner in spec.captioners:
        for name, value in {"version": captioner.version, **captioner.params}.items():
            if (captioner.name, name) == (SENT_AUDIO, "content"):
                continue  # The controls already name it.
            if name == "prompt":
                value = shipped_name(str(value)) or value
            parts[f"{captioner.slot}={captioner.name} {name}"] = value
    return {name: _brief(value) for name, value in parts.items() if value is not None}


def _brief(value: Any) -> str:
    """Return a value on one line; a digest or a long text is shortened, but stays distinct."""
    text = str(value)
    if text.startswith("b2:"):
        return text.removeprefix("b2:")[:8]
    line = " ".join(text.split())
    return text if line == text and len(text) <= _LONGEST else f"{line[: _LONGEST // 2]}… {_brief(digest(text))}"


def _variant_name(spec: RunSpec, full: RunSpec) -> str:
    slots, label = sources(spec), evidence_label(spec)
    if spec == full and (slots or spec.rounds):
        return f"all: {label}"
    if not slots:
        return label
    if slots == sources(full) and label != "oracle":
        changes = []
        if informed_slots(spec) != informed_slots(full):
            changes.append("question-aware" if informed_slots(spec) else "question-blind")
        if is_digested(spec) != is_digested(full):
            changes.append("digested" if is_digested(spec) else "undigested")
        if spec.rounds != full.rounds:
            changes.append(_rounds_label(spec))
        return ", ".join([*changes, *controls(spec)]) or label
    missing = [slot for slot in sources(full) if slot not in slots]
    if is_plain(spec) and len(missing) == 1:
        return f"{label} (without {missing[0]})" if len(slots) == 1 else f"without {missing[0]}"
    return label


def truncated_captions(captions: Iterable[CaptionRecord]) -> list[str]:
    """Return a line for each slot that has captions whose reply was cut off."""
    slots: dict[str, list[CaptionRecord]] = {}
    for caption in captions:
        slots.setdefault(caption.slot, []).append(caption)
    lines = []
    for slot, records in slots.items():
        names = [caption.item for caption in records if caption.meta.get("truncated") is True]
        if names:
            listed = ", ".join([*names[:3], "…"][: len(names)])
            lines.append(
                f"{slot}: {len(names)} of {len(records)} captions are cut off at the end: {listed}; they are used as "
                f"they are, and --caption-param {slot}.max_tokens=N with a higher limit makes all of {slot} anew"
            )
    return lines


def caption_costs(captions: Iterable[CaptionRecord]) -> dict[str, float | None]:
    """Return what the captions by providers cost when they were made, by key, in US dollars; None if unknown.

    A caption may come from a file that was made elsewhere: a value that is not an amount is unknown.
    """
    costs: dict[str, float | None] = {}
    for caption in captions:
        if "cost" in caption.meta:
            cost = caption.meta["cost"]
            known = isinstance(cost, int | float) and not isinstance(cost, bool) and 0 <= cost < 1e9
            costs[caption.key] = cost if known else None
    return costs
