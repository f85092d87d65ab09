"""Published rows made ready as jobs: each row's flags under the user's own, all within one budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from cascade.errors import BudgetSpent, UserError
from cascade.pipeline.jobs import Job, carry_out, prepare
from cascade.pipeline.parsing import parse_pairs, typed_flags
from cascade.pipeline.request import Request, flag_kinds
from cascade.pipeline.rounds import ReadReply
from cascade.pipeline.specs import caption_entries
from cascade.plugins import DIGEST
from cascade.runs.directory import Run


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
    """Return the request with the row's flags, which the user's own flags override.

    Captions of the user replace the row's. The row's digest merges them, unless there are none or they have a digest.
    """
    place = f"the row {row}"
    values = {name.replace("-", "_"): value for name, value in typed_flags(flags, flag_kinds(), place).items()}
    params = parse_pairs(values.pop("caption_param", ()), place)
    if request.captions:
        params = {key: value for key, value in params.items() if key.startswith(f"{DIGEST}.")}
        slots = [slot for slot, _, _ in caption_entries(request.captions)]
        if DIGEST in slots or not slots:
            params = {}
            values = {name: value for name, value in values.items() if name not in ("digest", "digest_question")}
    params |= parse_pairs(request.caption_param or (), "--caption-param")
    defaults = {field.name: field.default for field in fields(Request)}
    kept = {name: value for name, value in values.items() if getattr(request, name) == defaults[name]}
    caption_param = [f"{key}={value}" for key, value in params.items()]
    return replace(request, **{**kept, "caption_param": caption_param, "llm": model, "out": None})


def carry_out_row(job: RowJob, read_reply: ReadReply) -> Run | UserError:
    """Return a row's run, or the error for which it is skipped, such as a missing key or endpoint.

    Raises BudgetSpent, which ends all rows.
    """
    try:
        return carry_out(job.job, read_reply)
    except BudgetSpent:
        raise
    except UserError as error:
        return error
