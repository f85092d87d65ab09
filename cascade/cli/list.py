"""The commands that say what there is: `datasets`, `captioners`, `prompts`."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Annotated, Any

import typer
from msgspec.structs import replace

from cascade import plugins
from cascade.captioners.registry import Engine
from cascade.captioning import generate
from cascade.cli import options as o
from cascade.cli import output
from cascade.cli.doctor import MISSING, check_captioner
from cascade.datasets import registry
from cascade.errors import UnknownName, UserError
from cascade.io.tables import format_words
from cascade.io.terminal import note, plain, prose
from cascade.pipeline import questions
from cascade.pipeline.request import Request
from cascade.pipeline.specs import build_execution, caption_sources, choose_template, prompt_spec, select_captioners
from cascade.prompting import templates
from cascade.prompting.evidence import captions_by_item
from cascade.types import Host

_UNMADE = "(no caption yet)"


def _print(header: list[str], rows: list[dict[str, Any]], form: str) -> None:
    """Print rows as a table of these fields, or whole as JSON."""
    if form == "json":
        typer.echo(json.dumps(rows, ensure_ascii=False))
        return
    cells = [["-" if row[field] in (None, "") else str(row[field]) for field in header] for row in rows]
    typer.echo(format_words(header, cells), nl=False)


def datasets(form: o.TableOrJson = "table") -> None:
    """List the datasets."""
    rows = []
    for name in plugins.names("datasets"):
        module = plugins.find("datasets", name)
        folder = module.where()
        rows.append({"name": name, **module.ABOUT, "where": folder and str(folder)})
    _print(["name", "items", "size", "version", "licence", "where"], rows, form)
    if form == "table":
        typer.echo(prose("Where there is no folder: --data DIR, or, for mmar, fetched when it is first asked for."))


def captioners(form: o.TableOrJson = "table") -> None:
    """List the captioners, and what each needs to work here."""
    rows: list[dict[str, Any]] = []
    for name in plugins.names("captioners"):
        slots: list[str] = []
        params: Mapping[str, Any] = {}
        needs, remark = "", ""
        try:
            # As `doctor` finds the engine with its default parameters.
            engine = Engine(name)
            slots, params = [engine.module.SLOT], engine.defaults
            if required := [key for key, value in params.items() if value is None]:
                needs = " && ".join(engine.install_commands)
                remark = f"give {', '.join(required)}: {name}({required[0]}=…)"
            else:
                spec, files = engine.specify(name, {})
                check = check_captioner(spec, Host(files=files))
                if check.state == MISSING:
                    needs = check.command or check.detail
                else:
                    remark = check.detail
        except UserError as error:  # A broken package: the others are listed all the same.
            slots, params, needs = [], {}, str(error)
        state = {"ready": not needs, "needs": needs, "note": remark}
        rows.append({"name": name, "slots": slots, **state, "params": params})
    if form != "table":
        _print([], rows, form)
        return
    cells = []
    for row in rows:
        ready = {True: "yes", False: "no"}[row["ready"]]
        cells.append({**row, "slots": ", ".join(row["slots"]), "ready": ready, "needs": row["needs"] or row["note"]})
    _print(["name", "slots", "ready", "needs"], cells, form)
    if command := output.joint_install(row["needs"] for row in rows):
        typer.echo(f"All of them: {command}")


prompts = o.command_group(help="List the prompts, or show what one sends.", invoke_without_command=True)


@prompts.callback()
def prompts_list(ctx: typer.Context, form: o.TableOrJson = "table") -> None:
    """List the prompts, or show what one sends."""
    if ctx.invoked_subcommand:
        return
    rows = []
    for name in templates.prompt_names():
        template = templates.find_template(name)
        text = " ".join(templates.parts(template)[0][1].split())
        begins = text[:60] if form == "table" else text
        rows.append({"name": template.name, "digest": template.digest, "begins": begins})
    _print(["name", "digest", "begins"], rows, form)


@prompts.command("show")
@o.takes_request("data", "captions", "caption_param", "cache", dataset="demo")
def prompts_show(
    request: Request,
    name: Annotated[str, typer.Argument(metavar="NAME|FILE", help="A shipped prompt, or FILE.md.")],
    *,
    item: Annotated[str | None, typer.Option("--item", metavar="ID", help="Fill it in for this item.")] = None,
) -> None:
    """Print a template, or with --item exactly what would be sent.

    Captions are those of the cache. Where there is none yet, its place says so, and the exit code is 3.
    """
    selection = select_captioners(caption_sources(request.captions, request.dataset), request.caption_param)
    template = choose_template(name, selection.specs)
    if item is None:
        typer.echo(template.text, nl=False)
        return
    loaded = registry.load(request.dataset, request.data, audio=False)
    by_id = {loaded_item.id: loaded_item for loaded_item in loaded.items}
    if item not in by_id:
        raise UnknownName("item", item, list(by_id)[:20])
    how = build_execution(request, selection)
    records = generate.existing_captions([by_id[item]], loaded.root, selection.specs, how)
    unmade = [record.slot for record in records if record.failure and record.failure.kind == "unmade"]
    records = [replace(record, text=_UNMADE, failure=None) if record.slot in unmade else record for record in records]
    spec = prompt_spec(template, selection.specs)
    question = questions.build_question(by_id[item], 0, spec, template, captions_by_item(records).get(item, {}))
    sent = next((record.text for record in records if record.slot == spec.audio), "")
    texts = question.prompt.texts(f"<{question.prompt.clip}, {sent}>")
    for message, content in zip(question.prompt.messages, texts, strict=True):
        text = f"--- {message['role']}\n{content}"
        # A file or pipe gets exactly what would be sent; a terminal gets no control characters of a dataset.
        typer.echo(plain(text) if sys.stdout.isatty() else text, color=True)
    if unmade:
        note(f"{how.cache} has no {' and no '.join(unmade)} caption of {item}; `cascade caption` makes them")
        raise typer.Exit(3)
    if question.failure:
        note(f"failed ({question.failure.kind}): {question.failure.message}; a run would not ask this item")
        raise typer.Exit(3)
