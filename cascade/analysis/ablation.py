"""A family of runs: each variant beside the full set, what each source adds, and perception or reasoning.

A run's role is read from its spec: its slots, whether its captions are another clip's, whether its choices are
shuffled, and whether the benchmark's cues stand in the place of captions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cascade.analysis import compare
from cascade.analysis.compare import PairedDifference
from cascade.io.jsonl import OMITTED
from cascade.runs import describe, directory
from cascade.scoring.outcomes import ScoredRun
from cascade.scoring.summary import chance
from cascade.scoring.voting import Agreement
from cascade.types import RunSpec

AUDIO_CONTROLS = ("audio - blind", "audio - mismatched", "audio - silence", "audio - reversed")
PERCEPTION, REASONING, UNKNOWN = "perception", "reasoning", "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A variant: its accuracy by the scorer with a Wilson interval, and by `strict`.

    `inapplicable` items (None if there are none) cannot be asked in this variant: both sides of every figure omit them.
    `to_full` is the paired difference variant − full, with Holm's correction over the family; None for the full set.
    If requested, `item_cost` (US dollars) and `item_seconds` are the average for an item's captions and replies
    when they were made; captions that items share count once. `agreement` is of several samples.
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
    inapplicable: int | None = field(default=None, metadata=OMITTED)
    item_cost: float | None = field(default=None, metadata=OMITTED)
    item_seconds: float | None = field(default=None, metadata=OMITTED)
    agreement: Agreement | None = field(default=None, metadata=OMITTED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """The causes of the full set's wrong items, by the run with the benchmark's cues.

    `perception`: that run gets the item right, so the captions lacked something; `reasoning`: it fails too; `unknown`:
    it has no reply, or no cues. `by` has the same counts by modality, `items` each wrong item's cause.
    """

    counts: Mapping[str, int]
    by: Mapping[str, Mapping[str, int]]
    items: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """Variants of one run. `adds` is, for each source, full − without it: in all (`""`) and by modality.

    `hearing` has more differences of that form where the clip itself is among the sources, by their names (`_hearing`).
    Holm's correction is over the sources, over the differences of hearing, and over the modalities of each.
    """

    dataset: str
    llm: str
    n: int
    scorer: str
    chance: float
    members: tuple[Member, ...]
    adds: Mapping[str, Mapping[str, PairedDifference]]
    diagnosis: Diagnosis | None = None
    hearing: Mapping[str, Mapping[str, PairedDifference]] | None = field(default=None, metadata=OMITTED)

    def __repr__(self) -> str:
        return f"Family({self.dataset!r}, {len(self.members)} runs, {self.n} items)"

    def to_rows(self) -> list[dict[str, Any]]:
        """Return one row per variant; the full set has no difference to itself."""
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


def read_family(sources: Sequence[ScoredRun], *, scorer: str = "mmar", effort: bool = False) -> Family:
    """Read runs of one dataset and model, which differ in evidence or choice order.

    With `effort` members have the cost and time of an item.
    """
    specs = [source.spec for source in sources if source.spec]
    full, pairs = describe.full_set(specs), list(zip(sources, specs, strict=True))
    whole = sources[full]
    differences = {}
    for place, source in enumerate(sources):
        if place != full:
            differences[place] = compare.compare(source, whole, scorer=scorer).whole
    differences = compare.adjust_family(differences)
    members = []
    for place, name in enumerate(describe.variant_names(specs)):
        members.append(_member(sources[place], name, scorer, differences.get(place), effort=effort))
    adds: dict[str, tuple[ScoredRun, ScoredRun]] = {}
    slots, digested = describe.sources(specs[full]), describe.is_digested(specs[full])
    plain = {}
    for source, spec in reversed(pairs):
        captioned = bool({*describe.sources(spec)} - {spec.prompt.audio})  # A digest needs captions.
        if describe.is_plain(spec) and describe.is_digested(spec) == (digested and captioned):
            plain[describe.sources(spec)] = source
    for slot in slots:
        without = plain.get(tuple(other for other in slots if other != slot))
        if without is not None:
            adds[slot] = (whole, without)
    oracles = [source for source, spec in pairs if describe.control_role(spec) == "oracle"]
    return Family(
        dataset=specs[full].dataset,
        llm=specs[full].llm.model,
        n=len(whole.items),
        scorer=scorer,
        chance=chance(whole.items)[scorer],
        members=tuple(members),
        adds=_differences(adds, scorer),
        hearing=_differences(_hearing(specs[full], pairs), scorer) or None,
        diagnosis=diagnose(whole, oracles[0], scorer) if oracles else None,
    )


def _hearing(full: RunSpec, pairs: Sequence[tuple[ScoredRun, RunSpec]]) -> dict[str, tuple[ScoredRun, ScoredRun]]:
    """Return the pairs of runs that say what hearing and captions are worth, by the name of their difference.

    `all - captions` is what hearing adds to captions, `all - audio` what captions add to hearing; the others compare
    the clip alone with the captions alone and with controls.
    """
    if not full.prompt.audio:
        return {}
    runs = {
        (spec.prompt.slots, *describe.controls(spec)): source
        for source, spec in reversed(pairs)
        if describe.control_role(spec) != "oracle" and (spec.prompt.slots or not spec.rounds)
    }
    audio = (full.prompt.audio,)
    captions = tuple(slot for slot in full.prompt.slots if slot not in audio)
    wanted = {
        "all - captions": ((full.prompt.slots,), (captions,)),
        "all - audio": ((full.prompt.slots,), (audio,)),
        "audio - captions": ((audio,), (captions,)),
        "audio - blind": ((audio,), ((),)),
        **{name: ((audio,), (audio, name.removeprefix("audio - "))) for name in AUDIO_CONTROLS[1:]},
    }
    if not captions:  # "all" is the audio, and without captions a run is blind.
        wanted = {name: wanted[name] for name in AUDIO_CONTROLS}
    return {name: (runs[run], runs[other]) for name, (run, other) in wanted.items() if run in runs and other in runs}


def _differences(
    pairs: Mapping[str, tuple[ScoredRun, ScoredRun]], scorer: str
) -> dict[str, dict[str, PairedDifference]]:
    """Return the paired difference of each pair: in all (`""`), corrected over the pairs, and by modality."""
    differences = {}
    for name, (run, other) in pairs.items():
        comparison = compare.compare(run, other, scorer=scorer)
        differences[name] = {"": comparison.whole, **comparison.by.get("modality", {})}
    corrected = compare.adjust_family({name: groups[""] for name, groups in differences.items()})
    return {name: {**groups, "": corrected[name]} for name, groups in differences.items()}


def _item_effort(source: ScoredRun) -> tuple[float | None, float]:
    """Return the US dollars (None where a price is unknown) and the seconds that an item of a run took."""
    path, n = Path(str(source.about["run"])), len(source.items)
    captions = {}
    if (path / "captions.jsonl").exists():
        captions = {caption.key: caption.meta for caption in directory.read_captions(path)}
    costs = [source.about["cost"], *(meta["cost"] for meta in captions.values() if "cost" in meta)]
    times = [meta.get("seconds") for meta in captions.values()]
    seconds = sum(float(time) for time in times if isinstance(time, int | float))
    seconds += sum(answer.seconds for answer in directory.last_answers(path).values())
    return None if None in costs else sum(costs) / n, seconds / n


def _member(source: ScoredRun, name: str, scorer: str, to_full: PairedDifference | None, *, effort: bool) -> Member:
    whole = source.rate(scorer)
    item_cost, item_seconds = _item_effort(source) if effort else (None, None)
    return Member(
        name=name,
        run=str(source.about["run"]),
        n=whole.n,
        accuracy=whole.accuracy,
        ci95=whole.ci95,
        strict=source.rate("strict").accuracy,
        failed=len(source.failed),
        unread=source.unread,
        cost=source.about["cost"],
        to_full=to_full,
        inapplicable=source.about["inapplicable"],
        item_cost=item_cost,
        item_seconds=item_seconds,
        agreement=source.agreement(scorer, source.items),
    )


def diagnose(whole: ScoredRun, oracle: ScoredRun, scorer: str = "mmar") -> Diagnosis:
    """Return the cause of each wrong item of a run, by the run with the benchmark's cues."""
    right = oracle.correct(scorer)
    causes: dict[str, str] = {}
    by: dict[str, Counter[str]] = {}
    for score in whole.scores.values():
        if score.correct[scorer]:
            continue
        if score.item not in right or score.item in oracle.failed:
            cause = UNKNOWN
        else:
            cause = PERCEPTION if right[score.item] else REASONING
        causes[score.item] = cause
        by.setdefault(str(score.tags.get("modality", "")), Counter())[cause] += 1
    ordered = sorted(by.items(), key=lambda pair: (-pair[1].total(), pair[0]))
    return Diagnosis(counts=Counter(causes.values()), by=dict(ordered), items=causes)
