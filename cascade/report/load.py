"""The data of a report: run directories, the main run first, each with its name beside the others and its role."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from msgspec import UNSET, structs

from cascade.analysis import ablation, compare, published
from cascade.analysis.ablation import PERCEPTION, REASONING, UNKNOWN, Diagnosis
from cascade.analysis.compare import Comparison, PairedDifference
from cascade.errors import RunError, UserError
from cascade.prompting.evidence import captions_shown
from cascade.runs import describe, directory
from cascade.runs.directory import Run
from cascade.scoring import outcomes
from cascade.scoring.outcomes import ScoredRun
from cascade.scoring.summary import ScorerResult, Summary, summarize
from cascade.types import Answer, CaptionRecord, RunSpec

CAUSES = (PERCEPTION, REASONING, UNKNOWN)
# The keys of the page's filters, each with its tag and the tag's name for people.
TAGS = {"modality": ("modality", "modality"), "layer": ("category", "layer"), "sub": ("sub-category", "sub-category")}


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportRun:
    """One run of a report.

    `role` is `blind`, `mismatched`, `oracle`, `shuffled`, or `""` for a run that is no control. `captions` are those of
    its prompts, by item and slot: another clip's where they are mismatched. `kind` is that of MMAR's table. `published`
    has the accuracies of the published row that it matches, by modality, `""` for all; it may be empty.
    """

    name: str
    role: str
    run: Run
    scored: ScoredRun
    summary: Summary
    answers: Mapping[tuple[str, int], Answer]
    captions: Mapping[str, Mapping[str, CaptionRecord]]
    kind: str
    published: Mapping[str, float]

    @property
    def read_score(self) -> ScorerResult | None:
        """The score by a second reader's readings too; None where no reader was asked."""
        readings = self.summary.readings
        return self.summary.scores[readings.column] if readings else None

    @property
    def spec(self) -> RunSpec:
        """What was asked for."""
        return self.run.spec

    def status(self, item: str) -> str:
        """Return `right`, `wrong`, `unread` or `failed` by the official matcher; `""` for an item of another run."""
        score = self.scored.scores.get(item)
        if score is None:
            return ""
        if item in self.scored.failed:
            return "failed"
        if score.correct["mmar"]:
            return "right"
        return "wrong" if score.choice.text.strip() else "unread"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportData:
    """Everything that a report is made from.

    `main` is the full set, else the first run given; its items are the report's. `comparisons` are other − main for
    each of `others`, with Holm's correction over them; `alike` are the others of main's model. `adds` and `hearing` are
    those of the family of main and `alike`. `diagnosis` is of main's wrong items, if a run in `alike` has the
    benchmark's cues.
    """

    main: ReportRun
    others: tuple[ReportRun, ...]
    alike: tuple[ReportRun, ...]
    comparisons: tuple[Comparison, ...]
    adds: Mapping[str, Mapping[str, PairedDifference]]
    hearing: Mapping[str, Mapping[str, PairedDifference]]
    diagnosis: Diagnosis | None

    @property
    def read(self) -> bool:
        """Whether a second reader was asked about the replies of a run."""
        return any(run.summary.readings for run in self.runs)

    @property
    def runs(self) -> tuple[ReportRun, ...]:
        """Every run, main first."""
        return (self.main, *self.others)

    @property
    def kinds(self) -> bool:
        """Whether the runs are of several kinds."""
        return len({run.kind for run in self.runs}) > 1

    @property
    def causes(self) -> Mapping[str, str]:
        """One of CAUSES for each item that main gets wrong; empty where no run has the benchmark's cues."""
        return self.diagnosis.items if self.diagnosis else {}

    @property
    def audio_alone(self) -> ReportRun | None:
        """The first other run of main's model that was sent the clip alone; None where main has no captions."""
        if not set(self.main.spec.prompt.slots) - {self.main.spec.prompt.audio}:
            return None
        for run in self.alike:
            alone = run.spec.prompt.audio and run.spec.prompt.slots == (run.spec.prompt.audio,)
            if alone and describe.is_plain(run.spec):
                return run
        return None

    def control(self, role: str) -> ReportRun | None:
        """Return the first other run that is this control, of main's model."""
        return next((run for run in self.alike if run.role == role), None)


