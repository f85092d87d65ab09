"""Published rows beside ours: the figure of a paper, and the result of our protocol for the same models.

The rows are in `published.yaml`, by kind. Each has its source, the published accuracies, the settings that the paper
does not state, and the flags of the run that reproduces it. No row's captions, and few rows' prompts, were published,
so a difference may come from the protocol as well as from the model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from cascade.analysis.compare import SIGNIFICANT
from cascade.io.jsonl import OMITTED
from cascade.plugins import DIGEST
from cascade.runs import describe
from cascade.scoring.outcomes import ScoredRun
from cascade.scoring.statistics import holm, rate, score_test
from cascade.scoring.summary import groups
from cascade.types import SENT_AUDIO, RunSpec

WHOLE = ""  # the group of all items
KINDS = ("LALM", "LARM", "OLM", "LLM", "LRM")  # of models: large audio, audio reasoning, omni; language, reasoning
_TABLE = Path(__file__).with_name("published.yaml")
_PUBLISHED_ON = ("mmar", 1000)  # the dataset and the number of items of the published figures


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedRow:
    """A published row, of one of KINDS. `published` has accuracies in [0, 1] by modality, `""` for all.

    `run` holds the flags of the run that reproduces it; if no server has the model, `unserved` gives the reason.
    """

    name: str
    title: str
    source: str
    ours: str
    published: Mapping[str, float]
    kind: str
    run: Mapping[str, Any] = field(default_factory=dict)
    unserved: str | None = field(default=None, metadata=OMITTED)


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedComparison:
    """A published accuracy beside ours, by the official matcher, with its 95 % Wilson interval.

    `differs` says whether the test that the interval inverts, with Holm's correction over the groups of a row, tells
    the published figure from ours; None where none was published, or for other items.
    """

    n: int
    published: float | None
    accuracy: float
    ci95: tuple[float, float]
    differs: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reproduced:
    """The result of our run in the place of a row: `groups` are all items (`""`) and each modality.

    `other_captions` are those of the run where they are not the row's.
    """

    row: str
    title: str
    source: str
    ours: str
    llm: str
    run: str
    failed: int
    unread: int
    groups: Mapping[str, PublishedComparison] = field(default_factory=dict)
    other_captions: str | None = field(default=None, metadata=OMITTED)


@cache
def published_rows() -> Mapping[str, PublishedRow]:
    """Return the published rows, by name, in the order of KINDS."""
    import yaml

    table = yaml.safe_load(_TABLE.read_text(encoding="utf-8"))
    rows = {}
    for kind in KINDS:
        for name, row in table["rows"][kind].items():
            figures = [figure / 100 for figure in row.pop("published")]
            published = dict(zip((WHOLE, *table["modalities"]), figures, strict=False))
            rows[name] = PublishedRow(name=name, kind=kind, published=published, **row)
    return rows


def matching_row(spec: RunSpec) -> PublishedRow | None:
    """Return the row that a run matches in model, captioners, digest, rounds and all parameters that the row sets.

    A run whose captioner is shown the question matches only a row that sets this.
    """
    engines, params = _evidence(spec)
    for row in published_rows().values():
        if row.run.get("llm") != _model(spec):
            continue
        row_engines, row_params = _row_evidence(row.run)
        informed = describe.informed_slots(spec)
        allowed = all({f"{slot}.question", f"{slot}.labels"} & row_params.keys() for slot in informed)
        if allowed and row_engines == engines and row_params.items() <= params.items():
            return row
    return None


def _evidence(spec: RunSpec) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a run's engines by slot and their parameters by `SLOT.NAME`; slots of rounds have the prefix `rounds.`."""
    engines: dict[str, Any] = {captioner.slot: captioner.name for captioner in spec.captioners}
    params: dict[str, Any] = {}
    for captioner in spec.captioners:
        params.update((f"{captioner.slot}.{name}", value) for name, value in captioner.params.items())
    if spec.rounds:
        engines |= {"rounds": spec.rounds.most, "rounds.when": spec.rounds.when or "always"}
        for engine in spec.rounds.engines:
            engines[f"rounds.{engine.slot}"] = engine.name
            params.update((f"rounds.{engine.slot}.{name}", str(value)) for name, value in engine.params.items())
    return engines, params


