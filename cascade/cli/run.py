"""The command `run`."""

from __future__ import annotations

from dataclasses import replace

import typer

from cascade.cli import output
from cascade.cli.options import takes_request
from cascade.cli.score import show
from cascade.io.terminal import note, quantity
from cascade.llms import prices
from cascade.pipeline import planning
from cascade.pipeline.jobs import carry_out, prepare, report_failures
from cascade.pipeline.request import Request
from cascade.scoring import outcomes
from cascade.scoring.summary import summarize


@takes_request()
def run(request: Request) -> None:
    """Caption the clips, ask the model, score the answers.

    The same command again resumes; a larger --limit extends.
    """
    job = prepare(request)
    if request.dry_run:
        planning.check_model(job.spec.llm, job.how)
        typer.echo("\n".join(planning.plan_lines(planning.plan(job))))
        note(output.DRY_RUN)
        return
    llm = job.spec.llm
    if llm.samples > 1 and not request.shuffle_choices and llm.params.get("temperature") == 0:
        note(
            f"--samples {llm.samples} at temperature 0 asks for the same reply again and again; "
            "give --param temperature=0.7, or --shuffle-choices"
        )
    if not job.items:
        note(f"--shard {request.shard}: none of these items is in it; nothing to do, and `merge` goes without it")
        return
    done = carry_out(job)
    if len(done.items) > len(job.items):
        note(
            f"the run already holds {quantity(len(done.items), 'item')}; all of them are scored "
            f"(for {len(job.items)} alone give --out)"
        )
    summary = summarize(outcomes.score_source(done.path))
    if summary.cost is None and (price := prices.find("", request.price)):
        # What is in the log of a run that was begun without a price has tokens, and no cost.
        summary = replace(summary, cost=price.of(summary.tokens["input"], summary.tokens["output"]))
    show(summary, "table")
    if report_failures(done):
        raise typer.Exit(3)
