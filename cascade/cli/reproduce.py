"""`cascade reproduce`: the published cascade rows, run by our protocol, beside what was published."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cascade.cli import options as o
from cascade.cli import output
from cascade.cli.options import takes_request
from cascade.errors import BudgetSpent, MissingExtra, ProviderStop, UnknownName, UserError
from cascade.io.figures import percent
from cascade.io.tables import Interval, Share, format_table, format_words
from cascade.io.terminal import note, prose
from cascade.pipeline.request import Request

if TYPE_CHECKING:
    from cascade.analysis.published import PublishedRow, Reproduced
    from cascade.io.tables import Row
    from cascade.pipeline.jobs import Job

# What a row says itself.
_ROWS_OWN = (
    "llm",
    "spec",
    "prompt",
    "param",
    "reasoning_effort",
    "max_tokens",
    "thinking_budget",
    "samples",
    "shard",
    "shuffle_choices",
)
_REPEATED = ("caption-param", "param")
_LEGEND = """
Published and ours by the official matcher; 95 % Wilson interval of ours.
"differs": the published figure is outside it, of the very items that it is of.
The captions behind the published rows, and most of their prompts, are not published: \
the protocol here is ours, so a difference is one of protocols as much as of models."""


@takes_request(*_ROWS_OWN)
def reproduce(
    request: Request,
    rows: Annotated[list[str] | None, typer.Argument(metavar="[ROW]…", help="Of --list; all unless named.")] = None,
    *,
    models: Annotated[
        str | None, typer.Option("--models", metavar="MODEL,…", help="Other models on one row's captions.")
    ] = None,
    listed: Annotated[bool, typer.Option("--list", help="List the rows, and run nothing.")] = False,
    form: o.Form = "table",
) -> None:
    """Run the published cascade rows, and print ours beside theirs.

    A row whose key or endpoint is missing is named and passed over. Captions are ours: the papers' are unpublished.
    """
    from cascade.pipeline.jobs import count_spent

    output.check_format(form)
    wanted = _wanted(rows or [], models)
    if listed:
        _list(form)
        return
    asked = [model.strip() for model in models.split(",") if model.strip()] if models else []
    jobs = _jobs(wanted, asked, request)
    if request.dry_run:
        _say_plans(jobs)
        return
    count_spent(job for _, job in jobs.values())
    done, left = _carry_out(jobs)
    if done:
        _warn_of_other_items(done)
        show(done, form)
    if left or not done:
        raise typer.Exit(3 if done else 2)


def _wanted(names: Sequence[str], models: str | None) -> list[PublishedRow]:
    from cascade.analysis.published import published_rows

    known = published_rows()
    for name in names:
        if name not in known:
            raise UnknownName("row", name, known, "cascade reproduce --list shows them")
    if models and len(names) != 1:
        raise UserError(f"--models {models}: name the one row whose captions they are asked on")
    return [known[name] for name in names or known]


def _list(form: str) -> None:
    from cascade.analysis.published import WHOLE, published_rows

    found = published_rows().values()
    if form == "json":
        output.echo_json(list(found))
        return
    cells = [[row.name, percent(row.published[WHOLE]), row.title, row.source] for row in found]
    head = ["row", "published", "what", "source"]
    typer.echo(format_words(head, cells) if form == "table" else format_table(head, cells, form), nl=False)


def _jobs(rows: Sequence[PublishedRow], models: Sequence[str], request: Request) -> dict[str, tuple[PublishedRow, Job]]:
    """Each row's run, or with several models each model's on one row, by the name that is shown."""
    found = {}
    for row in rows:
        for model in models or [str(row.run["llm"])]:
            name = f"{row.name} ({model})" if models else row.name
            found[name] = row, _job(row, model, name, request)
    purse = next(iter(found.values()))[1].how.budget  # one for all
    return {
        name: (row, replace(job, how=replace(job.how, budget=purse, host=replace(job.how.host, budget=purse))))
        for name, (row, job) in found.items()
    }


def _job(row: PublishedRow, model: str, name: str, request: Request) -> Job:
    from cascade.pipeline.jobs import prepare

    job = prepare(_asked(row, model, request))
    return replace(job, path=request.out / name.replace("/", "-")) if request.out else job


def _asked(row: PublishedRow, model: str, request: Request) -> Request:
    """The row's flags under the user's own: captions that are given take the place of the row's."""
    from cascade.cli import specfile
    from cascade.pipeline.parsing import parse_pairs

    flags = {one.name.replace("_", "-"): one.name.replace("_", "-") in _REPEATED for one in fields(Request)}
    said: Mapping[str, Any] = specfile.typed(row.run, flags, f"the row {row.name}")
    given = {name.replace("-", "_"): value for name, value in said.items()}
    if request.captions:
        given.update(captions=request.captions, caption_param=[])
    own = parse_pairs(request.caption_param or (), "--caption-param")
    merged = {**parse_pairs(given.get("caption_param", ()), f"the row {row.name}"), **own}
    given["caption_param"] = [f"{key}={value}" for key, value in merged.items()]
    return replace(request, **{**given, "llm": model, "out": None})


def _say_plans(jobs: Mapping[str, tuple[PublishedRow, Job]]) -> None:
    from cascade.pipeline import planning

    for name, (_, job) in jobs.items():
        plan = planning.plan(job.path, job.items, job.loaded.root, job.spec, job.template, job.how)
        typer.echo(f"{name}: {job.path}")
        typer.echo("\n".join(f"  {line}" for line in planning.plan_lines(plan)) + "\n")
    note("dry run: nothing was heard, asked or written")


def _carry_out(jobs: Mapping[str, tuple[PublishedRow, Job]]) -> tuple[list[Reproduced], bool]:
    """The rows that could be run, and whether something in them failed; the others are named on stderr."""
    from cascade.analysis.published import compare_published
    from cascade.pipeline.jobs import carry_out, report_failures
    from cascade.scoring import outcomes

    done, left = [], False
    for name, (row, job) in jobs.items():
        try:
            run = carry_out(job)
        except BudgetSpent:
            raise
        except UserError as error:
            note(f"{name}: passed over: {error}")
            left = left or not isinstance(error, ProviderStop | MissingExtra)
            continue
        left = report_failures(run) or left
        theirs = job.spec.llm.model == row.run["llm"]
        done.append(compare_published(row, outcomes.score_source(job.path), None if theirs else {}))
    return done, left


def _warn_of_other_items(done: Sequence[Reproduced]) -> None:
    for count in sorted({whole.n for one in done if (whole := one.groups[""]).differs is None}):
        note(f"the published figures are of MMAR's 1000 items; these are of {count} others, or of a part of them")


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
        typer.echo(prose(_LEGEND))


def _cells(row: Reproduced, *, indent: bool) -> Iterator[Row]:
    """Yield a row for all items, and one for each modality."""
    name = row.row if row.groups[""].published is not None else f"{row.row} captions + {row.llm}"
    for group, ours in row.groups.items():
        label = name
        counts: tuple[int | None, int | None] = row.failed, row.unread
        if group:
            label = f"  {group}" if indent else f"{name}: {group}"
            counts = None, None
        published = "-" if ours.published is None else percent(ours.published)
        verdict = {None: "", True: "differs", False: "agrees"}[ours.differs]
        yield label, ours.n, published, Share(ours.accuracy), Interval(*ours.ci95), verdict, *counts
