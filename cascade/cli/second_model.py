"""The commands that ask a second model about a run's replies: `judge`, by the benchmark's rubrics, and `read`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from cascade.cli import options as o
from cascade.cli import output, score
from cascade.datasets import registry
from cascade.errors import UserError
from cascade.io.jsonl import to_json
from cascade.io.tables import Cell, Column, Dollars, Interval, Label, Row, Share, format_columns, format_words
from cascade.io.terminal import heading, note, prose, quantity
from cascade.pipeline import planning
from cascade.pipeline import second_model as calls
from cascade.pipeline.request import Request
from cascade.runs.call_log import READER, CallLog, Inquiry
from cascade.runs.served import served_text
from cascade.scoring import outcomes, rubric_score, second_reader
from cascade.scoring.rubric_score import Rating
from cascade.scoring.statistics import Rate
from cascade.scoring.summary import summarize

_FLAGS = (
    *("data", "param", "max_tokens", "dry_run", "budget", "price"),
    *("api_base", "same_model", "concurrency", "retries", "timeout", "rpm", "tpm"),
)
_LEGEND = """
rubrics: 0 where the answer is wrong, else the mean of five calls without the lowest and the highest; a judgement that \
failed counts as 0.
official: the same as MMAR's script counts: a judgement that failed leaves the totals. 95 % intervals over items."""


def _options(role: str, prompt: str, out: str) -> tuple[Any, Any, Any]:
    """Return the options for the model in a role, its prompt, and the folder of its log."""
    return (
        typer.Option(f"--{role}", metavar="MODEL", help="Any litellm model name; without it the log is only read."),
        typer.Option(f"--{role}-prompt", metavar="NAME|FILE", help=f"The shipped `{prompt}`, or FILE.md."),
        typer.Option("--out", metavar="DIR", help=f"The folder of {role}.jsonl (else the run; {out})."),
    )


_JUDGE, _JUDGE_PROMPT, _JUDGE_OUT = _options("judge", "judge", "FILE's name and `-judged`")
_READER, _READER_PROMPT, _READER_OUT = _options("reader", "read", "beside FILE, `-read`")
_Source = Annotated[Path, typer.Argument(metavar="RUN|FILE", help="A run directory, an official prediction file.")]


def _is_planned(request: Request, log: CallLog, inquiry: Inquiry[Any], model: str | None, prompt: str) -> bool:
    """Make the calls that the log lacks, without a model none; for `--dry-run` print the plan alone, and return True.

    Raises UserError for a plan without a model, and as `ask_or_plan` does.
    """
    if model is None:
        if request.dry_run:
            raise UserError(f"--dry-run: nothing is asked without a {log.role}; give --{log.role} MODEL")
        return False
    plan = calls.ask_or_plan(replace(request, llm=model, prompt=prompt), log, inquiry)
    if plan:
        typer.echo("\n".join(planning.plan_lines(plan)[1:]))  # there are no captions to make
        note(f"dry run: nothing was asked or written; the log would be {log.file}")
    return plan is not None


@o.takes_request(*_FLAGS)
def read(
    request: Request,
    source: _Source,
    *,
    model: Annotated[str | None, _READER] = None,
    reader_prompt: Annotated[str, _READER_PROMPT] = "read",
    dataset: o.Joined = None,
    out: Annotated[Path | None, _READER_OUT] = None,
    form: o.Form = "table",
    by: o.By = None,
    explain: o.Explain = False,
) -> None:
    """Ask a second model for the choice of each reply that the rules leave unread.

    Its readings are a score of their own. The same command again asks only what is missing.
    """
    output.check_explain(explain, form)
    questions = registry.load_questions(dataset, request.data)
    scored = outcomes.score_source(source, questions, read_replies=True, reader=out)
    log = CallLog(outcomes.reader_folder(source, out), READER, source)
    if _is_planned(request, log, second_reader.inquiry(scored.unread_replies), model, reader_prompt):
        return
    log.read()
    scored = outcomes.score_source(source, questions, read_replies=True, reader=out)
    score.show(summarize(scored, by or ()), form, unread=outcomes.unread_items(scored) if explain else None)
    readings = scored.readings
    if model is not None and readings and readings.failed + readings.unreadable:
        failed = f"{quantity(readings.failed, 'call')} failed, {readings.unreadable} without an answer line"
        note(f"{failed}; the same command asks again")
        raise typer.Exit(3)


