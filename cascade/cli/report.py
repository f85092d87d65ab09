"""`cascade report`: runs as one page that people want to look at."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cascade.cli import output
from cascade.errors import UserError


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
    form: Annotated[str, typer.Option("--format", metavar="html|md", help="A page, or tables for a README.")] = "html",
) -> None:
    """Make one page of runs: scores, differences, every item.

    One HTML file that opens anywhere, with each clip to listen to; or tables in Markdown. With the run of the
    benchmark's cues among them it tells perception from reasoning; an ablation shows what each source adds.
    """
    from cascade.io.jsonl import write_text

    output.check_format(form, ("html", "md"))
    if form == "md" and embed_audio:
        raise UserError("--embed-audio is for the page: Markdown has no clips; leave out --format md")
    page = out or sources[0] / "report.html"
    if page.is_dir():
        raise UserError(f"--out {page} is a folder; name a file: --out {page / 'report.html'}")
    if out and not out.parent.is_dir():
        raise UserError(f"--out {out}: there is no folder {out.parent}; make it first: mkdir -p {out.parent}")
    if form == "md":
        from cascade.report.markdown import markdown_report

        text = markdown_report(sources)
    else:
        from cascade.report.page import html_report

        text = html_report(sources, page, embed_audio=embed_audio)
    if form == "md" and not out:
        typer.echo(text, nl=False)
        return
    write_text(page, text)
    typer.echo(page)
