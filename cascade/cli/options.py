"""The options that several commands share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from functools import wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cascade.cli.output import FORMATS
from cascade.pipeline.request import (
    DEFAULT_CAPTIONS,
    DEFAULT_ROUNDS,
    EMBEDDED_CAPTIONS,
    EMBEDDED_ROUNDS,
    LEAST,
    Request,
)

if TYPE_CHECKING:
    from cascade.types import Dataset


def _from_file(ctx: typer.Context, path: Path | None) -> Path | None:
    """Make the values in the file the defaults of the flags, before these are read."""
    if path:
        from cascade.cli.specfile import read_spec

        params = {param.opts[0].lstrip("-"): param for param in ctx.command.params if param.name != "spec"}
        flags = {name: bool(getattr(param, "multiple", False)) for name, param in params.items() if name != "help"}
        ctx.default_map = {str(params[name].name): value for name, value in read_spec(path, flags).items()}
    return path


SpecFile = Annotated[
    Path | None,
    typer.Option(
        "--spec",
        metavar="FILE",
        callback=_from_file,
        is_eager=True,
        help="A YAML or TOML file that says what flags say; a flag overrides it.",
    ),
]
LLM = Annotated[
    str, typer.Option("--llm", metavar="MODEL", help="Any litellm model name; `local`, `local:FILE.gguf` or `fake`.")
]
DatasetName = Annotated[
    str, typer.Option("--dataset", metavar="NAME|FILE", help="A name of `cascade datasets`, or FILE.jsonl.")
]
Data = Annotated[
    Path | None, typer.Option("--data", metavar="DIR", help="The folder of the clips, and of a benchmark's metadata.")
]
Captions = Annotated[
    str | None,
    typer.Option(
        "--captions",
        metavar="SLOT=ENGINE,…",
        help="The engine of each slot, or a file of captions; `none`: no captions.  "
        f"[default: {DEFAULT_CAPTIONS}; demo: {EMBEDDED_CAPTIONS}]",
    ),
]
CaptionParam = Annotated[
    list[str] | None,
    typer.Option("--caption-param", metavar="SLOT.KEY=VALUE", help="A parameter of a captioner. Repeatable."),
]
PromptName = Annotated[
    str, typer.Option("--prompt", metavar="NAME|FILE", help="A name of `cascade prompts`, or FILE.md.")
]
AnswerAs = Annotated[
    str | None,
    typer.Option(
        "--answer-as",
        metavar="text|choice",
        help="Reply in free text, or only with one of the choices.  [default: text; with --llm local: choice]",
    ),
]
Rounds = Annotated[
    int,
    typer.Option("--rounds", min=LEAST["rounds"], metavar="N", help="Let the model ask for more, in up to N rounds."),
]
RoundsWith = Annotated[
    str | None,
    typer.Option(
        "--rounds-with",
        metavar="NAME=ENGINE,…",
        help=f"The engines that it may ask, and by which names.  [default: {DEFAULT_ROUNDS}; demo: {EMBEDDED_ROUNDS}]",
    ),
]
Tools = Annotated[
    str | None,
    typer.Option(
        "--tools",
        metavar="calls|text",
        help="Ask by function calls, or by lines of text.  [default: calls; local: text]",
    ),
]
Param = Annotated[
    list[str] | None,
    typer.Option("--param", metavar="KEY=VALUE", help="A parameter sent to the model; KEY=none unsets it. Repeatable."),
]
Limit = Annotated[
    int | None,
    typer.Option("--limit", min=LEAST["limit"], metavar="N", help="Only the first N items; raise it later to go on."),
]
Only = Annotated[
    list[str] | None, typer.Option("--only", metavar="TAG=VALUE", help="Only items with this tag. Repeatable.")
]
Shard = Annotated[
    str | None,
    typer.Option("--shard", metavar="I/N", help="Only part I of N, by the clips; `cascade merge` joins them."),
]
ApiBase = Annotated[str | None, typer.Option("--api-base", metavar="URL", help="An OpenAI-compatible endpoint.")]
SameModel = Annotated[
    bool, typer.Option("--same-model", help="The address serves the model that answered so far: go on there.")
]
Concurrency = Annotated[
    int,
    typer.Option("--concurrency", min=LEAST["concurrency"], metavar="N", help="At most N calls to a model at once."),
]
Retries = Annotated[
    int, typer.Option("--retries", min=LEAST["retries"], metavar="N", help="Tries again after a passing fault.")
]
Timeout = Annotated[
    float, typer.Option("--timeout", min=LEAST["timeout"], metavar="SECONDS", help="The longest wait for one reply.")
]
Samples = Annotated[
    int, typer.Option("--samples", min=LEAST["samples"], metavar="K", help="Ask each question K times, and vote.")
]
Shuffle = Annotated[
    bool, typer.Option("--shuffle-choices", help="Shuffle the choices, seeded; each sample turns them on by one.")
]
Effort = Annotated[
    str | None, typer.Option("--reasoning-effort", metavar="low|medium|high", help="How long a reasoning model thinks.")
]
MaxTokens = Annotated[
    int | None,
    typer.Option(
        "--max-tokens", min=LEAST["max_tokens"], metavar="N", help="At most N tokens a reply, reasoning included."
    ),
]
Thinking = Annotated[
    int | None,
    typer.Option(
        "--thinking-budget",
        min=LEAST["thinking_budget"],
        metavar="N",
        help="Tokens to think with, where the model takes that.",
    ),
]
Budget = Annotated[
    float | None,
    typer.Option("--budget", min=LEAST["budget"], metavar="USD", help="Stop before more is spent; resumable."),
]
Price = Annotated[
    str | None, typer.Option("--price", metavar="IN,OUT", help="The model's price, US dollars a million tokens.")
]
Rpm = Annotated[float | None, typer.Option("--rpm", min=LEAST["rpm"], metavar="N", help="Requests a minute at most.")]
Tpm = Annotated[float | None, typer.Option("--tpm", min=LEAST["tpm"], metavar="N", help="Tokens a minute at most.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what it would take, and do nothing.")]
Backend = Annotated[str, typer.Option("--backend", metavar="NAME", help="Where captioners run.")]
Worker = Annotated[
    list[str] | None,
    typer.Option(
        "--worker",
        metavar="[SLOT.]KEY=N",
        help="Of the ray backend: pool, num_gpus or num_cpus, a worker's. Repeatable.",
    ),
]
Cache = Annotated[
    Path | None,
    typer.Option("--cache", metavar="DIR", help="Where captions are kept (else $CASCADE_CACHE, else cache/)."),
]
Out = Annotated[
    Path | None, typer.Option("--out", metavar="DIR", help="The folder of the run, or of the runs (else below runs/).")
]
Seed = Annotated[int, typer.Option("--seed", metavar="N", help="The seed of whatever is random.")]
Device = Annotated[str, typer.Option("--device", metavar="NAME", help="auto, cpu, cuda, cuda:1, mps.")]
Batch = Annotated[
    int, typer.Option("--batch", min=LEAST["batch"], metavar="N", help="At most N clips at once to a captioner.")
]
Threads = Annotated[
    int, typer.Option("--threads", min=LEAST["threads"], metavar="N", help="Threads that captioners use; 0: all cores.")
]
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


# The option of each field of a request; `--spec` stands beside them and fills in the others.
_OPTIONS: dict[str, Any] = {
    "llm": LLM,
    "dataset": DatasetName,
    "spec": SpecFile,
    "data": Data,
    "captions": Captions,
    "caption_param": CaptionParam,
    "prompt": PromptName,
    "answer_as": AnswerAs,
    "rounds": Rounds,
    "rounds_with": RoundsWith,
    "tools": Tools,
    "param": Param,
    "reasoning_effort": Effort,
    "max_tokens": MaxTokens,
    "thinking_budget": Thinking,
    "samples": Samples,
    "limit": Limit,
    "only": Only,
    "shard": Shard,
    "seed": Seed,
    "shuffle_choices": Shuffle,
    "dry_run": DryRun,
    "budget": Budget,
    "price": Price,
    "out": Out,
    "cache": Cache,
    "api_base": ApiBase,
    "same_model": SameModel,
    "concurrency": Concurrency,
    "retries": Retries,
    "timeout": Timeout,
    "rpm": Rpm,
    "tpm": Tpm,
    "backend": Backend,
    "worker": Worker,
    "device": Device,
    "batch": Batch,
    "threads": Threads,
}


def takes_request(*wanted: str, without: Sequence[str] = ()) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return a decorator for a command whose first parameter is a `Request`: its fields become the command's flags.

    `wanted` are the fields that become flags, all unless given; those in `without` do not. The others keep their
    defaults.
    """
    defaults = {field.name: field.default for field in fields(Request)}
    names = [name for name in _OPTIONS if name in (wanted or _OPTIONS) and name not in without]

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @wraps(command)
        def called(**flags: Any) -> None:
            given = {name: flags.pop(name) for name in names}
            given.pop("spec", None)  # its content has become the defaults of the others
            command(Request(**given), **flags)

        shared = [
            Parameter(name, Parameter.KEYWORD_ONLY, default=defaults.get(name), annotation=_OPTIONS[name])
            for name in names
        ]
        own = list(signature(command, eval_str=True).parameters.values())[1:]
        arguments = [parameter for parameter in own if parameter.kind is not Parameter.KEYWORD_ONLY]
        options = [parameter for parameter in own if parameter not in arguments]
        vars(called)["__signature__"] = Signature([*arguments, *shared, *options])
        return called

    return decorate