@o.takes_request(*_FLAGS)
def judge(
    request: Request,
    source: _Source,
    *,
    model: Annotated[str | None, _JUDGE] = None,
    judge_prompt: Annotated[str, _JUDGE_PROMPT] = "judge",
    seed: o.Seed = rubric_score.SEED,
    dataset: o.Joined = None,
    out: Annotated[Path | None, _JUDGE_OUT] = None,
    form: o.Form = "table",
    by: o.By = None,
    explain: Annotated[bool, typer.Option("--explain", help="List the judgements that failed.")] = False,
) -> None:
    """Judge the reasoning of right answers, by MMAR-Rubrics.

    Five calls an item; the same command again asks only what is missing.
    """
    output.check_explain(explain, form)
    cases = rubric_score.judge_cases(source, registry.load_questions(dataset, request.data))
    log = rubric_score.judge_log(source, out)
    if _is_planned(request, log, rubric_score.inquiry(cases, seed), model, judge_prompt):
        return
    rating = rubric_score.rate_run(cases, *log.read(), by or ())
    _show_rating(rating, form, explain=explain)
    for why, count in rating.why.items():
        note(f"the judgement of {quantity(count, 'item')} failed ({why}), counted as 0")
    if any(count for kind, count in rating.calls.items() if kind != "read"):
        note("the same command with --judge makes the calls that are missing or could not be read")
    if rating.failed and model is not None:
        raise typer.Exit(3)


def _show_rating(rating: Rating, form: str, *, explain: bool) -> None:
    """Print a rating to stdout in one of the formats; `explain` lists what failed."""
    if form == "json":
        fields = to_json(rating)
        if not explain:
            del fields["failures"]
        output.echo_json(fields)
        return
    if form == "csv":
        rows = rating.to_rows()
        text = format_words(["run", *rows[0]], [[rating.run, *row.values()] for row in rows], form)
    else:
        name = "" if form == "table" else Path(rating.run).name
        header = ["n", "mmar", "95 %", "rubrics", "95 %", "n official", "official", "95 %"]
        text = format_columns([Column(name, words=True), *map(Column, header)], _rating_rows(rating), form)
    if form == "table":
        text = f"{heading(_title(rating))}\n\n{text}{prose(_LEGEND)}\n"
    typer.echo(text, nl=False)
    if explain:
        listed = "No judgement failed.\n"
        if rating.failures:
            listed = format_words(["item", "why"], list(rating.failures.items()))
        typer.echo("\n" + listed, nl=False)


def _title(rating: Rating) -> str:
    calls = ", ".join(f"{count} {kind}" for kind, count in rating.calls.items() if count)
    matched = ", ".join(f"{count} by {how}" for how, count in rating.matched.items())
    by = f"; {served_text(rating.served)}" if rating.served else ""
    where = " · ".join(filter(None, [rating.run, rating.dataset]))
    return (
        f"{where} · judge {rating.judge.split('@')[0]} · prompt {rating.prompt} ({rating.prompt_digest})\n"
        f"{quantity(rating.n, 'item')}: {rating.right} right, of which {rating.judged} judged, {rating.failed} failed\n"
        f"calls: {calls or 'none'}; matched {matched or 'none'}; "
        f"{rating.tokens['input']} tokens in, {rating.tokens['output']} out, cost {Dollars(rating.cost)}{by}\n"
    )


def _rating_rows(rating: Rating) -> Iterator[Row]:
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
