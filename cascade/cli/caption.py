"""The command `caption`, and captions as a table."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from cascade.cli import output
from cascade.cli.options import takes_request
from cascade.io.terminal import note, plain
from cascade.pipeline.request import Request

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cascade.types import CaptionRecord


@takes_request(
    *("dataset", "data", "captions", "caption_param", "limit", "only", "shard", "cache"),
    *("concurrency", "retries", "timeout", "backend", "worker", "device", "batch", "threads"),
)
def caption(
    request: Request,
    *,
    form: Annotated[str, typer.Option("--format", metavar="table|jsonl", help="How to print the captions.")] = "table",
) -> None:
    """Caption the clips, and print what was heard."""
    from cascade.pipeline.jobs import make_captions, prepare

    output.check_format(form, ("table", "jsonl"))
    job = prepare(replace(request, llm="fake"))  # no model is asked
    heard = make_captions(job)
    engines = {spec.slot: spec.name for spec in job.spec.captioners}
    typer.echo(_jsonl(heard, engines) if form == "jsonl" else caption_table(heard), nl=False)
    _tell_cost(heard)
    failed = [one for one in heard if one.failure]
    for one in failed:
        note(f"{one.item}: {one.slot}: {one.failure.message if one.failure else ''}")
    if failed:
        raise typer.Exit(3)


def _tell_cost(heard: Sequence[CaptionRecord]) -> None:
    """What the captions cost when they were made, where an engine asked a provider."""
    costs = {one.key: one.meta["cost"] for one in heard if "cost" in one.meta}
    known = [cost for cost in costs.values() if cost is not None]
    if known:
        note(f"{len(known)} captions by providers cost ${sum(known):.4f} when they were made")
    if len(known) < len(costs):
        note(f"{len(costs) - len(known)} captions by providers are of unknown price")


def _jsonl(heard: Sequence[CaptionRecord], engines: dict[str, str]) -> str:
    from cascade.io.codec import to_json
    from cascade.io.jsonl import dumps

    def line(one: CaptionRecord) -> str:
        start = {"id": one.item, "slot": one.slot, "engine": engines[one.slot]}
        if one.failure:
            return dumps({**start, "error": {"kind": one.failure.kind, "message": one.failure.message}}) + "\n"
        return dumps({**start, "key": one.key, "text": one.text, "meta": to_json(one.meta)}) + "\n"

    return "".join(map(line, heard))


def caption_table(heard: Sequence[CaptionRecord]) -> str:
    """A row an item and slot: the seconds are those the caption took when it was made; texts are folded."""
    from io import StringIO
    from shutil import get_terminal_size

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    columns = max(40, min(160, get_terminal_size().columns))
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="")
    for name, widest in (("clip", columns // 4), ("slot", columns // 6), ("seconds", None), ("text", None)):
        table.add_column(name, overflow="fold", max_width=widest, justify="right" if name == "seconds" else "left")
    for before, one in zip([None, *heard], heard, strict=False):
        new = before is None or before.item != one.item
        text = f"({one.failure.kind}: {one.failure.message})" if one.failure else one.text or "(nothing)"
        took = one.meta.get("seconds")
        cells = (one.item if new else "", one.slot, f"{took:.1f}" if isinstance(took, int | float) else "-", text)
        table.add_row(*(Text(plain(cell)) for cell in cells))
    out = StringIO()
    Console(file=out, width=columns, color_system=None).print(table)
    return "".join(line.rstrip() + "\n" for line in out.getvalue().splitlines())
