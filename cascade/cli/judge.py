"""The command `judge`: the reasoning of right answers, judged by the benchmark's rubrics."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from cascade.cli import options as o
from cascade.cli import output
from cascade.cli.options import takes_request
from cascade.cli.second_model import FLAGS, is_planned
from cascade.io.jsonl import to_json
from cascade.io.tables import Cell, Column, Interval, Label, Row, Share, format_columns, format_words
from cascade.io.terminal import note, plain, prose, quantity
from cascade.pipeline.request import Request
from cascade.runs.served import served_text
from cascade.scoring import rubric_score
from cascade.scoring.rubric_score import Rating
from cascade.scoring.statistics import Rate

_LEGEND = """
rubrics: 0 where the answer is wrong, else the mean of five calls without the lowest and the highest; a judgement that \
failed counts as 0.
official: the same as MMAR's script counts: a judgement that failed leaves the totals. 95 % intervals over items."""
_MODEL = typer.Option("--judge", metavar="MODEL", help="Any litellm model name; without it the log is only read.")
_PROMPT = typer.Option("--judge-prompt", metavar="NAME|FILE", help="The shipped `judge`, or FILE.md.")
_OUT = typer.Option("--out", metavar="DIR", help="The folder of judge.jsonl (else the run; FILE's name and `-judged`).")


@takes_request(*FLAGS)
def judge(
    request: Request,
    source: Annotated[Path, typer.Argument(metavar="RUN|FILE", help="A run directory, an official prediction file.")],
    *,
    model: Annotated[str | None, _MODEL] = None,
    judge_prompt: Annotated[str, _PROMPT] = "judge",
    seed: o.Seed = rubric_score.SEED,
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
    log = rubric_score.judge_log(source, out)
    if is_planned(request, log, rubric_score.inquiry(cases, seed), model, judge_prompt):
        return
    rating = rubric_score.rate_run(cases, *log.read(), by or ())
    show(rating, form, explain=explain)
    for why, count in rating.why.items():
        note(f"the judgement of {quantity(count, 'item')} failed ({why}), counted as 0")
    if any(count for kind, count in rating.calls.items() if kind != "read"):
        note("the same command with --judge makes the calls that are missing or could not be read")
    if rating.failed and model is not None:
        raise typer.Exit(3)


_CSV = [
    Column(None, ("run", "scale")),
    Column("", ("tag", "value")),
    Column("n", ("n",)),
    Column("score", ("score",)),
    Column("95 %", ("low", "high")),
]


def show(rating: Rating, form: str, *, explain: bool = False) -> None:
    """Print a rating to stdout in one of the formats; `explain` lists what failed."""
    if form == "json":
        fields = to_json(rating)
        if not explain:
            del fields["failures"]
        output.echo_json(fields)
        return
    if form == "csv":
        typer.echo(format_columns(_CSV, _machine_rows(rating), form), nl=False)
        return
    name = "" if form == "table" else Path(rating.run).name
    header = ["n", "mmar", "95 %", "rubrics", "95 %", "n official", "official", "95 %"]
    columns = [Column(name, words=True), *map(Column, header)]
    text = format_columns(columns, _rows(rating), form)
    if form == "table":
        text = f"{plain(_title(rating))}\n{text}{prose(_LEGEND)}\n"
    typer.echo(text, nl=False)
    if explain:
        listed = "No judgement failed.\n"
        if rating.failures:
            listed = format_words(["item", "why"], list(rating.failures.items()))
        typer.echo("\n" + listed, nl=False)


def _title(rating: Rating) -> str:
    calls = ", ".join(f"{count} {kind}" for kind, count in rating.calls.items() if count)
    matched = ", ".join(f"{count} by {how}" for how, count in rating.matched.items())
    cost = "unknown" if rating.cost is None else f"${rating.cost:.4f}"
    by = f"; {served_text(rating.served)}" if rating.served else ""
    where = f"{rating.run} · {rating.dataset}" if rating.dataset else rating.run
    return (
        f"{where} · judge {rating.judge.split('@')[0]} · prompt {rating.prompt} ({rating.prompt_digest})\n"
        f"{quantity(rating.n, 'item')}: {rating.right} right, of which {rating.judged} judged, {rating.failed} failed\n"
        f"calls: {calls or 'none'}; matched {matched or 'none'}; "
        f"{rating.tokens['input']} tokens in, {rating.tokens['output']} out, cost {cost}{by}\n"
    )


def _rows(rating: Rating) -> Iterator[Row]:
    """Yield a row for all items, and one for each value of a tag."""
    official = rating.official
    yield Label("all"), *_cells(rating.accuracy.whole, rating.ours.whole, official.whole if official else None)
    for tag, values in rating.accuracy.by.items():
        rates = official.by.get(tag, {}) if official else {}
        for value, rate in values.items():
            yield Label(tag, value), *_cells(rate, rating.ours.by[tag][value], rates.get(value))


def _cells(accuracy: Rate, ours: Rate, official: Rate | None) -> list[Cell]:
    cells: list[Cell] = [ours.n]
    for rate in (accuracy, ours):
        cells += [Share(rate.accuracy), Interval(*rate.ci95)]
    if official is None:
        return [*cells, 0, "-", "-"]
    return [*cells, official.n, Share(official.accuracy), Interval(*official.ci95)]


def _machine_rows(rating: Rating) -> Iterator[Row]:
    """Yield a row for each way of counting and value of a tag."""
    for name, scale in (("mmar", rating.accuracy), ("rubrics", rating.ours), ("official", rating.official)):
        if scale is None:
            continue
        groups = [(Label(""), scale.whole)]
        for tag, values in scale.by.items():
            groups += [(Label(tag, value), rate) for value, rate in values.items()]
        for label, rate in groups:
            yield (rating.run, name), label, rate.n, Share(rate.accuracy), Interval(*rate.ci95)
