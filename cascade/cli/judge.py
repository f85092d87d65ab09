"""`cascade judge`: how well the reasoning behind right answers holds, by a judge and the benchmark's rubrics."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cascade.cli import options as o
from cascade.cli import output
from cascade.errors import UserError
from cascade.io.tables import Column, Interval, Label, Share, format_columns, format_words
from cascade.io.terminal import note, prose
from cascade.pipeline import specs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cascade.io.tables import Cell, Row
    from cascade.runs.judge_log import Judge, Replies
    from cascade.scoring.rubric_score import Cases, Rating
    from cascade.scoring.statistics import Rate
    from cascade.types import Execution

_LEGEND = """
rubrics: 0 where the answer is wrong, else the mean of five calls without the lowest and the highest; a judgement that \
failed counts as 0.
official: the same as MMAR's script counts: a judgement that failed leaves the totals. 95 % intervals over items."""
_MODEL = typer.Option("--judge", metavar="MODEL", help="Any litellm model name; without it the log is only read.")
_PROMPT = typer.Option("--judge-prompt", metavar="NAME|FILE", help="The shipped `judge`, or FILE.md.")
_OUT = typer.Option("--out", metavar="DIR", help="The folder of judge.jsonl (else the run; FILE's name and `-judged`).")


def judge(
    source: Annotated[Path, typer.Argument(metavar="RUN|FILE", help="A run directory, an official prediction file.")],
    model: Annotated[str | None, _MODEL] = None,
    judge_prompt: Annotated[str, _PROMPT] = "judge",
    param: o.Param = None,
    max_tokens: o.MaxTokens = None,
    seed: o.Seed = 42,
    dataset: o.Joined = None,
    data: o.Data = None,
    out: Annotated[Path | None, _OUT] = None,
    form: o.Form = "table",
    by: o.By = None,
    explain: Annotated[bool, typer.Option("--explain", help="List the judgements that failed.")] = False,
    dry_run: o.DryRun = False,
    budget: o.Budget = None,
    price: o.Price = None,
    api_base: o.ApiBase = None,
    concurrency: o.Concurrency = 16,
    retries: o.Retries = 6,
    timeout: o.Timeout = 600.0,
    rpm: o.Rpm = None,
    tpm: o.Tpm = None,
) -> None:
    """Judge the reasoning of right answers, by MMAR-Rubrics.

    Five calls an item; the same command again asks only what is missing.
    """
    from cascade.runs import judge_log
    from cascade.scoring import rubric_score

    output.check_format(form)
    if explain and form not in ("table", "json"):
        raise UserError(f"--explain goes with --format table or json, not with {form}")
    joined = specs.joined_dataset(dataset, data)
    found = rubric_score.judge_cases(source, joined)
    folder = _folder(source, out)
    if model is not None:
        how = _execution(
            model, api_base=api_base, concurrency=concurrency, retries=retries, timeout=timeout,
            budget=budget, price=price, rpm=rpm, tpm=tpm,
        )  # fmt: skip
        wanted = _judge(model, judge_prompt, param, seed, max_tokens, how)
        if dry_run:
            _say_plan(folder, found, wanted, how)
            return
        _ask(folder, found, wanted, how)
    elif dry_run:
        raise UserError("--dry-run: nothing is asked without a judge; give --judge MODEL")
    told = rubric_score.rate_run(found, *judge_log.read_judge_log(folder), by or ())
    show(told, form, explain=explain)
    if _complain(told) and model is not None:
        raise typer.Exit(3)


def _folder(source: Path, out: Path | None) -> Path:
    """Where judge.jsonl stands: in the run, or in a folder of its own, named after the file, under the runs."""
    return out or (source if source.is_dir() else Path("runs") / f"{source.stem}-judged")


def _execution(model: str, **how: Any) -> Execution:
    from cascade.llms import connect

    nobody = specs.CaptionerSelection(specs=(), files={}, endpoints={})
    return specs.build_execution(None, nobody, files=connect.identify(model)[1], **how)


def _judge(
    model: str, prompt: str, param: list[str] | None, seed: int, max_tokens: int | None, how: Execution
) -> Judge:
    """The judge as it will stand in the log, checked as far as it can be."""
    from msgspec.structs import replace

    from cascade.llms import connect
    from cascade.llms.redaction import redact
    from cascade.pipeline import parsing
    from cascade.prompting import templates
    from cascade.runs import judge_log, provenance

    asked, _ = specs.llm_spec(model, param, seed, max_tokens=max_tokens)
    # Seed 42 is a part of the protocol, whatever the model; --param seed=none unsets it.
    if "seed" not in parsing.parse_pairs(param or (), "--param"):
        asked = replace(asked, params={**asked.params, "seed": seed})
    connect.check(asked, how)
    session = provenance.session([redact(word) for word in ("cascade", *sys.argv[1:])], connect.modules(asked.model))
    return judge_log.new_judge(asked, templates.judge_template(prompt), session)


def _said(folder: Path) -> Replies:
    from cascade.runs import judge_log

    return judge_log.read_judge_log(folder)[1] if judge_log.has_judge(folder) else {}


def _say_plan(folder: Path, found: Cases, wanted: Judge, how: Execution) -> None:
    from cascade.pipeline import judging, planning
    from cascade.runs import directory, judge_log
    from cascade.scoring import rubric_score

    judge_log.check_same_judge(folder, wanted)
    said = _said(folder)
    calls = rubric_score.calls_left(found, wanted, said)
    reply = directory.mean_reply_tokens(one.result for one in said.values())
    plan = judging.judge_plan(len(found.cases), calls, reply, wanted, how)
    typer.echo("\n".join(planning.plan_lines(plan)[1:]))  # there are no captions to make
    note(f"dry run: nothing was asked or written; the log would be {folder / judge_log.FILE}")


def _ask(folder: Path, found: Cases, wanted: Judge, how: Execution) -> None:
    """Make the calls that the log has no readable reply to. A log that is whole needs no key and no package."""
    from cascade.io.progress import bars
    from cascade.llms import connect
    from cascade.pipeline import judging
    from cascade.runs import judge_log
    from cascade.scoring import rubric_score

    judge_log.check_same_judge(folder, wanted)
    if rubric_score.calls_left(found, wanted, _said(folder)):
        connect.check_access(wanted.llm, how, judging.OPTION)
    with judge_log.open_judge_log(folder, wanted) as log:
        note(f"judgements: {folder / judge_log.FILE}")
        if calls := rubric_score.calls_left(found, wanted, _said(folder)):
            judging.run_judge(folder, wanted, calls, log, how, bars)


def _complain(told: Rating) -> bool:
    """Say on stderr what failed; whether anything is left that another try could mend."""
    for why, count in told.why.items():
        note(f"{count} judgements failed ({why}), counted as 0")
    unread = sum(count for kind, count in told.calls.items() if kind != "read")
    if unread:
        note("the same command with --judge makes the calls that are missing or could not be read")
    return bool(told.failed)


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
        from cascade.io.jsonl import to_json

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
        text = f"{_title(rating)}\n{text}{prose(_LEGEND)}\n"
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
    where = f"{rating.run} · {rating.dataset}" if rating.dataset else rating.run
    return (
        f"{where} · judge {rating.judge.split('@')[0]} · prompt {rating.prompt} ({rating.prompt_digest})\n"
        f"{rating.n} items: {rating.right} right, of which {rating.judged} judged, {rating.failed} failed\n"
        f"calls: {calls or 'none'}; matched {matched or 'none'}; "
        f"{rating.tokens['input']} tokens in, {rating.tokens['output']} out, cost {cost}\n"
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
