"""A family of runs read together: each variant beside the full set, what each source adds, and ears or brain.

A run's part is read off its spec: which slots it has, whether its captions are another clip's, whether its choices are
shuffled, whether the benchmark's cues stand in the place of captions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from cascade.analysis import compare
from cascade.analysis.compare import PairedDifference
from cascade.errors import UserError
from cascade.runs import describe
from cascade.scoring.outcomes import ScoredRun
from cascade.scoring.statistics import holm, rate
from cascade.scoring.summary import chance
from cascade.types import RunSpec

PERCEPTION, REASONING, UNKNOWN = "perception", "reasoning", "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A variant: accuracy by the scorer with a Wilson interval, `strict` beside it, and its paired difference to the
    full set (variant − full; None for the full set itself), with Holm's correction over the family.
    """

    name: str
    run: str
    n: int
    accuracy: float
    ci95: tuple[float, float]
    strict: float
    failed: int
    unread: int
    cost: float | None
    to_full: PairedDifference | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """The full set's wrong items, beside the run with the benchmark's cues.

    `perception`: that run gets them, so the captions lacked something; `reasoning`: it fails too; `unknown`: it has no
    reply. `by` has the same counts by modality, `items` each wrong item's label.
    """

    counts: Mapping[str, int]
    by: Mapping[str, Mapping[str, int]]
    items: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """Variants of one run. `adds` is, for each source, full − without it: in all (`""`) and by modality."""

    dataset: str
    llm: str
    n: int
    scorer: str
    chance: float
    members: tuple[Member, ...]
    adds: Mapping[str, Mapping[str, PairedDifference]]
    diagnosis: Diagnosis | None = None

    def __repr__(self) -> str:
        return f"Family({self.dataset!r}, {len(self.members)} runs, {self.n} items)"

    def to_rows(self) -> list[dict[str, Any]]:
        """Return a row a variant; the full set has no difference to itself."""
        rows: list[dict[str, Any]] = []
        for member in self.members:
            names = ("name", "run", "n", "accuracy", "strict", "failed", "unread", "cost")
            row = {name: getattr(member, name) for name in names}
            row |= {"low": member.ci95[0], "high": member.ci95[1]}
            row |= dict.fromkeys(("difference", "difference_low", "difference_high", "p", "p_holm"))
            if pair := member.to_full:
                row |= {"difference": pair.difference, "p": pair.mcnemar.p, "p_holm": pair.mcnemar.p_holm}
                row |= {"difference_low": pair.ci95[0], "difference_high": pair.ci95[1]}
            rows.append(row)
        return rows


def read_family(sources: Sequence[ScoredRun], *, scorer: str = "mmar", seed: int = 0) -> Family:
    """Runs of one dataset and model that differ in evidence or choice order. Raises UserError for others."""
    specs = [_spec(source) for source in sources]
    if any((spec.dataset_digest, spec.llm) != (specs[0].dataset_digest, specs[0].llm) for spec in specs):
        raise UserError("these are no variants of one run: they are of different datasets or models")
    place = full_set(specs)
    whole = sources[place]
    differences = {
        at: compare.compare(source, whole, scorer=scorer, seed=seed) for at, source in enumerate(sources) if at != place
    }
    adjusted = dict(zip(differences, holm([one.mcnemar.p for one in differences.values()]), strict=True))
    members = [
        _member(
            source, variant_names(specs)[at], scorer, _paired(differences[at], adjusted[at]) if at != place else None
        )
        for at, source in enumerate(sources)
    ]
    return Family(
        dataset=specs[place].dataset,
        llm=specs[place].llm.model,
        n=len(whole.items),
        scorer=scorer,
        chance=chance(whole.items)[scorer],
        members=tuple(members),
        adds=_adds(sources, specs, place, scorer, seed),
        diagnosis=_diagnosis(whole, specs, sources, scorer),
    )


def full_set(specs: Sequence[RunSpec]) -> int:
    """The place of the full set: the run with most sources, none of them a control. The first, where several are."""
    plain = [at for at, spec in enumerate(specs) if _plain(spec)]
    return max(plain or range(len(specs)), key=lambda at: (len(specs[at].prompt.slots), -at))


