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
from cascade.io.figures import interval, p_value, percent, signed
from cascade.io.tables import format_table
from cascade.io.terminal import note, prose
from cascade.pipeline.request import Request

if TYPE_CHECKING:
    from cascade.analysis.ablation import Family, Member
    from cascade.analysis.compare import PairedDifference
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
    rows = [
        [job.path.name, str(plan.unmade), str(plan.calls), str(plan.input_tokens)]
        for job, plan in zip(jobs, plans, strict=True)
    ]
    typer.echo(f"{len(jobs)} runs in {jobs[0].path.parent}\n")
    typer.echo(format_table(["run", "captions to make", "calls", "tokens in"], rows))
    typer.echo("\n".join(planning.plan_lines(planning.combine(plans))))
    note("dry run: nothing was heard, asked or written")


# What came of it


def show(found: Family, form: str) -> None:
    """Print a family to stdout: its members, what each source adds, ears or brain. CSV has the members alone."""
    if form == "json":
        output.echo_json(found)
        return
    if form == "table":
        what = f"{found.dataset} · {found.llm.split('@')[0]} · {found.n} items, by {found.scorer}"
        typer.echo(f"{what}; chance {percent(found.chance)}\n")
    tables = [_members(found), *([] if form == "csv" else [_adds(found), _diagnosis(found)])]
    typer.echo("\n".join(format_table(rows[0], rows[1:], form) for rows in tables if rows), nl=False)
    if form == "table":
        typer.echo(prose(_LEGEND))


def _members(found: Family) -> list[list[str]]:
    rows = [["", "n", found.scorer, "95 %", "strict", "vs all", "95 %", "p (Holm)", "failed", "unread"]]
    return [*rows, *(_member(one) for one in found.members)]


def _member(one: Member) -> list[str]:
    apart = ["", "", ""] if one.to_full is None else [*_points(one.to_full), p_value(one.to_full.mcnemar.p_holm or 0.0)]
    shares = [percent(one.accuracy), interval(one), percent(one.strict)]
    return [one.name, str(one.n), *shares, *apart, str(one.failed), str(one.unread)]


def _points(one: PairedDifference) -> list[str]:
    return [signed(one.difference), f"{signed(one.ci95[0], 1)} to {signed(one.ci95[1], 1)}"]


def _adds(found: Family) -> list[list[str]]:
    """A row a modality, two columns a source."""
    if not found.adds:
        return []
    groups = list(dict.fromkeys(group for values in found.adds.values() for group in values))
    rows = [["adds", "n", *(cell for slot in found.adds for cell in (slot, "95 %"))]]
    for group in groups:
        values = [values[group] for values in found.adds.values()]
        rows.append([group or "all", str(values[0].n), *(cell for one in values for cell in _points(one))])
    return rows


def _diagnosis(found: Family) -> list[list[str]]:
    """A row a modality: how many wrong items are the ears' and the brain's."""
    from cascade.analysis import ablation

    if found.diagnosis is None:
        return []
    kinds = [
        kind for kind in (ablation.PERCEPTION, ablation.REASONING, ablation.UNKNOWN) if found.diagnosis.counts.get(kind)
    ]
    rows = [["wrong in all", "n", *kinds]]
    for name, counts in {"all": found.diagnosis.counts, **found.diagnosis.by}.items():
        rows.append([name, str(sum(counts.values())), *(str(counts.get(kind, 0)) for kind in kinds)])
    return rows