def _row_evidence(run: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the engines and the parameters in the flags of a row, in the form of `_evidence`."""
    engines, params = dict(run["captions"]), dict(run.get("caption-param", {}))
    if "digest" in run:
        engines[DIGEST] = DIGEST
        params |= {"digest.model": run["digest"], "digest.question": run.get("digest-question", False)}
    if "rounds" in run:
        engines |= {"rounds": run["rounds"], "rounds.when": run.get("rounds-when", "always")}
        for slot, engine in run["rounds-with"].items():
            engines[f"rounds.{slot}"], _, text = engine.rstrip(")").partition("(")
            pairs = [pair.split("=") for pair in text.split(",") if pair]
            params.update((f"rounds.{slot}.{name}", value) for name, value in pairs)
    return engines, params


def run_kind(scored: ScoredRun) -> str:
    """Return which of KINDS a run is: that of the row that it matches, else what its captioners and replies say.

    A run whose model gets the clip is of the kind that the rows give the model; a model of no row is LARM where its
    replies came with reasoning, else LALM. Other runs are LRM where they did, else LLM. A file has no kind, `""`.
    """
    spec = scored.spec
    if spec is None:
        return ""
    if row := matching_row(spec):
        return row.kind
    if spec.prompt.audio:
        for row in published_rows().values():
            if row.run.get("llm") == _model(spec) and SENT_AUDIO in row.run["captions"]:
                return row.kind
        return "LARM" if scored.reasoned else "LALM"
    return "LRM" if scored.reasoned else "LLM"


def _model(spec: RunSpec) -> str:
    return spec.llm.model.partition("@")[0]


def published_figures(scored: ScoredRun) -> Mapping[str, float]:
    """Return the published accuracies of the row that a run matches, by group; none for other items, or a control."""
    row = None
    if scored.spec and describe.is_plain(scored.spec) and _has_published_items(scored):
        row = matching_row(scored.spec)
    return row.published if row else {}


def _has_published_items(scored: ScoredRun) -> bool:
    return (scored.about["dataset"], len(scored.items)) == _PUBLISHED_ON


def compare_published(row: PublishedRow, scored: ScoredRun, published: Mapping[str, float] | None = None) -> Reproduced:
    """Compare a run with a row; `published` replaces the row's own figures where the model is another one."""
    figures = row.published if published is None else published
    right = scored.correct("mmar")
    same_items = _has_published_items(scored)
    ours, p_values = {}, {}
    for group, items in {WHOLE: list(right), **groups(scored.items).get("modality", {})}.items():
        ours[group] = share = rate([right[item] for item in items])
        if same_items and group in figures:
            # Papers print two decimals: the nearest share that rounds to the figure is tested.
            nearest = min(max(share.accuracy, figures[group] - 5e-5), figures[group] + 5e-5)
            p_values[group] = score_test(share.accuracy, share.n, nearest)
    differs = {group: p < SIGNIFICANT for group, p in zip(p_values, holm(list(p_values.values())), strict=True)}
    compared = {}
    for group, share in ours.items():
        compared[group] = PublishedComparison(
            n=share.n,
            published=figures.get(group),
            accuracy=share.accuracy,
            ci95=share.ci95,
            differs=differs.get(group),
        )
    return Reproduced(
        row=row.name,
        title=row.title,
        source=row.source,
        ours=row.ours,
        llm=str(scored.about["llm"]),
        run=str(scored.about["run"]),
        failed=len(scored.failed),
        unread=scored.unread,
        groups=compared,
    )
