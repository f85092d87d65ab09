"""The options that several commands share, and the headings under which `--help` lists them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from functools import wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from cascade.cli.output import FORMATS
from cascade.pipeline.request import DEFAULT_CAPTIONS, EMBEDDED_CAPTIONS, LEAST, Request

if TYPE_CHECKING:
    from cascade.types import Dataset

_ENGINES = f"[default: {DEFAULT_CAPTIONS}; demo: {EMBEDDED_CAPTIONS}]"
# Of each field of a request: how its value is written, and its help. The field itself has the type and the default.
_WORDS: dict[str, dict[str, tuple[str | None, str]]] = {
    "Items": {
        "dataset": ("NAME|FILE", "A name of `cascade datasets`, or FILE.jsonl."),
        "data": ("DIR", "The folder of the clips, and of a benchmark's metadata."),
        "limit": ("N", "Only the first N items; raise it later to go on."),
        "only": ("TAG=VALUE", "Only items with this tag. Repeatable."),
        "shard": ("I/N", "Only part I of N, by the clips; `cascade merge` joins them."),
    },
    "Captions": {
        "captions": (
            "SLOT=ENGINE,…",
            f"The engine of each slot, or a file of captions; `none` for none.  {_ENGINES}",
        ),
        "caption_param": ("SLOT.KEY=VALUE", "A parameter of a captioner. Repeatable."),
        "cache": ("DIR", "Where captions are kept (else $CASCADE_CACHE, else cache/)."),
        "backend": ("NAME", "Where captioners run."),
        "worker": ("[SLOT.]KEY=N", "Of the ray backend: pool, num_gpus or num_cpus, a worker's. Repeatable."),
        "device": ("NAME", "auto, cpu, cuda, cuda:1, mps."),
        "batch": ("N", "At most N clips at once to a captioner."),
        "threads": ("N", "Threads that captioners use; 0: all cores."),
    },
    "Model": {
        "llm": ("MODEL", "Any litellm model name; `local`, `local:FILE.gguf` or `fake`."),
        "api_base": ("URL", "An OpenAI-compatible endpoint."),
        "same_model": (None, "The address serves the model that answered so far: go on there."),
        "param": ("KEY=VALUE", "A parameter sent to the model; KEY=none unsets it. Repeatable."),
        "reasoning_effort": ("low|medium|high", "How long a reasoning model thinks."),
        "thinking_budget": ("N", "Tokens to think with, where the model takes that."),
        "max_tokens": ("N", "At most N tokens a reply, reasoning included."),
    },
    "Question": {
        "prompt": ("NAME|FILE", "A name of `cascade prompts`, or FILE.md."),
        "answer_as": (
            "text|choice",
            "Reply in free text, or only with one of the choices.  [default: text; with --llm local: choice]",
        ),
        "samples": ("K", "Ask each question K times, and vote."),
        "shuffle_choices": (None, "Shuffle the choices, seeded; each sample turns them on by one."),
        "seed": ("N", "The seed of whatever is random."),
    },
    "Cost and pace": {
        "dry_run": (None, "Say what it would take, and do nothing."),
        "budget": ("USD", "Stop before more is spent, with exit code 4; resumable."),
        "price": ("IN,OUT", "The model's price, US dollars a million tokens."),
        "concurrency": ("N", "At most N calls to a model at once."),
        "retries": ("N", "Tries again after a passing fault."),
        "timeout": ("SECONDS", "The longest wait for one reply."),
        "rpm": ("N", "Requests a minute at most."),
        "tpm": ("N", "Tokens a minute at most."),
    },
    "Options": {"out": ("DIR", "The folder of the run, or of the runs (else below runs/).")},
}


def _option(name: str) -> Any:
    """Return the option of a field of a request."""
    heading, (metavar, text) = next((heading, words[name]) for heading, words in _WORDS.items() if name in words)
    flag = f"--{name.replace('_', '-')}"
    return typer.Option(flag, metavar=metavar, help=text, min=LEAST.get(name), rich_help_panel=heading)


def _from_file(ctx: typer.Context, path: Path | None) -> Path | None:
    """Make the values in the file the defaults of the flags, before these are read."""
    if path:
        from cascade.cli.specfile import read_spec

        params = {param.opts[0].lstrip("-"): param for param in ctx.command.params if param.name != "spec"}
        flags = {name: bool(getattr(param, "multiple", False)) for name, param in params.items() if name != "help"}
        ctx.default_map = {str(params[name].name): value for name, value in read_spec(path, flags).items()}
    return path


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
Form = Annotated[str, typer.Option("--format", metavar="|".join(FORMATS), help="How to print it.")]
TableOrJson = Annotated[str, typer.Option("--format", metavar="table|json", help="How to print it.")]
ScorerName = Annotated[str, typer.Option("--scorer", metavar="mmar|strict", help="Official matcher, or equality.")]
Extract = Annotated[bool, typer.Option("--extract", help="Extract the choices from a file's raw replies first.")]
Explain = Annotated[bool, typer.Option("--explain", help="List what was unread, ambiguous or failed.")]
Joined = Annotated[
    str | None, typer.Option("--dataset", metavar="NAME|FILE", help="The questions, for a file that has ids alone.")
]


def load_questions(name: str | None, data: Path | None) -> Dataset | None:
    """Return the dataset that prediction files of ids alone are joined with, where one is named; no clip is needed."""
    from cascade.datasets import registry

    return registry.load(name, data, audio=False) if name else None


def takes_request(*wanted: str, without: Sequence[str] = ()) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return a decorator for a command whose first parameter is a `Request`: its fields become the command's flags.

    `wanted` are the fields that become flags, all unless given, and a flag for a file of them (`spec`); those in
    `without` do not. The others keep their defaults.
    """
    defaults = {field.name: field.default for field in fields(Request)}
    names = [name for words in _WORDS.values() for name in words if name in (wanted or defaults)]
    names = [name for name in names if name not in without]
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
            shared.append(Parameter(name, Parameter.KEYWORD_ONLY, default=defaults[name], annotation=annotation))
        if not wanted and "spec" not in without:
            spec = Annotated[Path | None, _SPEC]
            shared.append(Parameter("spec", Parameter.KEYWORD_ONLY, default=None, annotation=spec))
        own = list(signature(command, eval_str=True).parameters.values())[1:]
        arguments = [parameter for parameter in own if parameter.kind is not Parameter.KEYWORD_ONLY]
        options = [parameter for parameter in own if parameter not in arguments]
        vars(called)["__signature__"] = Signature([*arguments, *shared, *options])
        return called

    return decorate
