"""The options that several commands share, and what they are turned into."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cascade.errors import UnknownName, UserError
from cascade.table import plain
from cascade.types import CaptionerSpec, Dataset, Execution, Host, LLMSpec

if TYPE_CHECKING:
    from collections.abc import Sequence


DEFAULT = "speech=whisper,sound=clapcap,music=clap-music"
EMBEDDED = "speech=faster-whisper,sound=events,music=signal"  # need no hub


def _from_file(ctx: typer.Context, path: Path | None) -> Path | None:
    """Let the file say what the flags say, before they are read."""
    if path:
        from cascade.cli import specfile

        names = {param.opts[0].lstrip("-"): param for param in ctx.command.params if param.name != "spec"}
        flags = {name: bool(getattr(param, "multiple", False)) for name, param in names.items() if name != "help"}
        said = specfile.read(path, flags)
        ctx.default_map = {str(names[name].name): value for name, value in said.items()}
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
        f"[default: {DEFAULT}; demo: {EMBEDDED}]",
    ),
]
CaptionParam = Annotated[
    list[str] | None,
    typer.Option("--caption-param", metavar="SLOT.KEY=VALUE", help="A parameter of a captioner. Repeatable."),
]
PromptName = Annotated[
    str, typer.Option("--prompt", metavar="NAME|FILE", help="A name of `cascade prompts`, or FILE.md.")
]
Param = Annotated[
    list[str] | None,
    typer.Option("--param", metavar="KEY=VALUE", help="A parameter sent to the model; KEY=none unsets it. Repeatable."),
]
Limit = Annotated[
    int | None, typer.Option("--limit", min=1, metavar="N", help="Only the first N items; raise it later to go on.")
]
Only = Annotated[
    list[str] | None, typer.Option("--only", metavar="TAG=VALUE", help="Only items with this tag. Repeatable.")
]
Shard = Annotated[
    str | None,
    typer.Option("--shard", metavar="I/N", help="Only part I of N, by the clips; `cascade merge` joins them."),
]
ApiBase = Annotated[str | None, typer.Option("--api-base", metavar="URL", help="An OpenAI-compatible endpoint.")]
Concurrency = Annotated[
    int, typer.Option("--concurrency", min=1, metavar="N", help="At most N calls to a model at once.")
]
Retries = Annotated[int, typer.Option("--retries", min=0, metavar="N", help="Tries again after a passing fault.")]
Timeout = Annotated[
    float, typer.Option("--timeout", min=0.001, metavar="SECONDS", help="The longest wait for one reply.")
]
Samples = Annotated[int, typer.Option("--samples", min=1, metavar="K", help="Ask each question K times, and vote.")]
Shuffle = Annotated[
    bool, typer.Option("--shuffle-choices", help="Shuffle the choices, seeded; each sample turns them on by one.")
]
Effort = Annotated[
    str | None, typer.Option("--reasoning-effort", metavar="low|medium|high", help="How long a reasoning model thinks.")
]
MaxTokens = Annotated[
    int | None, typer.Option("--max-tokens", min=1, metavar="N", help="At most N tokens a reply, reasoning included.")
]
Thinking = Annotated[
    int | None,
    typer.Option("--thinking-budget", min=1, metavar="N", help="Tokens to think with, where the model takes that."),
]
Budget = Annotated[
    float | None, typer.Option("--budget", min=0, metavar="USD", help="Stop before more is spent; resumable.")
]
Price = Annotated[
    str | None, typer.Option("--price", metavar="IN,OUT", help="The model's price, US dollars a million tokens.")
]
Rpm = Annotated[float | None, typer.Option("--rpm", min=0.001, metavar="N", help="Requests a minute at most.")]
Tpm = Annotated[float | None, typer.Option("--tpm", min=0.001, metavar="N", help="Tokens a minute at most.")]
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
Batch = Annotated[int, typer.Option("--batch", min=1, metavar="N", help="At most N clips at once to a captioner.")]
Threads = Annotated[
    int, typer.Option("--threads", min=0, metavar="N", help="Threads that captioners use; 0: all cores.")
]
By = Annotated[list[str] | None, typer.Option("--by", metavar="TAG", help="Break down by this tag too. Repeatable.")]
FORMATS = ("table", "json", "md", "csv", "latex")
Form = Annotated[str, typer.Option("--format", metavar="|".join(FORMATS), help="How to print it.")]
ScorerName = Annotated[str, typer.Option("--scorer", metavar="mmar|strict", help="Official matcher, or equality.")]
Extract = Annotated[bool, typer.Option("--extract", help="Extract the choices from a file's raw replies first.")]
Joined = Annotated[
    str | None, typer.Option("--dataset", metavar="NAME|FILE", help="The questions, for a file that has ids alone.")
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Listening:
    """The captioners that were asked for, where the local files are that they name, and who serves which model.

    `bundles` maps each slot that is filled from a file of captions to that file.
    """

    specs: tuple[CaptionerSpec, ...]
    files: dict[str, Path]
    endpoints: dict[str, str]
    bundles: dict[str, Path] = field(default_factory=dict)

    @property
    def audio(self) -> bool:
        """Whether the clips are needed: blind runs and lookups go without."""
        from cascade import captioners

        return any(captioners.hears(spec.name) for spec in self.specs)


def captions(given: str | None, dataset: str) -> str:
    """`--captions`, else what suits the dataset: the demo set is for machines that reach no hub."""
    return given or (EMBEDDED if dataset == "demo" else DEFAULT)


def listening(captions: str, params: list[str] | None) -> Listening:
    """`--captions` and `--caption-param` as specs. Raises UserError for what cannot be read."""
    from cascade import captioners
    from cascade.llms import keys

    if captions.endswith((".jsonl", ".zst")) and "=" not in captions:
        captions = _whole_bundle(captions)
    entries = captioners.parse(captions)
    extra: dict[str, dict[str, str]] = {slot: {} for slot, _, _ in entries}
    for key, value in captioners.pairs(params or (), "--caption-param").items():
        slot, _, name = key.partition(".")
        if slot not in extra:
            raise UnknownName("slot", slot, extra, f"in --caption-param {key}={value}; write it as SLOT.KEY=VALUE")
        extra[slot][name] = value
    asked = [(slot, name, {**given, **extra[slot]}) for slot, name, given in entries]
    bundled = {slot: _bundled(slot, given) for slot, name, given in asked if name == "bundle"}
    merged = [entry for entry in asked if entry[1] != "bundle"]
    addresses = [given.pop("api_base", None) if captioners.asks(name) else None for _, name, given in merged]
    made = [captioners.specify(slot, name, given) for slot, name, given in merged]
    for (slot, _, _), at in zip(merged, addresses, strict=True):
        keys.check_address(at, f"{slot}.api_base")
    heard = [spec for spec, _ in made]
    specs = {spec.slot: spec for spec in (*heard, *(spec for spec, _ in bundled.values()))}
    return Listening(
        specs=tuple(specs[slot] for slot, _, _ in entries),
        bundles={slot: path for slot, (_, path) in bundled.items()},
        files={key: at for _, files in made for key, at in files.items()},
        endpoints=_endpoints([(spec, at) for spec, at in zip(heard, addresses, strict=True) if at]),
    )


def _whole_bundle(path: str) -> str:
    """What `--captions FILE` stands for: each slot of the bundle, filled from it."""
    from cascade import bundles

    slots = dict.fromkeys(spec.slot for spec in bundles.manifest(Path(path).expanduser()).captioners)
    return ",".join(f"{slot}=bundle(path={path})" for slot in slots) or "none"


def _bundled(slot: str, given: dict[str, str]) -> tuple[CaptionerSpec, Path]:
    """The captioner of a bundle that filled a slot, and the bundle. Raises UserError where it has none, or several."""
    from cascade import bundles

    if "path" not in given:
        raise UserError(f"--captions {slot}=bundle: give the file: {slot}=bundle(path=FILE)")
    path = Path(given["path"]).expanduser()
    there = [spec for spec in bundles.manifest(path).captioners if spec.slot == slot]
    known = [{"engine": spec.name, "version": spec.version, **spec.params} for spec in there]
    wanted = {key: value for key, value in given.items() if key != "path"}
    fits = [all(str(one.get(key)) == value for key, value in wanted.items()) for one in known]
    if sum(fits) != 1:
        raise UserError(
            f"{path} has {sum(fits)} captioners for --captions {slot}=bundle({_spelled(given)}); "
            f"there {'is' if len(known) == 1 else 'are'}: {'; '.join(map(_spelled, known)) or 'none for this slot'}"
        )
    return there[fits.index(True)], path


def _spelled(params: dict[str, Any]) -> str:
    return ",".join(f"{key}={value}" for key, value in params.items())


def _endpoints(served: Sequence[tuple[CaptionerSpec, str]]) -> dict[str, str]:
    """Who serves which model: a caption's key has the model and no address, so a model has one."""
    found: dict[str, str] = {}
    for spec, at in served:
        if found.setdefault(model := str(spec.params["model"]), at) != at:
            raise UserError(
                f"{spec.slot}.api_base={at}: {model} is at {found[model]} already; give one address a model"
            )
    return found


