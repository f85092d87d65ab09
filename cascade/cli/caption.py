"""The command `caption`, and captions as a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any

import typer

from cascade.captioners import speech
from cascade.cli import output
from cascade.cli.options import one_of, takes_request
from cascade.errors import NOT_APPLICABLE
from cascade.io.tables import format_words
from cascade.io.terminal import note, prose, quantity
from cascade.pipeline.jobs import make_captions, prepare
from cascade.pipeline.request import Request
from cascade.runs.describe import caption_costs, truncated_captions
from cascade.types import CaptionRecord


@takes_request(
    *("dataset", "data", "captions", "caption_param", "digest", "digest_question", "limit", "only", "shard", "cache"),
    *("concurrency", "retries", "timeout", "backend", "worker", "device", "batch", "threads"),
)
def caption(
    request: Request,
    *,
    form: Annotated[str, one_of("--format", ("table", "jsonl"), "How to print the captions.")] = "table",
) -> None:
    """Caption the clips, and print the captions."""
    job = prepare(replace(request, llm="fake"))  # No model is asked.
    captions = make_captions(job)
    if form == "jsonl":
        engines = {spec.slot: spec.name for spec in job.spec.captioners}
        for caption in captions:
            fields: dict[str, Any] = {"id": caption.item, "slot": caption.slot, "engine": engines[caption.slot]}
            if caption.failure:
                fields["error"] = {"kind": caption.failure.kind, "message": caption.failure.message}
            else:
                fields |= {"key": caption.key, "text": caption.text, "meta": caption.meta}
            output.echo_json(fields)
    else:
        typer.echo(caption_table(captions), nl=False)
        for line in [*speech.english_only(captions), *truncated_captions(captions)]:
            typer.echo("\n" + prose(line))
    # Where an engine asked a provider, its captions have a cost; None is an unknown price.
    costs = caption_costs(captions)
    known = [cost for cost in costs.values() if cost is not None]
    if known:
        note(f"{quantity(len(known), 'caption')} by providers cost ${sum(known):.4f} when made")
    if len(known) < len(costs):
        note(f"{quantity(len(costs) - len(known), 'caption')} by providers of unknown price")
    failures = [(caption, caption.failure) for caption in captions if caption.failure]
    places: dict[tuple[str, str], list[str]] = {}
    for caption, failure in failures:
        places.setdefault((caption.item, failure.message), []).append(caption.slot)
    for (item, message), slots in places.items():
        note(f"{item}: {', '.join(slots)}: {message}")
    if any(failure.kind != NOT_APPLICABLE for _, failure in failures):
        raise typer.Exit(3)


def caption_table(captions: Sequence[CaptionRecord]) -> str:
    """Return one row per item and slot, with the time that the caption took when it was made."""
    rows: list[list[str]] = []
    item = None
    for caption in captions:
        text = caption.text or "(nothing)"
        if caption.failure:
            text = f"({caption.failure.kind}: {caption.failure.message})"
        seconds = caption.meta.get("seconds")
        time = f"{seconds:.1f} s" if isinstance(seconds, int | float) else "-"
        rows.append(["" if caption.item == item else caption.item, caption.slot, time, text])
        item = caption.item
    return format_words(["clip", "slot", "made in", "text"], rows)
