"""Published rows made ready as jobs: each row's flags under the user's own, all within one budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from cascade.errors import BudgetSpent, UserError
from cascade.pipeline.jobs import Job, carry_out, prepare
from cascade.pipeline.parsing import parse_pairs, typed_flags
from cascade.pipeline.request import Request
from cascade.pipeline.rounds import ReadReply
from cascade.runs.directory import Run

# The flags that a row's file may have, and whether they are repeatable.
_FLAGS = {field.name.replace("_", "-"): field.name in ("caption_param", "param") for field in fields(Request)}


@dataclass(frozen=True, slots=True, kw_only=True)
class RowJob:
    """The run that stands for a row: `name` is shown, `own_model` says whether the model is the row's."""

    name: str
    row: str
    own_model: bool
    job: Job


def row_jobs(rows: Mapping[str, Mapping[str, Any]], models: Sequence[str], request: Request) -> list[RowJob]:
    """Return the job of each row, or of each of several models on one row; `rows` maps a name to the row's flags."""
    jobs: list[RowJob] = []
    for row, flags in rows.items():
        for model in models or [flags["llm"]]:
            name = f"{row} ({model})" if models else row
            job = prepare(_row_request(row, flags, model, request))
            if request.out:
                job = replace(job, path=request.out / name.replace("/", "-"))
            if jobs:
                budget = jobs[0].job.how.budget  # one for all
                host = replace(job.how.host, budget=budget)
                job = replace(job, how=replace(job.how, budget=budget, host=host))
            jobs.append(RowJob(name=name, row=row, own_model=job.spec.llm.model == flags["llm"], job=job))
    return jobs


def _row_request(row: str, flags: Mapping[str, Any], model: str, request: Request) -> Request:
    """Return the row's flags under the user's own: captions that are given take the place of the row's."""
    place = f"the row {row}"
    given: dict[str, Any] = {name.replace("-", "_"): value for name, value in typed_flags(flags, _FLAGS, place).items()}
    params = parse_pairs(given.pop("caption_param", ()), place)
    if request.captions:
        given["captions"] = request.captions
        params = {}
    params |= parse_pairs(request.caption_param or (), "--caption-param")
    given["caption_param"] = [f"{key}={value}" for key, value in params.items()]
    return replace(request, **{**given, "llm": model, "out": None})


def carry_out_row(job: RowJob, read_reply: ReadReply) -> Run | UserError:
    """Return a row's run, or why it is passed over: a key or an endpoint that is missing, say.

    Raises BudgetSpent, which ends all rows.
    """
    try:
        return carry_out(job.job, read_reply)
    except BudgetSpent:
        raise
    except UserError as error:
        return error
