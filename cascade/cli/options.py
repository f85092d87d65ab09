"""The options that several commands share, and the headings under which `--help` lists them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import fields
from functools import partial, wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from cascade.errors import UnknownName
from cascade.pipeline.request import Request, flag_kinds
from cascade.scoring.matchers.registry import SCORERS

command_group = partial(typer.Typer, rich_markup_mode=None, add_completion=False)
_FIELDS = {flag.name: flag for flag in fields(Request)}


def _option(name: str) -> Any:
    """Return the option of a field of a request."""
    about = _FIELDS[name].metadata
    flag, panel = f"--{name.replace('_', '-')}", about["heading"]
    return typer.Option(flag, metavar=about["value"], help=about["text"], min=about["least"], rich_help_panel=panel)


def _from_file(ctx: typer.Context, path: Path | None) -> Path | None:
    """Make the values in the file the defaults of the flags, before these are read."""
    if path:
        from cascade.cli.specfile import read_spec

        params = {param.opts[0].lstrip("-"): param for param in ctx.command.params}
        known, kinds = flag_kinds(), dict[str, type]()
        for name, param in params.items():
            if name not in ("spec", "help"):
                own = bool if getattr(param, "is_flag", False) else str
                kinds[name] = known.get(name, own)
        ctx.default_map = {str(params[name].name): value for name, value in read_spec(path, kinds).items()}
    return path


def one_of(flag: str, known: Collection[str], text: str) -> Any:
    """Return an option that takes one of the `known` values, and raises UnknownName for another."""

    def check(value: str) -> str:
        if value not in known:
            raise UnknownName(flag.lstrip("-"), value, known)
        return value

    return typer.Option(flag, metavar="|".join(known), help=text, callback=check)


LLM = Annotated[str, _option("llm")]
DatasetName = Annotated[str, _option("dataset")]
Data = Annotated[Path | None, _option("data")]
Captions = Annotated[str | None, _option("captions")]
CaptionParam = Annotated[list[str] | None, _option("caption_param")]
Limit = Annotated[int | None, _option("limit")]
Only = Annotated[list[str] | None, _option("only")]
SameModel = Annotated[bool, _option("same_model")]
Cache = Annotated[Path | None, _option("cache")]
Seed = Annotated[int, _option("seed")]
_SPEC_HELP = "A YAML or TOML file that says what flags say; a flag overrides it."
_SPEC = typer.Option("--spec", metavar="FILE", callback=_from_file, is_eager=True, help=_SPEC_HELP)
By = Annotated[list[str] | None, typer.Option("--by", metavar="TAG", help="Break down by this tag too. Repeatable.")]
Form = Annotated[str, one_of("--format", ("table", "json", "md", "csv", "latex"), "How to print it.")]
TableOrJson = Annotated[str, one_of("--format", ("table", "json"), "How to print it.")]
ScorerName = Annotated[str, one_of("--scorer", SCORERS, "Official matcher, or equality.")]
Extract = Annotated[bool, typer.Option("--extract", help="Extract the choices from a file's raw replies first.")]
Explain = Annotated[bool, typer.Option("--explain", help="List what was unread, ambiguous or failed.")]
Joined = Annotated[
    str | None, typer.Option("--dataset", metavar="NAME|FILE", help="The questions, for a file that has ids alone.")
]


def takes_request(*wanted: str, without: Sequence[str] = ()) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return a decorator for a command whose first parameter is a `Request`: its fields become the command's flags.

    `wanted` are the fields that become flags, all unless given, and a flag for a file of them (`spec`); those in
    `without` do not. The others keep their defaults.
    """
    names = [name for name in _FIELDS if name in (wanted or _FIELDS) and name not in without]
    hints = get_type_hints(Request)

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @wraps(command)
        def called(**flags: Any) -> None:
            given = {name: flags.pop(name) for name in names}
            flags.pop("spec", None)  # its content has become the defaults of the others
            command(Request(**given), **flags)

        shared: list[Parameter] = []
        for name in names:
            kind = list[str] | None if hints[name] == Sequence[str] | None else hints[name]
            annotation = Annotated[kind, _option(name)]  # type: ignore[valid-type]
            shared.append(Parameter(name, Parameter.KEYWORD_ONLY, default=_FIELDS[name].default, annotation=annotation))
        if not wanted and "spec" not in without:
            spec = Annotated[Path | None, _SPEC]
            shared.append(Parameter("spec", Parameter.KEYWORD_ONLY, default=None, annotation=spec))
        own = list(signature(command, eval_str=True).parameters.values())[1:]
        arguments = [parameter for parameter in own if parameter.kind is not Parameter.KEYWORD_ONLY]
        options = [parameter for parameter in own if parameter not in arguments]
        vars(called)["__signature__"] = Signature([*arguments, *shared, *options])
        return called

    return decorate
