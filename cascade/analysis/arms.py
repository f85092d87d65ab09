"""Arms compared: what the question, a digest and another listener are each worth, with what each run took an item.

A run's arms are read from its spec; two runs that differ in one of them alone are a pair.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import permutations
from pathlib import Path
from typing import Any, NamedTuple

from cascade.analysis import compare
from cascade.analysis.compare import PairedDifference
from cascade.errors import UserError
from cascade.io.jsonl import OMITTED
from cascade.runs import describe, directory
from cascade.scoring import voting
from cascade.scoring.matchers.registry import SCORERS
from cascade.scoring.outcomes import ScoredRun
from cascade.scoring.statistics import rate
from cascade.scoring.summary import chance
from cascade.scoring.voting import Agreement
from cascade.types import CaptionRecord, RunSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmRun:
    """A run: `question` says whether its listeners know the question, `digest` whether its captions are merged.

    `cost` (US dollars, None unknown) and `seconds` are of one item, on the average: what its captions, its digest and
    its replies took when they were made. `agreement` is of its samples, where it has several.
    """

    name: str
    run: str
    question: bool
    digest: bool
    listeners: tuple[str, ...]
    n: int
    accuracy: float
    ci95: tuple[float, float]
    failed: int
    unread: int
    cost: float | None
    seconds: float
    agreement: Agreement | None = field(default=None, metadata=OMITTED)


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmPair:
    """The paired difference `with_it` − `without_it` of two runs that differ in one arm; Holm's correction over all."""

    arm: str
    with_it: str
    without_it: str
    difference: PairedDifference


@dataclass(frozen=True, slots=True, kw_only=True)
class Arms:
    """The runs of an experiment and their pairs."""

    dataset: str
    llm: str
    n: int
    scorer: str
    chance: float
    runs: tuple[ArmRun, ...]
    pairs: tuple[ArmPair, ...]

    def __repr__(self) -> str:
        return f"Arms({self.dataset!r}, {len(self.runs)} runs, {len(self.pairs)} pairs)"

    def to_rows(self) -> list[dict[str, Any]]:
        """Return one row per pair."""
        names = ("arm", "with_it", "without_it")
        return [{**{name: getattr(pair, name) for name in names}, **pair.difference.to_row()} for pair in self.pairs]


class _Settings(NamedTuple):
    """What a run has of each arm: the slots that know the question, whether there is a digest, and all slots."""

    informed: frozenset[str]
    digest: bool
    sources: frozenset[str]


def read_arms(sources: Sequence[ScoredRun], *, scorer: str = "mmar") -> Arms:
    """Return runs of one dataset and model by their arms. Raises UserError for a file of predictions."""
    settings: list[_Settings] = []
    for source in sources:
        if source.spec is None:
            raise UserError(f"{source.about['run']}: a prediction file does not say what it was made with; give runs")
        settings.append(_settings(source.spec))
    runs = [_arm_run(source, scorer) for source in sources]
    pairs, differences = list[tuple[str, str, str]](), {}
    for arm, one, other in _differing(settings):
        pair = (arm, runs[one].name, runs[other].name)
        pairs.append(pair)
        differences[pair] = compare.overall(compare.compare(sources[one], sources[other], scorer=scorer))
    adjusted = compare.adjust_family(differences)
    return Arms(
        dataset=str(sources[0].about["dataset"]),
        llm=str(sources[0].about["llm"]),
        n=len(sources[0].items),
        scorer=scorer,
        chance=chance(sources[0].items)[scorer],
        runs=tuple(runs),
        pairs=tuple(
            ArmPair(arm=pair[0], with_it=pair[1], without_it=pair[2], difference=adjusted[pair]) for pair in pairs
        ),
    )


def _settings(spec: RunSpec) -> _Settings:
    return _Settings(describe.informed_slots(spec), describe.is_digested(spec), frozenset(describe.sources(spec)))


def _differing(settings: Sequence[_Settings]) -> Iterator[tuple[str, int, int]]:
    """Yield (arm, with it, without it) for each two runs, by their places, that differ in one arm."""
    for one, other in permutations(range(len(settings)), 2):
        a, b = settings[one], settings[other]
        more = a.sources - b.sources
        if (a.digest, a.sources) == (b.digest, b.sources) and a.informed > b.informed:
            yield "question", one, other
        elif (a.informed, a.sources) == (b.informed, b.sources) and a.digest > b.digest:
            yield "digest", one, other
        elif a.digest == b.digest and b.sources < a.sources and len(more) == 1 and a.informed - more == b.informed:
            yield f"listener {next(iter(more))}", one, other


def _arm_run(source: ScoredRun, scorer: str) -> ArmRun:
    path, spec = Path(str(source.about["run"])), source.spec
    assert spec is not None
    n, correct, samples = len(source.items), source.correct(scorer), spec.llm.samples
    whole, agreement = rate(list(correct.values())), None
    if samples > 1:
        agreement = voting.agreement(source.items, source.choices, SCORERS[scorer], samples, correct)
    captions: dict[str, CaptionRecord] = {}
    if (path / "captions.jsonl").exists():
        captions = {caption.key: caption for caption in directory.read_captions(path)}
    costs = [source.about["cost"], *(caption.meta["cost"] for caption in captions.values() if "cost" in caption.meta)]
    seconds = sum(answer.seconds for answer in directory.last_answers(path).values())
    seconds += sum(_number(caption.meta, "seconds") for caption in captions.values())
    return ArmRun(
        name=path.name,
        run=str(path),
        question=bool(describe.informed_slots(spec)),
        digest=describe.is_digested(spec),
        listeners=describe.sources(spec),
        n=n,
        accuracy=whole.accuracy,
        ci95=whole.ci95,
        failed=len(source.failed),
        unread=source.unread,
        cost=None if None in costs else sum(costs) / n,
        seconds=seconds / n,
        agreement=agreement,
    )


def _number(meta: Mapping[str, Any], name: str) -> float:
    value = meta.get(name)
    return float(value) if isinstance(value, int | float) else 0.0
