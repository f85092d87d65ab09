"""The command `ablate`: a family of runs from one request, and what each source adds."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from cascade.analysis import ablation
from cascade.analysis.ablation import Family, Member
from cascade.analysis.compare import PairedDifference
from cascade.cli import options as o
from cascade.cli import output
from cascade.cli.options import takes_request
from cascade.io.figures import interval, p_value, percent, signed
from cascade.io.tables import format_table
from cascade.io.terminal import note, prose
from cascade.pipeline import ablation_plan, planning
from cascade.pipeline.jobs import Job, prepare, report_failures
from cascade.pipeline.request import Request
from cascade.scoring import outcomes

_LEGEND = """
vs all: the paired difference to the full set, with a bootstrap interval; p: McNemar's exact test, Holm's correction.
adds: the full set less the run without that source.
perception: right with the benchmark's cues; reasoning: wrong with them, too."""
_KINDS = "alone,leave-one-out,blind,mismatched,oracle,shuffled"


@takes_request(without=("shard", "shuffle_choices"))  # mismatched captions come from the other items
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
    output.check_format(form)
    output.check_scorer(scorer)
    jobs = ablation_plan.variant_jobs(prepare(request), variants, request.seed, request.out)
    if request.dry_run:
        _print_plans(jobs)
        return
    runs = ablation_plan.carry_out_family(jobs)
    failed = [report_failures(run) for run in runs]
    sources = [outcomes.score_source(run.path) for run in runs]
    show(ablation.read_family(sources, scorer=scorer, seed=request.seed), form)
    if any(failed):
        raise typer.Exit(3)


def _print_plans(jobs: list[Job]) -> None:
    """Print what each run would take, and all of them together."""
    plans = {job.path.name: planning.plan(replace(job, path=ablation_plan.existing_directory(job))) for job in jobs}
    rows = [[name, str(plan.unmade), str(plan.calls), str(plan.input_tokens)] for name, plan in plans.items()]
    typer.echo(f"{len(jobs)} runs in {jobs[0].path.parent}\n")
    typer.echo(format_table(["run", "captions to make", "calls", "tokens in"], rows))
    typer.echo("\n".join(planning.plan_lines(planning.combine(list(plans.values())))))
    note(output.DRY_RUN)


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
    if found.diagnosis is None:
        return []
    kinds = [
        kind for kind in (ablation.PERCEPTION, ablation.REASONING, ablation.UNKNOWN) if found.diagnosis.counts.get(kind)
    ]
    rows = [["wrong in all", "n", *kinds]]
    for name, counts in {"all": found.diagnosis.counts, **found.diagnosis.by}.items():
        rows.append([name, str(sum(counts.values())), *(str(counts.get(kind, 0)) for kind in kinds)])
    return rows
