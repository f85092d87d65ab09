"""`cascade judge`: how well the reasoning behind right answers holds, by a judge and the benchmark's rubrics."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cascade.cli import options as o
from cascade.cli import output
from cascade.errors import UserError
from cascade.io.figures import interval, percent
from cascade.io.tables import format_table, format_words
from cascade.io.terminal import note, prose
from cascade.pipeline import specs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cascade.runs.judge_log import Judge, Replies
    from cascade.scoring.rubric_score import Cases, Rating, Scale
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


# What came of it


def show(told: Rating, form: str, *, explain: bool = False) -> None:
    """Print a rating to stdout in one of the formats; `explain` lists what failed."""
    if form == "json":
        from cascade.io.jsonl import to_json

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