def variant_names(specs: Sequence[RunSpec]) -> list[str]:
    """What each run is called beside the others: `all`, `without X`, a source alone, or which control it is."""
    whole = specs[full_set(specs)]
    return [_name(spec, whole) for spec in specs]


def _name(spec: RunSpec, whole: RunSpec) -> str:
    slots, all_slots = spec.prompt.slots, whole.prompt.slots
    missing = [slot for slot in all_slots if slot not in slots]
    told = describe.evidence_label(spec)
    if spec == whole:
        return f"all: {told}" if slots else told
    if spec.prompt.slots == all_slots and told != "oracle" and slots:
        return told.removeprefix("+".join(slots)).lstrip(", ") or told
    if _plain(spec) and len(missing) == 1 and slots:
        return f"{told} (without {missing[0]})" if len(slots) == 1 else f"without {missing[0]}"
    return told


def _plain(spec: RunSpec) -> bool:
    controls = spec.prompt.mismatch_seed is not None or spec.prompt.order_seed is not None
    return not controls and all(one.name != "oracle" for one in spec.captioners)


def _spec(source: ScoredRun) -> RunSpec:
    if source.spec is None:
        raise UserError(f"{source.about['run']}: a prediction file does not say what it was made with; give runs")
    return source.spec


def _member(source: ScoredRun, name: str, scorer: str, to_full: PairedDifference | None) -> Member:
    shares = {rule: rate([one.correct[rule] for one in source.scores]) for rule in (scorer, "strict")}
    return Member(
        name=name,
        run=str(source.about["run"]),
        n=len(source.scores),
        accuracy=shares[scorer].accuracy,
        ci95=shares[scorer].ci95,
        strict=shares["strict"].accuracy,
        failed=len(source.failed),
        unread=sum(not one.choice.text.strip() for one in source.scores) - len(source.failed),
        cost=source.about["cost"],
        to_full=to_full,
    )


def _paired(found: compare.Comparison, p_holm: float) -> PairedDifference:
    whole = compare.overall(found)
    return replace(whole, mcnemar=replace(whole.mcnemar, p_holm=p_holm))


def _adds(
    sources: Sequence[ScoredRun], specs: Sequence[RunSpec], place: int, scorer: str, seed: int
) -> dict[str, dict[str, PairedDifference]]:
    """For each source whose run without it is there: what the full set gains by it, in all and by modality."""
    slots = specs[place].prompt.slots
    without = {spec.prompt.slots: at for at, spec in reversed(list(enumerate(specs))) if _plain(spec)}
    added: dict[str, dict[str, PairedDifference]] = {}
    for slot in slots:
        at = without.get(tuple(one for one in slots if one != slot))
        if at is not None:
            found = compare.compare(sources[place], sources[at], scorer=scorer, seed=seed)
            added[slot] = {"": compare.overall(found), **found.by.get("modality", {})}
    return added


def _diagnosis(
    whole: ScoredRun, specs: Sequence[RunSpec], sources: Sequence[ScoredRun], scorer: str
) -> Diagnosis | None:
    oracle = next(
        (one for spec, one in zip(specs, sources, strict=True) if describe.evidence_label(spec) == "oracle"), None
    )
    return diagnose(whole, oracle, scorer) if oracle else None


def diagnose(whole: ScoredRun, oracle: ScoredRun, scorer: str = "mmar") -> Diagnosis:
    """Each wrong item of a run by what the run with the benchmark's cues makes of it."""
    right = {one.item: one.correct[scorer] for one in oracle.scores}
    wrong = [one for one in whole.scores if not one.correct[scorer]]

    def cause(item: str) -> str:
        return UNKNOWN if item not in right or item in oracle.failed else PERCEPTION if right[item] else REASONING

    labels = {one.item: cause(one.item) for one in wrong}
    by: dict[str, Counter[str]] = {}
    for one in wrong:
        by.setdefault(str(one.tags.get("modality", "")), Counter())[labels[one.item]] += 1
    ordered = sorted(by, key=lambda value: (-by[value].total(), value))
    return Diagnosis(counts=Counter(labels.values()), by={value: by[value] for value in ordered}, items=labels)
