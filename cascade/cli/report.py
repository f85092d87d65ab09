"""The command `report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cascade.cli.options import one_of
from cascade.report.markdown import markdown_report
from cascade.report.page import FORMATS, write_report


def report(
    sources: Annotated[
        list[Path], typer.Argument(metavar="RUN…", help="Run directories, or the folder of an ablation.")
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="The file (else report.html in the first RUN; Markdown to stdout)."),
    ] = None,
    embed_audio: Annotated[
        bool, typer.Option("--embed-audio", help="Put small copies of the clips into the page.")
    ] = False,
    form: Annotated[str, one_of("--format", FORMATS, "A page, or tables for a README.")] = "html",
) -> None:
    """Make one page of runs: scores, differences, every item.

    One HTML file that opens anywhere, with each clip to listen to; or tables in Markdown. With the run of the
    benchmark's cues among them it tells perception from reasoning; an ablation shows what each source adds.
    """
    if form == "md" and not out and not embed_audio:
        typer.echo(markdown_report(sources), nl=False)
        return
    typer.echo(write_report(sources, out, embed_audio=embed_audio, form=form))
