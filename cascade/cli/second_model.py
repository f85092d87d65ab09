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
from cascade.types import Params

FLAGS = (
    *("data", "param", "max_tokens", "dry_run", "budget", "price"),
    *("api_base", "concurrency", "retries", "timeout", "rpm", "tpm"),
)


def ask_or_plan(
    request: Request,
    log: CallLog,
    inquiry: Inquiry[Any],
    model: str | None,
    prompt: str,
    *,
    calls: int = 1,
    defaults: Params | None = None,
) -> bool:
    """Make the calls that the log lacks; print only what they would take, and return True, for `--dry-run`.

    Without a model nothing is asked. Raises as `second_model.ask_calls` does, and UserError for a plan without a model.
    """
    if model is None:
        if request.dry_run:
            raise UserError(f"--dry-run: nothing is asked without a {log.role}; give --{log.role} MODEL")
        return False
    wanted, how = second_model.prepare(replace(request, llm=model, prompt=prompt), log.role, calls, defaults)
    if request.dry_run:
        plan = second_model.plan_calls(log, inquiry, wanted, how)
        typer.echo("\n".join(planning.plan_lines(plan)[1:]))  # there are no captions to make
        note(f"dry run: nothing was asked or written; the log would be {log.file}")
        return True
    second_model.ask_calls(log, inquiry, wanted, how)
    return False
