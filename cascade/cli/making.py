"""The commands that make: `run`, `caption`, `ask`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cascade.cli import options as o
from cascade.cli.requests import Request, carry_out, complain, execution, prepare, taking
from cascade.errors import UserError
from cascade.table import plain
from cascade.types import Answer, Choice, Completion, Failure, Item, LLMSpec, PromptSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cascade.runs import Heard

# What is of no concern where nothing is asked.
_ASKING = (
    *("llm", "prompt", "param", "reasoning_effort", "max_tokens", "thinking_budget", "samples", "seed", "dry_run"),
    *("spec", "budget", "price", "out", "api_base", "rpm", "tpm"),
)


@taking()
def run(request: Request, *, shuffle_choices: o.Shuffle = False) -> None:
    """Caption the clips, ask the model, score the answers.

    The same command again resumes; a larger --limit extends.
    """
    from cascade import planning, scoring
    from cascade.cli.scores import show

    job = prepare(request, order_seed=request.seed if shuffle_choices else None)
    if request.dry_run:
        plan = planning.plan(job.path, job.items, job.loaded.root, job.spec, job.template, job.how)
        typer.echo("\n".join(planning.lines(plan)))
        o.note("dry run: nothing was heard, asked or written")
        return
    _warn_of_equal_samples(job.spec.llm, shuffle_choices)
    if not job.items:
        o.note(f"--shard {request.shard}: none of these items is in it; nothing to do, and `merge` goes without it")
        return
    done = carry_out(job)
    if (more := len(done.items)) > (asked := len(job.items)):
        o.note(f"the run already holds {more} items; all of them are scored (for {asked} alone give --out)")
    show(scoring.score(done.path), "table")
    if complain(done):
        raise typer.Exit(3)


def _warn_of_equal_samples(asked: LLMSpec, shuffled: bool) -> None:
    if asked.samples > 1 and not shuffled and asked.params.get("temperature") == 0:
        o.note(
            f"--samples {asked.samples} at temperature 0 asks for the same reply again and again; "
            "give --param temperature=0.7, or --shuffle-choices"
        )


@taking(*_ASKING)
def caption(
    request: Request,
    *,
    form: Annotated[str, typer.Option("--format", metavar="table|jsonl", help="How to print the captions.")] = "table",
) -> None:
    """Caption the clips, and print what was heard."""
    from cascade import captioning, datasets, shards
    from cascade.progress import bars

    o.known_format(form, ("table", "jsonl"))
    heard_by = o.listening(o.captions(request.captions, request.dataset), request.caption_param)
    loaded = datasets.load(request.dataset, request.data, audio=heard_by.audio)
    items = datasets.select(loaded, o.only(request.only), request.limit)
    items = items if request.shard is None else shards.split(request.shard, items)[1]
    how = execution(request, heard_by)
    heard = captioning.caption(items, loaded.root, heard_by.specs, how, bars) if items else []
    engines = {spec.slot: spec.name for spec in heard_by.specs}
    typer.echo(_jsonl(heard, engines) if form == "jsonl" else _table(heard), nl=False)
    _tell_cost(heard)
    failed = [one for one in heard if one.failure]
    for one in failed:
        o.note(f"{one.item}: {one.slot}: {one.failure.message if one.failure else ''}")
    if failed:
        raise typer.Exit(3)


def _tell_cost(heard: Sequence[Heard]) -> None:
    """What the captions cost when they were made, where an engine asked a provider."""
    costs = {one.key: one.meta["cost"] for one in heard if "cost" in one.meta}
    known = [cost for cost in costs.values() if cost is not None]
    if known:
        o.note(f"{len(known)} captions by providers cost ${sum(known):.4f} when they were made")
    if len(known) < len(costs):
        o.note(f"{len(costs) - len(known)} captions by providers are of unknown price")


def _jsonl(heard: Sequence[Heard], engines: dict[str, str]) -> str:
    from cascade.codec import to_json
    from cascade.jsonl import dumps

    def line(one: Heard) -> str:
        start = {"id": one.item, "slot": one.slot, "engine": engines[one.slot]}
        if one.failure:
            return dumps({**start, "error": {"kind": one.failure.kind, "message": one.failure.message}}) + "\n"
        return dumps({**start, "key": one.key, "text": one.text, "meta": to_json(one.meta)}) + "\n"

    return "".join(map(line, heard))


def _table(heard: Sequence[Heard]) -> str:
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


def ask(
    clip: Annotated[Path, typer.Argument(metavar="CLIP", help="An audio file.")],
    question: Annotated[str, typer.Argument(metavar="QUESTION", help="What to ask about it.")],
    choice: Annotated[list[str], typer.Option("--choice", metavar="TEXT", help="One of the choices. Repeat it.")],
    llm: o.LLM = "local",
    captions: Annotated[
        str, typer.Option("--captions", metavar="SLOT=ENGINE,…", help="Who listens for what; `none` asks blind.")
    ] = o.EMBEDDED,
    caption_param: o.CaptionParam = None,
    prompt: o.PromptName = "default",
    param: o.Param = None,
    seed: o.Seed = 0,
    cache: o.Cache = None,
    api_base: o.ApiBase = None,
    retries: o.Retries = 6,
    timeout: o.Timeout = 600.0,
    device: o.Device = "auto",
    threads: o.Threads = 0,
    form: Annotated[str, typer.Option("--format", metavar="table|json", help="How to print the answer.")] = "table",
) -> None:
    """Ask one question about one clip."""
    from cascade import asking, captioning, llms, prompting, runs

    o.known_format(form, ("table", "json"))
    if len(choice) < 2:
        raise UserError(f"--choice {choice[0]}: give two or more, each as --choice TEXT")
    heard_by = o.listening(captions, caption_param)
    if heard_by.audio and not clip.is_file():
        raise UserError(f"{clip}: {'a folder' if clip.is_dir() else 'no such file'}; CLIP is one audio file")
    template = prompting.find(prompt)
    asked, files = o.model(llm, param, seed)
    how = o.execution(cache, heard_by, device, 1, threads, files, api_base=api_base, retries=retries, timeout=timeout)
    llms.check(asked, how)
    item = Item(id=clip.name, audio=str(clip.absolute()), question=question, choices=tuple(choice), answer=choice[0])
    heard = captioning.caption([item], Path(), heard_by.specs, how)
    slots = tuple(spec.slot for spec in heard_by.specs)
    shape = PromptSpec(template=template.name, template_digest=template.digest, slots=slots)
    answer = asking.ask_alone(
        asking.question(item, 0, shape, template, runs.by_item(heard).get(item.id, {})), asked, how
    )
    _show_answer(item, heard, answer, form)


def _show_answer(item: Item, heard: Sequence[Heard], answer: Answer, form: str) -> None:
    from cascade.extracting import extract

    reply = answer.result.text if isinstance(answer.result, Completion) else ""
    choice = extract(reply, item.choices) if reply else Choice(text="", how="no reply")
    if form == "json":
        captions = {one.slot: one.text for one in heard}
        o.echo_json({"answer": choice.text, "how": choice.how, "captions": captions, "result": answer.result})
    else:
        typer.echo(_table(heard) + (f"\nReply: {plain(reply.strip())}\n" if reply else ""))
        typer.echo(f"Answer: {plain(choice.text) or '(none)'}   [{choice.how}]")
    if isinstance(answer.result, Failure):
        o.note(f"failed ({answer.result.kind}): {answer.result.message}")
        raise typer.Exit(3)
