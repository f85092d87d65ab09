"""The command `caption`, and captions as a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any

import typer

from cascade.cli import output
from cascade.cli.options import takes_request
from cascade.errors import NOT_APPLICABLE
from cascade.io.terminal import note, plain
from cascade.pipeline.jobs import make_captions, prepare
from cascade.pipeline.request import Request
from cascade.types import CaptionRecord


@takes_request(
    *("dataset", "data", "captions", "caption_param", "digest", "digest_question", "limit", "only", "shard", "cache"),
    *("concurrency", "retries", "timeout", "backend", "worker", "device", "batch", "threads"),
)
def caption(
    request: Request,
    *,
    form: Annotated[str, typer.Option("--format", metavar="table|jsonl", help="How to print the captions.")] = "table",
) -> None:
    """Caption the clips, and print the captions."""
    output.check_format(form, ("table", "jsonl"))
    job = prepare(replace(request, llm="fake"))  # No model is asked.
    captions = make_captions(job)
    if form == "jsonl":
        engines = {spec.slot: spec.name for spec in job.spec.captioners}
        for caption in captions:
            output.echo_json(_json_line(caption, engines[caption.slot]))
    else:
        typer.echo(caption_table(captions), nl=False)
    # Where an engine asked a provider, its captions have a cost; None is an unknown price.
    costs = {caption.key: caption.meta["cost"] for caption in captions if "cost" in caption.meta}
    known = [cost for cost in costs.values() if cost is not None]
    if known:
        note(f"{len(known)} captions by providers cost ${sum(known):.4f} when they were made")
    if len(known) < len(costs):
        note(f"{len(costs) - len(known)} captions by providers are of unknown price")
    failures = [(caption, caption.failure) for caption in captions if caption.failure]
    for caption, failure in failures:
        note(f"{caption.item}: {caption.slot}: {failure.message}")
    if any(failure.kind != NOT_APPLICABLE for _, failure in failures):
        raise typer.Exit(3)


def _json_line(caption: CaptionRecord, engine: str) -> dict[str, Any]:
    start = {"id": caption.item, "slot": caption.slot, "engine": engine}
    if caption.failure:
        return {**start, "error": {"kind": caption.failure.kind, "message": caption.failure.message}}
    return {**start, "key": caption.key, "text": caption.text, "meta": caption.meta}


def caption_table(captions: Sequence[CaptionRecord]) -> str:
    """Return one row per item and slot: the seconds are those the caption took when it was made; texts are folded."""
    from io import StringIO
    from shutil import get_terminal_size

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    columns = max(40, min(160, get_terminal_size().columns))
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="")
    table.add_column("clip", overflow="fold", max_width=columns // 4)
    table.add_column("slot", overflow="fold", max_width=columns // 6)
    table.add_column("seconds", overflow="fold", justify="right")
    table.add_column("text", overflow="fold")
    item = None
    for caption in captions:
        text = caption.text or "(nothing)"
        if caption.failure:
            text = f"({caption.failure.kind}: {caption.failure.message})"
        seconds = caption.meta.get("seconds")
        time = f"{seconds:.1f}" if isinstance(seconds, int | float) else "-"
        name = "" if caption.item == item else caption.item
        item = caption.item
        table.add_row(*(Text(plain(cell)) for cell in (name, caption.slot, time, text)))
    out = StringIO()
    Console(file=out, width=columns, color_system=None).print(table)
    return "".join(line.rstrip() + "\n" for line in out.getvalue().splitlines())
