"""The command `judge`: the reasoning of right answers, judged by the benchmark's rubrics."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from cascade.cli import options as o
from cascade.cli import output
from cascade.cli.options import takes_request
from cascade.errors import UserError
from cascade.io.figures import interval, percent
from cascade.io.jsonl import to_json
from cascade.io.tables import format_table, format_words
from cascade.io.terminal import note, prose
from cascade.pipeline import judging, planning
from cascade.pipeline.request import Request
from cascade.runs import judge_log
from cascade.scoring import rubric_score
from cascade.scoring.rubric_score import Rating, Scale
from cascade.scoring.statistics import Rate

_LEGEND = """
rubrics: 0 where the answer is wrong, else the mean of five calls without the lowest and the highest; a judgement that \
failed counts as 0.
official: the same as MMAR's script counts: a judgement that failed leaves the totals. 95 % intervals over items."""
_MODEL = typer.Option("--judge", metavar="MODEL", help="Any litellm model name; without it the log is only read.")
_PROMPT = typer.Option("--judge-prompt", metavar="NAME|FILE", help="The shipped `judge`, or FILE.md.")
_OUT = typer.Option("--out", metavar="DIR", help="The folder of judge.jsonl (else the run; FILE's name and `-judged`).")


@takes_request(
    *("data", "param", "max_tokens", "dry_run", "budget", "price"),
    *("api_base", "concurrency", "retries", "timeout", "rpm", "tpm"),
)
def judge(
    request: Request,
    source: Annotated[Path, typer.Argument(metavar="RUN|FILE", help="A run directory, an official prediction file.")],
    *,
    model: Annotated[str | None, _MODEL] = None,
    judge_prompt: Annotated[str, _PROMPT] = "judge",
    seed: o.Seed = 42,
    dataset: o.Joined = None,
    out: Annotated[Path | None, _OUT] = None,
    form: o.Form = "table",
    by: o.By = None,
    explain: Annotated[bool, typer.Option("--explain", help="List the judgements that failed.")] = False,
) -> None:
    """Judge the reasoning of right answers, by MMAR-Rubrics.

    Five calls an item; the same command again asks only what is missing.
    """
    output.check_format(form)
    output.check_explain(explain, form)
    cases = rubric_score.judge_cases(source, o.load_questions(dataset, request.data))
    calls_left = partial(rubric_score.calls_left, cases)
    folder = judging.judge_folder(source, out)
    if model is not None:
        wanted, how = judging.prepare_judge(replace(request, llm=model, prompt=judge_prompt, seed=seed))
        if request.dry_run:
            plan = judging.plan_judging(folder, len(cases.cases), calls_left, wanted, how)
            typer.echo("\n".join(planning.plan_lines(plan)[1:]))  # there are no captions to make
            note(f"dry run: nothing was asked or written; the log would be {folder / judge_log.FILE}")
            return
        judging.ask_judge(folder, calls_left, wanted, how)
    elif request.dry_run:
        raise UserError("--dry-run: nothing is asked without a judge; give --judge MODEL")
    rating = rubric_score.rate_run(cases, *judge_log.read_judge_log(folder), by or ())
    show(rating, form, explain=explain)
    for why, count in rating.why.items():
        note(f"{count} judgements failed ({why}), counted as 0")
    if any(count for kind, count in rating.calls.items() if kind != "read"):
        note("the same command with --judge makes the calls that are missing or could not be read")
    if rating.failed and model is not None:
        raise typer.Exit(3)


# What came of it


def show(told: Rating, form: str, *, explain: bool = False) -> None:
    """Print a rating to stdout in one of the formats; `explain` lists what failed."""
    if form == "json":
        output.echo_json({name: part for name, part in to_json(told).items() if name != "failures" or explain})
        return
    rows = _machines(told) if form == "csv" else _rows(told, nested=form == "table")
    if form == "table":
        typer.echo(_title(told))
    typer.echo(format_table(rows[0], rows[1:], form), nl=False)
    if form == "table":
        typer.echo(prose(_LEGEND))
    if explain:
        listed = (
            format_words(["item", "why"], list(told.failures.items())) if told.failures else "No judgement failed.\n"
        )
        typer.echo("\n" + listed, nl=False)


def _title(told: Rating) -> str:
    calls = ", ".join(f"{count} {kind}" for kind, count in told.calls.items() if count)
    matched = ", ".join(f"{count} by {how}" for how, count in told.matched.items())
    cost = "unknown" if told.cost is None else f"${told.cost:.4f}"
    where = f"{told.run}{f' · {told.dataset}' if told.dataset else ''}"
    return (
        f"{where} · judge {told.judge.split('@')[0]} · prompt {told.prompt} ({told.prompt_digest})\n"
        f"{told.n} items: {told.right} right, of which {told.judged} judged, {told.failed} failed\n"
        f"calls: {calls or 'none'}; matched {matched or 'none'}; "
        f"{told.tokens['input']} tokens in, {told.tokens['output']} out, cost {cost}\n"
    )


_HEAD = ["n", "mmar", "95 %", "rubrics", "95 %", "n official", "official", "95 %"]


def _rows(told: Rating, *, nested: bool) -> list[list[str]]:
    """A row a value of a tag; `nested` groups them under the tag, otherwise each says its tag."""
    rows = [
        ["" if nested else Path(told.run).name, *_HEAD],
        ["all", *_cells(told.accuracy.whole, told.ours.whole, told.official.whole if told.official else None)],
    ]
    for tag, value, cells in _parts(told):
        if value is None:
            rows += [[tag, *[""] * len(_HEAD)]] if nested else []
        else:
            rows.append([f"  {value}" if nested else f"{tag}: {value}", *cells])
    return rows


def _parts(told: Rating) -> Iterator[tuple[str, str | None, list[str]]]:
    """(tag, value, cells); before a tag's values once with None for the value."""
    official = told.official.by if told.official else {}
    for tag, values in told.accuracy.by.items():
        yield tag, None, []
        for value, rate in values.items():
            yield tag, value, _cells(rate, told.ours.by[tag][value], official.get(tag, {}).get(value))


def _cells(accuracy: Rate, ours: Rate, official: Rate | None) -> list[str]:
    shown = [[percent(one.accuracy), interval(one)] if one else ["-", "-"] for one in (accuracy, ours, official)]
    return [str(ours.n), *shown[0], *shown[1], str(official.n if official else 0), *shown[2]]


def _machines(told: Rating) -> list[list[str]]:
    """Unrounded shares, a row a way of counting and value of a tag."""
    rows = [["run", "scale", "tag", "value", "n", "score", "low", "high"]]
    for name, scale in (("mmar", told.accuracy), ("rubrics", told.ours), ("official", told.official)):
        rows += [[told.run, name, *cells] for cells in _shares(scale)] if scale else []
    return rows


def _shares(scale: Scale) -> Iterator[list[str]]:
    yield ["", "", *_share(scale.whole)]
    for tag, values in scale.by.items():
        yield from ([tag, value, *_share(rate)] for value, rate in values.items())


def _share(rate: Rate) -> list[str]:
    return [str(rate.n), repr(rate.accuracy), *map(repr, rate.ci95)]
