"""What `judge` and `read` share: the flags of a second model, and the calls that its log lacks, planned or made."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import typer

from cascade.errors import UserError
from cascade.io.terminal import note
from cascade.pipeline import planning, second_model
from cascade.pipeline.request import Request
from cascade.runs.call_log import CallLog, Inquiry

FLAGS = (
    *("data", "param", "max_tokens", "dry_run", "budget", "price"),
    *("api_base", "same_model", "concurrency", "retries", "timeout", "rpm", "tpm"),
)


def is_planned(request: Request, log: CallLog, inquiry: Inquiry[Any], model: str | None, prompt: str) -> bool:
    """Make the calls that the log lacks, without a model none; for `--dry-run` print the plan alone, and return True.

    Raises UserError for a plan without a model, and as `second_model.ask_or_plan` does.
    """
    if model is None:
        if request.dry_run:
            raise UserError(f"--dry-run: nothing is asked without a {log.role}; give --{log.role} MODEL")
        return False
    plan = second_model.ask_or_plan(replace(request, llm=model, prompt=prompt), log, inquiry)
    if plan:
        typer.echo("\n".join(planning.plan_lines(plan)[1:]))  # there are no captions to make
        note(f"dry run: nothing was asked or written; the log would be {log.file}")
    return plan is not None
