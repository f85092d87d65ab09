"""The command `reproduce`: the published rows, run by our protocol, beside what was published."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Annotated

import typer

from cascade.analysis.published import KINDS, WHOLE, PublishedRow, Reproduced, compare_published, published_rows
from cascade.cli import options as o
from cascade.cli import output
from cascade.errors import MissingExtra, ProviderStop, UnknownName, UserError
from cascade.io.tables import Interval, Row, Share, format_table, format_words, percent
from cascade.io.terminal import note, prose
from cascade.pipeline import planning
from cascade.pipeline.jobs import count_spent, report_failures
from cascade.pipeline.reproduce import RowJob, carry_out_row, row_jobs
from cascade.pipeline.request import Request
from cascade.runs.directory import Run
from cascade.scoring import outcomes

# The flags that a row sets itself.
_ROWS_OWN = (
    *("llm", "spec", "prompt", "param", "reasoning_effort", "max_tokens", "thinking_budget", "samples"),
    *("shard", "shuffle_choices"),
)
_DIFFERS = """
"differs": the score test of the published figure, of the very items that it is of, rejects it, with Holm's correction \
over the groups of a row."""
_LEGEND = """
Published and ours by the official matcher; 95 % Wilson interval of ours.{differs}
The captions behind the published rows, and most of their prompts, are not published: \
the protocol here is ours, so a difference is one of protocols as much as of models."""


@o.takes_request(without=_ROWS_OWN)
def reproduce(
    request: Request,
    rows: Annotated[list[str] | None, typer.Argument(metavar="[ROW]…", help="Of --list; all unless named.")] = None,
    *,
    kind: Annotated[
        str | None, typer.Option("--kind", metavar="lalm|larm|olm|llm|lrm", help="Only the rows of this kind.")
    ] = None,
    models: Annotated[
        str | None, typer.Option("--models", metavar="MODEL,…", help="Other models on one row's captions.")
    ] = None,
    listed: Annotated[bool, typer.Option("--list", help="List the rows, and run nothing.")] = False,
    form: o.Form = "table",
) -> None:
    """Run the published rows, and print ours beside theirs.

    A row whose key or endpoint is missing is named and passed over. Captions are ours: the papers' are unpublished.
    """
    wanted = _wanted(rows or [], kind, models)
    if listed:
        if form == "json":
            output.echo_json(list(wanted.values()))
            return
        cells = []
        for row in wanted.values():
            what = f"{row.title}; cannot be served: {row.unserved}" if row.unserved else row.title
            cells.append([row.name, row.kind, percent(row.published[WHOLE]), what, row.source])
        typer.echo(format_words(["row", "kind", "published", "what", "source"], cells, form), nl=False)
        return
    wanted = _served(wanted, named=bool(rows))
    given = [model.strip() for model in (models or "").split(",") if model.strip()]
    jobs = row_jobs({name: row.run for name, row in wanted.items()}, given, request)
    if request.dry_run:
        _print_plans(jobs)
        return
    if any(job.job.spec.llm.answer_as == "choice" for job in jobs):
        note("choices are forced here, which no published row says of its own; --answer-as text leaves replies free")
    flags = [flag for flag in (request.captions, *(request.caption_param or ())) if flag and ".api_base=" not in flag]
    evidence = ("digest", "digest_question", "rounds", "rounds_with")
    flags += [f"{name.replace('_', '-')}={value}" for name in evidence if (value := getattr(request, name))]
    other_captions = ", ".join(flags)
    if other_captions:
        note(f"the captions are not those of the rows but {other_captions}")
    count_spent(job.job for job in jobs)
    done, failed = _carry_out(jobs, wanted)
    done = [replace(row, other_captions=other_captions or None) for row in done]
    for count in sorted({row.groups[""].n for row in done if row.groups[""].differs is None}):
        note(f"the published figures are of MMAR's 1000 items; these are of {count} others, or of a part of them")
    if not done:
        raise typer.Exit(2)
    show(done, form)
    if failed:
        raise typer.Exit(3)