def load_report(sources: Sequence[Path]) -> ReportData:
    """Return the data of the runs in these directories, or in the folders of an ablation.

    Raises RunError or UserError, with the place, for what is no run or cannot be paired.
    """
    paths = list(dict.fromkeys(path for source in sources for path in _run_directories(source)))
    runs = _load_runs(paths)
    main = runs[describe.full_set([run.spec for run in runs])]
    others = sorted((run for run in runs if run is not main), key=lambda run: (run.kind != main.kind, *_rank(run)))
    comparisons = [compare.compare(other.scored, main.scored) for other in others]
    corrected = compare.adjust_family({place: comparison.whole for place, comparison in enumerate(comparisons)})
    alike = [run for run in others if describe.same_model(run.spec.llm, main.spec.llm)]
    oracle = next((run for run in alike if run.role == "oracle"), None)
    diagnosis = ablation.diagnose(main.scored, oracle.scored) if oracle else None
    variants = [run.scored for run in alike if run.spec.dataset_digest == main.spec.dataset_digest]
    family = ablation.read_family([main.scored, *variants]) if variants else None
    return ReportData(
        main=main,
        others=tuple(others),
        alike=tuple(alike),
        comparisons=tuple(replace(comparisons[place], mcnemar=each.mcnemar) for place, each in corrected.items()),
        adds=family.adds if family else {},
        hearing=(family and family.hearing) or {},
        diagnosis=diagnosis,
    )


def _rank(run: ReportRun) -> tuple[int, bool, int]:
    """Return the sort key of a run: by kind, controls last, and single sources before combinations of them."""
    slots = 0 if run.role else len(run.spec.prompt.slots)  # Controls keep their order.
    return published.KINDS.index(run.kind), bool(run.role), slots


def _run_directories(source: Path) -> list[Path]:
    """Return the run that a folder is, or the runs that lie in it."""
    if source.is_file():
        raise UserError(
            f"{source} is a file: a report is made from run directories; `cascade score {source}` scores it"
        )
    if not source.is_dir():
        raise RunError(f"{source}: there is no such run directory; `ls runs` shows those of `cascade run`")
    runs = directory.find_runs(source)
    if not runs:
        raise RunError(f"{source} is no run directory, and has none in it: make one with `cascade run --out {source}`")
    return runs


def _load_runs(paths: Sequence[Path]) -> list[ReportRun]:
    scored = [outcomes.score_source(path) for path in paths]
    runs = [directory.read_run(path) for path in paths]
    loaded = []
    for path, name, run, scores in zip(paths, _names([run.spec for run in runs], paths), runs, scored, strict=True):
        captions = directory.read_captions(path) if (path / "captions.jsonl").exists() else []
        clips = {item.id: item.audio for item in run.items}
        loaded.append(
            ReportRun(
                name=name,
                role=describe.control_role(run.spec),
                run=replace(run, items=tuple(scores.items)),
                scored=scores,
                summary=summarize(scores),
                answers=directory.last_answers(path),
                captions=captions_shown(clips, captions, run.spec.prompt) if captions else {},
                kind=published.run_kind(scores),
                published=published.published_figures(scores),
            )
        )
    return loaded


def _names(specs: Sequence[RunSpec], paths: Sequence[Path]) -> list[str]:
    """Return distinct names of the runs: from their models, evidence and other differences, or from their paths."""
    # The evidence of a run names its rounds.
    models = [
        describe.with_answer_form(spec.llm.model.split("@")[0], structs.replace(spec, rounds=UNSET)) for spec in specs
    ]
    several = len(set(models)) > 1
    if several or len(specs) == 1:
        names = [describe.evidence_label(spec) for spec in specs]
    else:
        names = describe.variant_names(specs)
    if several and len(set(names)) == 1:
        names = models
    elif several:
        names = [f"{model}, {name}" for model, name in zip(models, names, strict=True)]
    # Engines are named where a slot has several.
    engines = {(captioner.slot, captioner.name) for spec in specs for captioner in spec.captioners}
    named = ["model", "controls", "answer_as", "rounds", "rounds when"]
    if len({slot for slot, _ in engines}) == len(engines):
        named.append("captions")
    if not several:
        # The name of a variant says whether its listeners were told the question, and so which prompt they had.
        informed = [describe.informed_slots(spec) for spec in specs]
        turned = informed[0].union(*informed) - informed[0].intersection(*informed)
        named += [f"{slot}={name} prompt" for slot, name in engines if slot in turned]
    further = describe.differences(specs, named)
    names = [
        ", ".join(filter(None, [name.replace("+", " + "), text])) for name, text in zip(names, further, strict=True)
    ]
    return [name if names.count(name) == 1 else f"{name} ({path})" for name, path in zip(names, paths, strict=True)]
