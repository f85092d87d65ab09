"""The commands that say what there is: `prompts`, `datasets`, `captioners`."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable
from typing import Annotated, Any

import typer

from cascade import plugins
from cascade.cli import options as o
from cascade.cli import output
from cascade.errors import UnknownName, UserError
from cascade.io.tables import format_words
from cascade.io.terminal import note, plain, prose
from cascade.pipeline import specs
from cascade.pipeline.request import Request
from cascade.types import Item, PromptSpec

Form = Annotated[str, typer.Option("--format", metavar="table|json", help="How to print it.")]


def _print(header: list[str], rows: list[dict[str, Any]], form: str) -> None:
    """Rows as a table of these fields, or whole as JSON."""
    output.check_format(form, ("table", "json"))
    if form == "json":
        typer.echo(json.dumps(rows, ensure_ascii=False))
        return
    cells = [[str(row[field]) if row[field] not in (None, "") else "-" for field in header] for row in rows]
    typer.echo(format_words(header, cells), nl=False)


def datasets(form: Form = "table") -> None:
    """List the datasets."""
    rows = [_dataset(name) for name in plugins.names("datasets")]
    _print(["name", "items", "size", "version", "licence", "where"], rows, form)
    if form == "table":
        typer.echo(prose("Where there is no folder: --data DIR, or, for mmar, fetched when it is first asked for."))


def _dataset(name: str) -> dict[str, Any]:
    module = plugins.find("datasets", name)
    found = module.where()
    return {"name": name, **module.ABOUT, "where": str(found) if found else None}


def captioners(form: Form = "table") -> None:
    """List the captioners, and what each needs to work here."""
    rows = [_row(name) for name in plugins.names("captioners")]
    if form == "table":
        shown = [{**row, "slots": ", ".join(row["slots"]), "ready": "yes" if row["ready"] else "no"} for row in rows]
        _print(
            ["name", "slots", "ready", "needs"],
            [{**row, "needs": row["needs"] or row["note"]} for row in shown],
            form,
        )
        if command := all_at_once(row["needs"] for row in rows):
            typer.echo(f"All of them: {command}")
        return
    _print([], rows, form)


def _row(name: str) -> dict[str, Any]:
    """A row of the list, or what is wrong with the package: the others are listed all the same."""
    try:
        return _captioner(name)
    except UserError as error:
        return {"name": name, "slots": [], "ready": False, "needs": str(error), "note": "", "params": {}}


def _captioner(name: str) -> dict[str, Any]:
    """A row of the list. With its default parameters an engine may have weights to fetch, or lack a key."""
    from cascade.captioners import registry

    module = plugins.find("captioners", name)
    needs, note = " && ".join(registry.missing(module)), ""
    params = registry.defaults(module)
    given = [key for key, value in params.items() if value is None]
    if given:
        note = f"give {', '.join(given)}: {name}({given[0]}=…)"
    elif not needs:
        spec, files = registry.specify(name, name, {})
        host = specs.build_execution(Request(), specs.CaptionerSelection(specs=(spec,), files=files)).host
        lacking = registry.lacks(spec, host)
        needs = lacking.rpartition(": ")[2]
        absent = registry.absent(spec, host)
        note = f"fetches {absent[0].partition(';')[0]} when first used" if absent else ""
    row = {"name": name, "slots": [module.SLOT], "ready": not needs, "needs": needs, "note": note}
    return {**row, "params": params}


def all_at_once(needs: Iterable[str]) -> str:
    """The one command that installs all packages that these commands would, or `""`."""
    extras = sorted({extra for text in needs for extra in re.findall(r"audio-cascade\[(\w+)\]", text)})
    return f"pip install 'audio-cascade[{','.join(extras)}]'" if extras else ""


prompts = typer.Typer(
    help="List the prompts, or show what one sends.",
    invoke_without_command=True,
    rich_markup_mode=None,
    add_completion=False,
)


@prompts.callback()
def prompts_list(ctx: typer.Context, form: Form = "table") -> None:
    """List the prompts, or show what one sends."""
    if ctx.invoked_subcommand:
        return
    from cascade.prompting import templates

    found = [templates.find_template(name) for name in templates.prompt_names()]
    rows = [
        {"name": one.name, "digest": one.digest, "begins": " ".join(templates.parts(one)[0][1].split())}
        for one in found
    ]
    shown = [{**row, "begins": row["begins"][:60]} for row in rows] if form == "table" else rows
    _print(["name", "digest", "begins"], shown, form)


@prompts.command("show")
def prompts_show(
    name: Annotated[str, typer.Argument(metavar="NAME|FILE", help="A shipped prompt, or FILE.md.")],
    item: Annotated[str | None, typer.Option("--item", metavar="ID", help="Fill it in for this item.")] = None,
    dataset: o.DatasetName = "demo",
    data: o.Data = None,
    captions: o.Captions = None,
    caption_param: o.CaptionParam = None,
    cache: o.Cache = None,
) -> None:
    """Print a template, or with --item exactly what would be sent."""
    from cascade.captioning import generate
    from cascade.datasets.registry import load
    from cascade.pipeline import asking
    from cascade.prompting import evidence, templates

    template = templates.find_template(name)
    if item is None:
        typer.echo(template.text, nl=False)
        return
    heard_by = specs.select_captioners(specs.caption_sources(captions, dataset), caption_param)
    loaded = load(dataset, data, audio=heard_by.audio)
    one = _item(loaded.items, item)
    how = specs.build_execution(Request(cache=cache), heard_by)
    heard = generate.caption([one], loaded.root, heard_by.specs, how)
    slots = tuple(spec.slot for spec in heard_by.specs)
    shape = PromptSpec(template=template.name, template_digest=template.digest, slots=slots)
    question = asking.build_question(one, 0, shape, template, evidence.captions_by_item(heard).get(one.id, {}))
    for message in question.prompt.messages:
        text = f"--- {message['role']}\n{message['content']}"
        # To a file or pipe exactly what would be sent; a terminal is not to be driven by what stands in a dataset.
        typer.echo(plain(text) if sys.stdout.isatty() else text, color=True)
    if question.failure:
        note(f"failed ({question.failure.kind}): {question.failure.message}; a run would not ask this item")
        raise typer.Exit(3)


def _item(items: tuple[Item, ...], name: str) -> Item:
    by_id = {one.id: one for one in items}
    if name not in by_id:
        raise UnknownName("item", name, list(by_id)[:20])
    return by_id[name]