def model(
    llm: str, params: list[str] | None, seed: int, samples: int = 1, **flags: Any
) -> tuple[LLMSpec, dict[str, Path]]:
    """`--llm`, `--param` and the `flags` that are parameters as a spec, and where a local model's file is."""
    from cascade import captioners, llms

    name, files = llms.identify(llm)
    given = {key: _value(text) for key, text in captioners.pairs(params or (), "--param").items()}
    merged = {**llms.default_params(llm, seed), **_flagged(**flags), **given}
    sent = {key: value for key, value in merged.items() if value is not None}
    return LLMSpec(model=name, params=sent, samples=samples), files


_EFFORTS = ("low", "medium", "high")


def _flagged(effort: str | None = None, max_tokens: int | None = None, thinking: int | None = None) -> dict[str, Any]:
    """The parameters that flags of their own say; none where they are not given."""
    if effort not in (None, *_EFFORTS):
        raise UnknownName("reasoning effort", str(effort), _EFFORTS, "others go as --param reasoning_effort=…")
    given = {"reasoning_effort": effort, "max_tokens": max_tokens}
    budget = {"thinking": {"type": "enabled", "budget_tokens": thinking}} if thinking else {}
    return {**{name: value for name, value in given.items() if value is not None}, **budget}


def _value(text: str) -> Any:
    """A parameter's value: JSON where it is JSON, `none` for unset, otherwise text."""
    if text.lower() == "none":
        return None
    try:
        return json.loads(text, parse_constant=str)
    except ValueError:
        return text


