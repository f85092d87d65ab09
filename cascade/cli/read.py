"""The command `read`: the replies that the rules leave unread, read by a second model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cascade.cli import options as o
from cascade.cli import output
from cascade.cli.options import takes_request
from cascade.cli.score import show
from cascade.cli.second_model import FLAGS, is_planned
from cascade.io.terminal import note, quantity
from cascade.pipeline.request import Request
from cascade.runs.call_log import READER, CallLog
from cascade.scoring import outcomes, second_reader
from cascade.scoring.summary import summarize

_MODEL = typer.Option("--reader", metavar="MODEL", help="Any litellm model name; without it the log is only read.")
_PROMPT = typer.Option("--reader-prompt", metavar="NAME|FILE", help="The shipped `read`, or FILE.md.")
_OUT = typer.Option("--out", metavar="DIR", help="The folder of reader.jsonl (else the run; beside FILE, `-read`).")


@takes_request(*FLAGS)
def read(
    request: Request,
    source: Annotated[Path, typer.Argument(metavar="RUN|FILE", help="A run directory, an official prediction file.")],
    *,
    model: Annotated[str | None, _MODEL] = None,
    reader_prompt: Annotated[str, _PROMPT] = "read",
    dataset: o.Joined = None,
    out: Annotated[Path | None, _OUT] = None,
    form: o.Form = "table",
    by: o.By = None,
    explain: o.Explain = False,
) -> None:
    """Ask a second model for the choice of each reply that the rules leave unread.

    Its readings are a score of their own. The same command again asks only what is missing.
    """
    output.check_format(form)
    output.check_explain(explain, form)
    questions = o.load_questions(dataset, request.data)
    scored = outcomes.score_source(source, questions, read_replies=True, reader=out)
    log = CallLog(outcomes.reader_folder(source, out), READER)
    if is_planned(request, log, second_reader.inquiry(scored.unread_replies), model, reader_prompt):
        return
    log.read()
    scored = outcomes.score_source(source, questions, read_replies=True, reader=out)
    show(summarize(scored, by or ()), form, unread=outcomes.unread_items(scored) if explain else None)
    readings = scored.readings
    if model is not None and readings and readings.failed + readings.unreadable:
        calls = f"{quantity(readings.failed, 'call')} failed, {readings.unreadable} without an answer line"
        note(f"{calls}; the same command asks again")
        raise typer.Exit(3)