def _wanted(names: Sequence[str], kind: str | None, models: str | None) -> dict[str, PublishedRow]:
    """Return the rows that are named, or all, of one kind or of all."""
    if kind and kind.upper() not in KINDS:
        raise UnknownName("kind", kind, [name.lower() for name in KINDS])
    if kind and names:
        raise UserError(f"--kind {kind}: name rows or a kind, not both")
    known = {name: row for name, row in published_rows().items() if kind is None or row.kind == kind.upper()}
    for name in names:
        if name not in known:
            raise UnknownName("row", name, known, "cascade reproduce --list shows them")
    if models and len(names) != 1:
        raise UserError(f"--models {models}: name the one row whose captions they are asked on")
    return {name: known[name] for name in names or known}


def _served(rows: Mapping[str, PublishedRow], *, named: bool) -> dict[str, PublishedRow]:
    """Return the rows whose model can be served. Raises UserError for the others, where rows are named."""
    unserved = [row for row in rows.values() if row.unserved]
    if unserved and named:
        raise UserError(f"the row {unserved[0].name} cannot be served: {unserved[0].unserved}")
    if unserved:
        note(f"passed over: {len(unserved)} rows that cannot be served; cascade reproduce --list says why")
    return {name: row for name, row in rows.items() if not row.unserved}


def _print_plans(jobs: Sequence[RowJob]) -> None:
    for job in jobs:
        typer.echo(f"{job.name}: {job.job.path}")
        try:
            planning.check_model(job.job.spec.llm, job.job.how)
        except ProviderStop as refused:
            note(f"{job.name} would be passed over: {refused}")
        typer.echo("\n".join(f"  {line}" for line in planning.plan_lines(planning.plan(job.job))) + "\n")
    note(output.DRY_RUN)


def _carry_out(jobs: Sequence[RowJob], rows: Mapping[str, PublishedRow]) -> tuple[list[Reproduced], bool]:
    """Return the rows that could be run, and whether something in them failed; the others are named on stderr."""
    done: list[Reproduced] = []
    failed, runs = False, list[Run]()
    for job in jobs:
        run = carry_out_row(job)
        if isinstance(run, UserError):
            note(f"{job.name}: passed over: {run}")
            failed = failed or not isinstance(run, ProviderStop | MissingExtra)
            continue
        runs.append(run)
        figures: dict[str, float] | None = None if job.own_model else {}
        done.append(compare_published(rows[job.row], outcomes.score_source(run.path), figures))
    return done, report_failures(*runs) or failed


def show(done: Sequence[Reproduced], form: str) -> None:
    """Print rows beside what was published."""
    if form == "json":
        for row in done:
            output.echo_json(row)
        return
    header = ["row", "n", "published", "ours", "95 %", "", "failed", "unread"]
    rows = [cells for row in done for cells in _cells(row, indent=form == "table")]
    typer.echo(format_table(header, rows, form), nl=False)
    if form == "table":
        judged = any(group.differs is not None for row in done for group in row.groups.values())
        typer.echo(prose(_LEGEND.format(differs=_DIFFERS * judged)))


def _cells(row: Reproduced, *, indent: bool) -> Iterator[Row]:
    """Yield a row for all items, and one for each modality."""
    name = row.row if row.groups[""].published is not None else f"{row.row} captions + {row.llm}"
    if row.other_captions:
        name += " (other captions)"
    for group, ours in row.groups.items():
        label = name
        counts: tuple[int | None, int | None] = row.failed, row.unread
        if group:
            label = f"  {group}" if indent else f"{name}: {group}"
            counts = None, None
        published = "-" if ours.published is None else percent(ours.published)
        verdict = {None: "", True: "differs", False: "agrees"}[ours.differs]
        yield label, ours.n, published, Share(ours.accuracy), Interval(*ours.ci95), verdict, *counts