def only(given: list[str] | None) -> dict[str, tuple[str, ...]]:
    """`--only` as tag → wanted values; the same tag given twice wants either."""
    from cascade import captioners

    wanted: dict[str, tuple[str, ...]] = {}
    for text in given or ():
        for tag, value in captioners.pairs([text], "--only").items():
            wanted[tag] = tuple(sorted({*wanted.get(tag, ()), value}))
    return wanted


def cache(given: Path | None) -> Path:
    """`--cache`, else `CASCADE_CACHE`, else `cache/`."""
    return given or Path(os.environ.get("CASCADE_CACHE") or "cache")


def execution(
    given: Path | None,
    heard_by: Listening,
    device: str = "auto",
    batch: int = 1,
    threads: int = 0,
    files: dict[str, Path] | None = None,
    worker: list[str] | None = None,
    **how: Any,
) -> Execution:
    """How a command is carried out; `files` are a local model's, `worker` is --worker, `how` fields of Execution."""
    from cascade.budget import Purse
    from cascade.llms import keys

    kept = cache(given)
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", device):
        raise UserError(f"--device {device}: give auto, cpu, cuda, cuda:1 or mps")
    keys.check_address(how.get("api_base"), "--api-base")
    if how.get("budget") is not None:
        how["budget"] = Purse(how["budget"])
    calls = {name: how[name] for name in ("concurrency", "retries", "timeout", "budget") if name in how}
    host = Host(
        device=device,
        batch=batch,
        threads=threads,
        files={**heard_by.files, **(files or {})},
        scratch=kept / "scratch",
        endpoints=heard_by.endpoints,
        workers=_workers(worker, {spec.slot for spec in heard_by.specs}),
        **calls,
    )
    return Execution(cache=kept, runs=Path("runs"), host=host, bundles=heard_by.bundles, **how)


def _workers(given: list[str] | None, slots: set[str]) -> dict[str, float]:
    """`--worker` as numbers. Raises UserError for a key, a slot or a number that is none."""
    from cascade import captioners

    found: dict[str, float] = {}
    for key, value in captioners.pairs(given or (), "--worker").items():
        slot, _, name = key.rpartition(".")
        if name not in ("pool", "num_gpus", "num_cpus"):
            raise UnknownName("worker's number", name, ("pool", "num_gpus", "num_cpus"), f"in --worker {key}={value}")
        if slot and slot not in slots:
            raise UnknownName("slot", slot, slots, f"in --worker {key}={value}")
        if not re.fullmatch(r"\d+" if name == "pool" else r"\d+(\.\d+)?", value):
            raise UserError(f"--worker {key}={value}: a number is needed, as in --worker {key}=1")
        if float(value) > 1 and not float(value).is_integer():
            raise UserError(
                f"--worker {key}={value}: Ray gives parts of one, or whole ones: write {key}={value.partition('.')[0]}"
            )
        found[key] = float(value)
    return found


def known_format(form: str, known: tuple[str, ...] = FORMATS) -> None:
    """Raise UnknownName for a `--format` that there is not."""
    if form not in known:
        raise UnknownName("format", form, known)


def known_scorer(name: str) -> None:
    """Raise UnknownName for a `--scorer` that there is not."""
    from cascade.scorers import SCORERS

    if name not in SCORERS:
        raise UnknownName("scorer", name, SCORERS)


def questions(name: str | None, data: Path | None) -> Dataset | None:
    """The dataset that prediction files of ids alone are joined with, where one is named; no clip is needed."""
    from cascade import datasets

    return datasets.load(name, data, audio=False) if name else None


def echo_json(value: Any) -> None:
    """A record, or plain values, on stdout as one line of JSON."""
    from cascade.codec import to_json
    from cascade.jsonl import dumps

    typer.echo(dumps(to_json(value)))


def note(text: str) -> None:
    """A line for people, on stderr; what the text carries cannot drive their terminal."""
    typer.echo(" ".join(plain(text).split()), err=True)
