"""The command `ablate`: a family of runs from one request, and what each source adds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated

import typer

from cascade.analysis import ablation
from cascade.analysis.ablation import Family
from cascade.analysis.compare import PairedDifference
from cascade.cli import options as o
from cascade.cli import output
from cascade.io.tables import Cell, Interval, Points, PointsInterval, PValue, Row, Share, format_table, percent
from cascade.io.terminal import heading, note, prose, quantity
from cascade.pipeline import ablation_plan, planning
from cascade.pipeline.jobs import prepare, report_failures
from cascade.pipeline.request import Request
from cascade.scoring import outcomes

_PAIRED = """
this - all: the paired difference of the row's run to the full set, with Tango's score interval; p: McNemar's exact \
test, Holm's correction."""
_ADDS = """
adds: what a source adds, the full set less the run without that source."""
_CAUSES = """
perception: right with the benchmark's cues; reasoning: wrong with them, too."""
_HEARS = """
all - captions: what hearing adds to captions; all - audio: what captions add to hearing; audio - …: the clip alone \
less the captions alone, no evidence, another clip, silence, and the clip reversed."""
_KINDS = ",".join(ablation_plan.KINDS[1:])


@o.takes_request(without=("shard", "shuffle_choices"))  # mismatched captions come from the other items
def ablate(
    request: Request,
    *,
    variants: Annotated[
        str, typer.Option("--variants", metavar="KIND,…", help="The runs beside the full set.")
    ] = _KINDS,
    arms: Annotated[
        str | None,
        typer.Option(
            "--arms",
            metavar="ARM,…",
            help="In place of --variants: the run with and without each of question, digest, rounds.",
        ),
    ] = None,
    scorer: o.ScorerName = "mmar",
    form: o.Form = "table",
) -> None:
    """Ablate the sources: each alone, each left out, controls.

    Controls are blind, mismatched captions, the benchmark's own cues and shuffled choices; with `audio` also another
    clip, silence, and the clip reversed. The runs share one folder; the same command again resumes all of them.
    """
    whole = prepare(request)
    kinds = variants if arms is None else ablation_plan.arm_kinds(whole.spec, arms)
    if arms is not None and variants != _KINDS:
        note(f"--variants {variants}: left out, because --arms takes its place; make these in a second command")
    jobs = ablation_plan.variant_jobs(whole, kinds, request.seed, request.out)
    if request.dry_run:
        planning.check_model(jobs[0].spec.llm, jobs[0].how)
        plans = {job.path.name: planning.plan(replace(job, path=ablation_plan.existing_directory(job))) for job in jobs}
        rows: list[Row] = [[name, len(plan.unmade), plan.calls, plan.input_tokens] for name, plan in plans.items()]
        typer.echo(f"{quantity(len(jobs), 'run')} in {jobs[0].path.parent}\n")
        typer.echo(format_table(["run", "captions to make", "calls", "tokens in"], rows))
        typer.echo("\n".join(planning.plan_lines(planning.combine(list(plans.values())))))
        note(output.DRY_RUN)
        return
    runs = ablation_plan.carry_out_family(jobs, outcomes.read_reply)
    failed = report_failures(*runs)
    sources = [outcomes.score_source(run.path) for run in runs]
    show(ablation.read_family(sources, scorer=scorer, effort=arms is not None), form)
    if failed:
        raise typer.Exit(3)


def show(family: Family, form: str) -> None:
    """Print a family to stdout: its runs, what each source adds, and why wrong items are wrong. CSV has the runs."""
    if form == "json":
        output.echo_json(family)
        return
    if form == "table":
        what = f"{family.dataset} · {family.llm.split('@')[0]} · {quantity(family.n, 'item')}, by {family.scorer}"
        for member in family.members:
            if member.inapplicable:
                what += f"; {member.inapplicable} not applicable to {member.name}, left out there on both sides"
        typer.echo(heading(f"{what}; chance {percent(family.chance)}") + "\n")
    tables = [_members(family)]
    hearing = dict(family.hearing or {})
    # Of two sources, what each adds is in the table of hearing, too.
    if form != "csv" and family.adds and not (hearing and len(family.adds) < 3):
        tables.append(_adds("adds: all - without it", family.adds))
    if form != "csv" and hearing:
        controls = {name: hearing.pop(name) for name in list(hearing) if name in ablation.AUDIO_CONTROLS}
        parts = (("hearing and captions", hearing), ("hearing and controls", controls))
        tables += [_adds(title, part) for title, part in parts if part]
    if form != "csv" and (diagnosis := family.diagnosis) is not None:
        # How many wrong items of each modality are wrong by perception, and by reasoning.
        known = (ablation.PERCEPTION, ablation.REASONING, ablation.UNKNOWN)
        kinds = [kind for kind in known if diagnosis.counts.get(kind)]
        tables.append([["wrong in all", "n", *kinds]])
        for name, counts in {"all": diagnosis.counts, **diagnosis.by}.items():
            tables[-1].append([name, sum(counts.values()), *(counts.get(kind, 0) for kind in kinds)])
    agreements = [(member.name, member.agreement.by) for member in family.members if member.agreement]
    if form != "csv" and agreements:
        # Each run, and each way in which the samples of an item agree.
        tables.append([["the vote, where samples are", "", "n", family.scorer, "95 %"]])
        for name, by in agreements:
            for group, share in by.items():
                tables[-1].append([name, group, share.n, Share(share.accuracy), Interval(*share.ci95)])
    typer.echo("\n".join(format_table(rows[0], rows[1:], form) for rows in tables), nl=False)
    if form == "table":
        legend = _PAIRED * (len(family.members) > 1) + _ADDS * bool(family.adds) + _HEARS * bool(family.hearing)
        typer.echo(prose(legend + _CAUSES * (family.diagnosis is not None)))


def _members(family: Family) -> list[Row]:
    rows: list[Row] = [["", "n", family.scorer, "95 %", "strict", "this - all", "95 %", "p (Holm)", "failed", "unread"]]
    for member in family.members:
        cells: list[Cell] = [member.name, member.n, Share(member.accuracy), Interval(*member.ci95)]
        cells.append(Share(member.strict))
        if member.to_full is None:
            cells += [None, None, None]
        else:
            cells += [*_points(member.to_full), PValue(member.to_full.mcnemar.p_holm or 0.0)]
        cells += [member.failed, member.unread]
        if member.item_seconds is not None:
            cost = "unknown" if member.item_cost is None else f"{member.item_cost:.5f}"
            cells += [cost, f"{member.item_seconds:.2f}"]
        rows.append(cells)
    if len(rows[-1]) > len(rows[0]):
        rows[0] = [*rows[0], "$ an item", "s an item"]
    return rows


def _points(difference: PairedDifference) -> list[Cell]:
    return [Points(difference.difference), PointsInterval(*difference.ci95)]


def _adds(title: str, adds: Mapping[str, Mapping[str, PairedDifference]]) -> list[Row]:
    """Return a row for each modality, two columns for each difference."""
    groups = dict.fromkeys(group for values in adds.values() for group in values)
    rows: list[Row] = [[title, "n", *(cell for name in adds for cell in (name, "95 %"))]]
    for group in groups:
        values = [values[group] for values in adds.values()]
        rows.append([group or "all", values[0].n, *(cell for value in values for cell in _points(value))])
    return rows
