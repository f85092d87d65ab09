"""Run directories as a report tells them: the main run first, each with its name beside the others, and what it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cascade import ablations, comparing, families, marking, runs, scoring
from cascade.comparing import Comparison
from cascade.errors import RunError, UserError
from cascade.families import Diagnosis, Family
from cascade.marking import Judged
from cascade.runs import Heard, Run
from cascade.scoring import Summary
from cascade.stats import holm
from cascade.types import Answer, RunSpec, Score


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One run. `heard` is what its prompts were made from, by item and slot: another clip's where they are mismatched.

    `role` is `blind`, `mismatched`, `oracle`, `shuffled`, or `""` for a run that is no control.
    """

    name: str
    role: str
    run: Run
    judged: Judged
    summary: Summary
    scores: Mapping[str, Score]
    answers: Mapping[tuple[str, int], Answer]
    heard: Mapping[str, Mapping[str, Heard]]

    def status(self, item: str) -> str:
        """`right`, `wrong`, `unread` or `failed` by the official matcher; `""` for an item that is not this run's."""
        if item not in self.scores:
            return ""
        if item in self.judged.failed:
            return "failed"
        score = self.scores[item]
        return "right" if score.correct["mmar"] else "wrong" if score.choice.text.strip() else "unread"


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """All that a report is made from. `main` is the full set, else the first run given; its items are the report's.

    `against` has main − other for each of `others`, `p_holm` McNemar's p adjusted over them. `family` are the runs of
    main's dataset and model together; None where main is alone in that. `diagnosis` is of main's wrong items, where
    such a run has the benchmark's cues.
    """

    main: Entry
    others: tuple[Entry, ...]
    against: tuple[Comparison, ...]
    p_holm: tuple[float, ...]
    family: Family | None
    diagnosis: Diagnosis | None

    @property
    def entries(self) -> tuple[Entry, ...]:
        """Every run, main first."""
        return (self.main, *self.others)

    def control(self, role: str) -> Entry | None:
        """The first other run that is this control, of main's model."""
        return _control(self.main, self.others, role)

    @property
    def causes(self) -> dict[str, str]:
        """For each item that main gets wrong `ears` (the run with the cues gets it), `brain` (it fails too), `unknown`.

        `unknown` is where that run has no reply. Empty where there is no such run.
        """
        return {item: CAUSES[cause] for item, cause in self.diagnosis.items.items()} if self.diagnosis else {}


CAUSES = {families.EARS: "ears", families.BRAIN: "brain", families.UNKNOWN: "unknown"}


def _control(main: Entry, others: Sequence[Entry], role: str) -> Entry | None:
    return next((one for one in others if one.role == role and one.run.spec.llm == main.run.spec.llm), None)


def load(sources: Sequence[Path]) -> Told:
    """The runs in these directories, or in the folders of an ablation. Raises RunError or UserError, with the place."""
    entries = _entries(list(dict.fromkeys(path for source in sources for path in _directories(source))))
    place = families.full([one.run.spec for one in entries])
    main = entries[place]
    others = tuple(sorted((one for at, one in enumerate(entries) if at != place), key=_rank))
    against = tuple(comparing.compare(main.judged, other.judged) for other in others)
    oracle = _control(main, others, "oracle")
    return Told(
        main=main,
        others=others,
        against=against,
        p_holm=tuple(holm([one.mcnemar.p for one in against])),
        family=_family(main, others),
        diagnosis=families.diagnose(main.judged, oracle.judged) if oracle else None,
    )


def _rank(entry: Entry) -> tuple[bool, int]:
    """Controls come last, sources alone before several together; for the rest runs stand as they were given."""
    return bool(entry.role), len(entry.run.spec.prompt.slots) if not entry.role else 0


def _directories(source: Path) -> list[Path]:
    """The run that a folder is, or the runs that lie in it."""
    if source.is_dir() and not (source / "run.json").exists():
        inside = sorted(path.parent for path in source.glob("*/run.json"))
        if not inside:
            raise RunError(
                f"{source} is no run directory, and has none in it: make one with `cascade run --out {source}`"
            )
        return inside
    if source.is_file():
        raise UserError(
            f"{source} is a file: a report is made from run directories; `cascade score {source}` scores it"
        )
    if not source.is_dir():
        raise RunError(f"{source}: there is no such run directory; `ls runs` shows those of `cascade run`")
    return [source]


def _entries(paths: Sequence[Path]) -> list[Entry]:
    judged = [marking.judged(path) for path in paths]
    specs = [one.spec for one in judged if one.spec]
    names = _names(specs, paths)
    return [_entry(path, name, one) for path, name, one in zip(paths, names, judged, strict=True)]


def _entry(path: Path, name: str, judged: Judged) -> Entry:
    run = runs.read(path)
    heard = runs.captions(path) if (path / "captions.jsonl").exists() else []
    return Entry(
        name=name,
        role=role(run.spec),
        run=run,
        judged=judged,
        summary=scoring.summary(judged),
        scores={one.item: one for one in judged.scores},
        answers=runs.answers(path),
        heard=ablations.shown(run.items, heard, run.spec.prompt) if heard else {},
    )


def role(spec: RunSpec) -> str:
    """Which control a run is, by its spec alone; `""` for none."""
    if not spec.captioners:
        return "blind"
    if spec.prompt.mismatch_seed is not None:
        return "mismatched"
    if any(one.name == "oracle" for one in spec.captioners):
        return "oracle"
    return "shuffled" if spec.prompt.order_seed is not None else ""


def _names(specs: Sequence[RunSpec], paths: Sequence[Path]) -> list[str]:
    """What tells the runs apart: their evidence, their models, both, or else their directories."""
    models = [spec.llm.model.split("@")[0] for spec in specs]
    variants = len(specs) > 1 and len(set(models)) == 1
    named = families.names(specs) if variants else [ablations.label(spec) for spec in specs]
    if len(set(models)) > 1:
        alike = len(set(named)) == 1
        named = [model if alike else f"{model}, {name}" for model, name in zip(models, named, strict=True)]
    named = [name.replace("+", " + ") for name in named]
    return [
        name if named.count(name) == 1 else f"{name} ({path.name})" for name, path in zip(named, paths, strict=True)
    ]


def _family(main: Entry, others: Sequence[Entry]) -> Family | None:
    spec = main.run.spec
    alike = [one for one in others if one.run.spec.llm == spec.llm and one.run.spec.dataset == spec.dataset]
    kept = [one for one in alike if one.run.spec.dataset_digest == spec.dataset_digest]
    return families.family([main.judged, *(one.judged for one in kept)]) if kept else None
