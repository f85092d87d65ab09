"""`cascade ablate`: a family of runs from one request, its captions made once, and what each source adds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cascade.cli import options as o
from cascade.cli import output
from cascade.cli.options import takes_request
from cascade.errors import UserError
from cascade.io.figures import percent
from cascade.io.tables import Interval, Points, PointsInterval, PValue, Share, format_table
from cascade.io.terminal import note, prose
from cascade.pipeline.request import Request

if TYPE_CHECKING:
    from cascade.analysis.ablation import Diagnosis, Family
    from cascade.analysis.compare import PairedDifference
    from cascade.io.tables import Cell, Row
    from cascade.pipeline.jobs import Job

_LEGEND = """
vs all: the paired difference to the full set, with a bootstrap interval; p: McNemar's exact test, Holm's correction.
adds: the full set less the run without that source.
perception: right with the benchmark's cues; reasoning: wrong with them, too."""
_KINDS = "alone,leave-one-out,blind,mismatched,oracle,shuffled"


@takes_request("shard", "shuffle_choices")  # mismatched captions come from the other items
def ablate(
    request: Request,
    *,
    variants: Annotated[
        str, typer.Option("--variants", metavar="KIND,…", help="The runs beside the full set.")
    ] = _KINDS,
    scorer: o.ScorerName = "mmar",
    form: o.Form = "table",
) -> None:
    """Ablate the sources: each alone, each left out, controls.

    Controls are blind, mismatched captions, the benchmark's own cues and shuffled choices. The runs share one folder;
    the same command again resumes all of them.
    """
    from cascade.analysis import ablation
    from cascade.pipeline.jobs import carry_out, count_spent, prepare, report_failures
    from cascade.runs import directory
    from cascade.scoring import outcomes

    output.check_format(form)
    output.check_scorer(scorer)
    jobs = _jobs(prepare(request), request, variants)
    if request.dry_run:
        _say_plans(jobs)
        return
    for job in jobs:
        if (there := _asked_before(job)) != job.path:
            directory.copy_run(there, job.path)
    count_spent(jobs)
    done = {job.path.name: carry_out(job) for job in jobs}
    failed = [report_failures(run) for run in done.values()]
    show(
        ablation.read_family([outcomes.score_source(job.path) for job in jobs], scorer=scorer, seed=request.seed), form
    )
    if any(failed):
        raise typer.Exit(3)


def _jobs(whole: Job, request: Request, variants: str) -> list[Job]:
    """The family's runs, in one folder; each is carried out as the whole one would be."""
    from cascade.captioners.registry import Engine
    from cascade.pipeline import ablation_plan
    from cascade.runs import directory

    kinds = [kind.strip() for kind in variants.split(",") if kind.strip()]
    cues = any(item.reference.get("cue") for item in whole.items)
    engine = Engine("oracle")
    oracle = engine.specify(engine.module.SLOT, {})[0] if cues else None
    found = ablation_plan.variants(whole.spec, request.seed, oracle, kinds)
    if "oracle" in kinds and not cues:
        note(f"{whole.spec.dataset} has no cues: no oracle run, and no telling ears from brain")
    if len({item.audio for item in whole.items}) < 2 and any(one.name == "mismatched" for one in found):
        raise UserError("mismatched captions need two different clips; raise --limit, or leave them out of --variants")
    usual = directory.default_directory(whole.how.runs, whole.spec)
    folder = request.out or usual.with_name(f"ablate-{usual.name}")
    return [replace(whole, path=folder / one.name, spec=one.spec) for one in found]


def _asked_before(job: Job) -> Path:
    """Where a run is: in the family or, before it is begun there, where `cascade run` keeps the same one."""
    from cascade.runs import directory

    usual = directory.default_directory(job.how.runs, job.spec)
    if job.path.exists() or not usual.exists():
        return job.path
    try:
        there = directory.read_run(usual)
    except UserError:
        return job.path
    same = directory.identity(there.spec) == directory.identity(job.spec) and there.manifest.part is None
    return usual if same and {item.id for item in there.items} <= {item.id for item in job.items} else job.path


def _say_plans(jobs: list[Job]) -> None:
    """What each run would take, and all of them together."""
    from cascade.pipeline import planning

    plans = [
        planning.plan(_asked_before(job), job.items, job.loaded.root, job.spec, job.template, job.how) for job in jobs
    ]
    rows: list[Row] = []
    for job, plan in zip(jobs, plans, strict=True):
        rows.append([job.path.name, plan.unmade, plan.calls, plan.input_tokens])
    typer.echo(f"{len(jobs)} runs in {jobs[0].path.parent}\n")
    typer.echo(format_table(["run", "captions to make", "calls", "tokens in"], rows))
    typer.echo("\n".join(planning.plan_lines(planning.combine(plans))))
    note("dry run: nothing was heard, asked or written")


def show(family: Family, form: str) -> None:
    """Print a family to stdout: its runs, what each source adds, and why wrong items are wrong. CSV has the runs."""
    if form == "json":
        output.echo_json(family)
        return
    if form == "table":
        what = f"{family.dataset} · {family.llm.split('@')[0]} · {family.n} items, by {family.scorer}"
        typer.echo(f"{what}; chance {percent(family.chance)}\n")
    tables = [_members(family)]
    if form != "csv" and family.adds:
        tables.append(_adds(family))
    if form != "csv" and family.diagnosis is not None:
        tables.append(_diagnosis(family.diagnosis))
    typer.echo("\n".join(format_table(rows[0], rows[1:], form) for rows in tables), nl=False)
    if form == "table":
        typer.echo(prose(_LEGEND))


def _members(family: Family) -> list[Row]:
    rows: list[Row] = [["", "n", family.scorer, "95 %", "strict", "vs all", "95 %", "p (Holm)", "failed", "unread"]]
    for member in family.members:
        cells: list[Cell] = [member.name, member.n, Share(member.accuracy), Interval(*member.ci95)]
        cells.append(Share(member.strict))
        if member.to_full is None:
            cells += [None, None, None]
        else:
            cells += [*_points(member.to_full), PValue(member.to_full.mcnemar.p_holm or 0.0)]
        rows.append([*cells, member.failed, member.unread])
    return rows


def _points(difference: PairedDifference) -> list[Cell]:
    return [Points(difference.difference), PointsInterval(*difference.ci95)]


def _adds(family: Family) -> list[Row]:
    """Return a row for each modality, two columns for each source."""
    groups = dict.fromkeys(group for values in family.adds.values() for group in values)
    rows: list[Row] = [["adds", "n", *(cell for slot in family.adds for cell in (slot, "95 %"))]]
    for group in groups:
        values = [values[group] for values in family.adds.values()]
        rows.append([group or "all", values[0].n, *(cell for value in values for cell in _points(value))])
    return rows


def _diagnosis(diagnosis: Diagnosis) -> list[Row]:
    """Return a row for each modality: how many wrong items are wrong by perception, and by reasoning."""
    from cascade.analysis import ablation

    kinds = [kind for kind in (ablation.PERCEPTION, ablation.REASONING, ablation.UNKNOWN) if diagnosis.counts.get(kind)]
    rows: list[Row] = [["wrong in all", "n", *kinds]]
    for name, counts in {"all": diagnosis.counts, **diagnosis.by}.items():
        rows.append([name, sum(counts.values()), *(counts.get(kind, 0) for kind in kinds)])
    return rows
