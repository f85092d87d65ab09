"""The command `ask`: one question about one clip."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from cascade.answer import answer_of
from cascade.cli import options as o
from cascade.cli import output
from cascade.cli.caption import caption_table
from cascade.errors import UserError
from cascade.io.terminal import note, plain
from cascade.pipeline.request import EMBEDDED_CAPTIONS, Request
from cascade.scoring.outcomes import why_unread
from cascade.types import Failure


@o.takes_request(
    *("llm", "caption_param", "prompt", "answer_as", "param", "seed"),
    *("accept_silent_audio", "cache", "api_base", "retries", "timeout", "device", "threads"),
)
def ask(
    request: Request,
    clip: Annotated[Path, typer.Argument(metavar="CLIP", help="An audio file.")],
    question: Annotated[str, typer.Argument(metavar="QUESTION", help="What to ask about it.")],
    *,
    choice: Annotated[list[str], typer.Option("--choice", metavar="TEXT", help="One of the choices. Repeat it.")],
    captions: Annotated[
        str, typer.Option("--captions", metavar="SLOT=ENGINE,…", help="The engine of each slot; `none`: no captions.")
    ] = EMBEDDED_CAPTIONS,
    form: o.TableOrJson = "table",
) -> None:
    """Ask one question about one clip."""
    if len(choice) < 2:
        raise UserError(f"--choice {choice[0]}: give two or more, each as --choice TEXT")
    answer = answer_of(clip, question, choice, replace(request, captions=captions))
    if form == "json":
        captions_by_slot = {caption.slot: caption.text for caption in answer.captions}
        about = {"answer": answer.choice.text, "how": answer.choice.how, "captions": captions_by_slot}
        output.echo_json({**about, "result": answer.result})
    else:
        if answer.captions:
            typer.echo(caption_table(answer.captions))
        if answer.reply:
            typer.echo(f"Reply: {plain(answer.reply)}\n")
        typer.echo(f"Answer: {plain(answer.choice.text) or f'(none: {why_unread(answer.choice.how)})'}")
    if isinstance(answer.result, Failure):
        note(f"failed ({answer.result.kind}): {answer.result.message}")
        raise typer.Exit(3)
