"""Run directories as a report tells them: the main run first, each with its name beside the others, and what it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cascade.analysis import ablation, compare
from cascade.analysis.ablation import Diagnosis, Family
from cascade.analysis.compare import Comparison
from cascade.errors import RunError, UserError
from cascade.prompting import evidence
from cascade.runs import describe, directory
from cascade.runs.describe import control_role
from cascade.runs.directory import Run
from cascade.scoring import outcomes
from cascade.scoring.outcomes import ScoredRun
from cascade.scoring.statistics import holm
from cascade.scoring.summary import Summary, summarize
from cascade.types import Answer, CaptionRecord, RunSpec, Score


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportRun:
    """One run. `heard` is what its prompts were made from, by item and slot: another clip's where they are mismatched.

    `role` is `blind`, `mismatched`, `oracle`, `shuffled`, or `""` for a run that is no control.
    """

    name: str
    role: str
    run: Run
    judged: ScoredRun
    summary: Summary
    scores: Mapping[str, Score]
    answers: Mapping[tuple[str, int], Answer]
    heard: Mapping[str, Mapping[str, CaptionRecord]]

    def status(self, item: str) -> str:
        """`right`, `wrong`, `unread` or `failed` by the official matcher; `""` for an item that is not this run's."""
        if item not in self.scores:
            return ""
        if item in self.judged.failed:
            return "failed"
        score = self.scores[item]
        return "right" if score.correct["mmar"] else "wrong" if score.choice.text.strip() else "unread"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportData:
    """All that a report is made from. `main` is the full set, else the first run given; its items are the report's.

    `against` has main − other for each of `others`, `p_holm` McNemar's p adjusted over them. `family` are the runs of
    main's dataset and model together; None where main is alone in that. `diagnosis` is of main's wrong items, where
    such a run has the benchmark's cues.
    """

    main: ReportRun
    others: tuple[ReportRun, ...]
    against: tuple[Comparison, ...]
    p_holm: tuple[float, ...]
    family: Family | None
    diagnosis: Diagnosis | None

    @property
    def entries(self) -> tuple[ReportRun, ...]:
        """Every run, main first."""
        return (self.main, *self.others)

    def control(self, role: str) -> ReportRun | None:
        """The first other run that is this control, of main's model."""
        return _control(self.main, self.others, role)

    @property
    def causes(self) -> dict[str, str]:
        """For each item that main gets wrong `ears` (the run with the cues gets it), `brain` (it fails too), `unknown`.

        `unknown` is where that run has no reply. Empty where there is no such run.
        """
        return {item: CAUSES[cause] for item, cause in self.diagnosis.items.items()} if self.diagnosis else {}


CAUSES = {ablation.PERCEPTION: "ears", ablation.REASONING: "brain", ablation.UNKNOWN: "unknown"}


def _control(main: ReportRun, others: Sequence[ReportRun], role: str) -> ReportRun | None:
    return next((one for one in others if one.role == role and one.run.spec.llm == main.run.spec.llm), None)


def load_report(sources: Sequence[Path]) -> ReportData:
    """The runs in these directories, or in the folders of an ablation. Raises RunError or UserError, with the place."""
    entries = _entries(list(dict.fromkeys(path for source in sources for path in _directories(source))))
    place = ablation.full_set([one.run.spec for one in entries])
    main = entries[place]
    others = tuple(sorted((one for at, one in enumerate(entries) if at != place), key=_rank))
    against = tuple(compare.compare(main.judged, other.judged) for other in others)
    oracle = _control(main, others, "oracle")
    return ReportData(
        main=main,
        others=others,
        against=against,
        p_holm=tuple(holm([one.mcnemar.p for one in against])),
        family=_family(main, others),
        diagnosis=ablation.diagnose(main.judged, oracle.judged) if oracle else None,
    )


def _rank(entry: ReportRun) -> tuple[bool, int]:
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


def _entries(paths: Sequence[Path]) -> list[ReportRun]:
    judged = [outcomes.score_source(path) for path in paths]
    specs = [one.spec for one in judged if one.spec]
    names = _names(specs, paths)
    return [_entry(path, name, one) for path, name, one in zip(paths, names, judged, strict=True)]


def _entry(path: Path, name: str, judged: ScoredRun) -> ReportRun:
    run = directory.read_run(path)
    heard = directory.read_captions(path) if (path / "captions.jsonl").exists() else []
    return ReportRun(
        name=name,
        role=control_role(run.spec),
        run=run,
        judged=judged,
        summary=summarize(judged),
        scores={one.item: one for one in judged.scores},
        answers=directory.last_answers(path),
        heard=evidence.captions_shown({item.id: item.audio for item in run.items}, heard, run.spec.prompt)
        if heard
        else {},
    )


def _names(specs: Sequence[RunSpec], paths: Sequence[Path]) -> list[str]:
    """What tells the runs apart: their evidence, their models, both, or else their directories."""
    models = [spec.llm.model.split("@")[0] for spec in specs]
    variants = len(specs) > 1 and len(set(models)) == 1
    named = ablation.variant_names(specs) if variants else [describe.evidence_label(spec) for spec in specs]
    if len(set(models)) > 1:
        alike = len(set(named)) == 1
        named = [model if alike else f"{model}, {name}" for model, name in zip(models, named, strict=True)]
    named = [name.replace("+", " + ") for name in named]
    return [
        name if named.count(name) == 1 else f"{name} ({path.name})" for name, path in zip(named, paths, strict=True)
    ]


def _family(main: ReportRun, others: Sequence[ReportRun]) -> Family | None:
    spec = main.run.spec
    alike = [one for one in others if one.run.spec.llm == spec.llm and one.run.spec.dataset == spec.dataset]
    kept = [one for one in alike if one.run.spec.dataset_digest == spec.dataset_digest]
    return ablation.read_family([main.judged, *(one.judged for one in kept)]) if kept else None
