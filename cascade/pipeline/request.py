"""What `run` and its relatives are asked for: the flags of the command line as one record, which declares each once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints

from cascade.errors import UserError

DEFAULT_CAPTIONS = "speech=whisper,sound=clapcap,music=clap-music"
EMBEDDED_CAPTIONS = "speech=faster-whisper,sound=events,music=signal"  # These need no hub.

# The engines that a model may ask in rounds, unless the user names others.
DEFAULT_ROUNDS = "transcribe=whisper,measure=signal"
EMBEDDED_ROUNDS = "transcribe=faster-whisper,measure=signal"

ITEMS, CAPTIONS, MODEL, QUESTION, COST, OTHER = "Items", "Captions", "Model", "Question", "Cost and pace", "Options"


# The most that a flag takes, where that is not a billion: there would be so many of it, in memory or in a run.
_MOST = {"samples": 10_000, "concurrency": 10_000, "seed": 2**63 - 1}


def flag(heading: str, default: Any, value: str | None, text: str, least: float | None = None) -> Any:
    """Return the field of a flag: its default, its least value, and for `--help` its heading, value and text."""
    return field(default=default, metadata={"heading": heading, "value": value, "text": text, "least": least})


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The flags that say what a run is and how it is done; a field is a flag, with underscores for dashes."""

    dataset: str = flag(ITEMS, "mmar", "NAME|FILE", "A name of `cascade datasets`, or FILE.jsonl.")
    data: Path | None = flag(ITEMS, None, "DIR", "The folder of the clips, and of a benchmark's metadata.")
    limit: int | None = flag(ITEMS, None, "N", "Only the first N items; raise it later to go on.", 1)
    only: Sequence[str] | None = flag(ITEMS, None, "TAG=VALUE", "Only items with this tag. Repeatable.")
    shard: str | None = flag(ITEMS, None, "I/N", "Only part I of N, by the clips; `cascade merge` joins them.")
    captions: str | None = flag(
        CAPTIONS,
        None,
        "SLOT=ENGINE,…",
        "The engine of each slot, `audio` for the clip itself, or a file of captions; `none`: no captions.  "
        f"[default: {DEFAULT_CAPTIONS}; demo: {EMBEDDED_CAPTIONS}]",
    )
    caption_param: Sequence[str] | None = flag(
        CAPTIONS, None, "SLOT.KEY=VALUE", "A parameter of a captioner. Repeatable."
    )
    digest: str | None = flag(
        CAPTIONS,
        None,
        "MODEL",
        "A text model merges the captions; its account alone is shown. "
        "Its address: --caption-param digest.api_base=URL.",
    )
    digest_question: bool = flag(CAPTIONS, False, None, "Show the model of --digest the question and the choices.")
    cache: Path | None = flag(CAPTIONS, None, "DIR", "Where captions are kept (else $CASCADE_CACHE, else cache/).")
    backend: str = flag(CAPTIONS, "local", "NAME", "Where captioners run.")
    worker: Sequence[str] | None = flag(
        CAPTIONS, None, "[SLOT.]KEY=N", "Of the ray backend: pool, num_gpus or num_cpus, a worker's. Repeatable."
    )
    device: str = flag(CAPTIONS, "auto", "NAME", "auto, cpu, cuda, cuda:1, mps.")
    batch: int = flag(CAPTIONS, 32, "N", "At most N clips at once to a captioner.", 1)
    threads: int = flag(CAPTIONS, 0, "N", "Threads that captioners use; 0: all cores.", 0)
    llm: str = flag(MODEL, "local", "MODEL", "Any litellm model name; `local`, `local:FILE.gguf` or `fake`.")
    api_base: str | None = flag(MODEL, None, "URL", "An OpenAI-compatible endpoint.")
    same_model: bool = flag(MODEL, False, None, "The address serves the model that answered so far: go on there.")
    accept_silent_audio: bool = flag(
        MODEL, False, None, "Go on where the model seems not to hear the clips that it is sent."
    )
    param: Sequence[str] | None = flag(
        MODEL, None, "KEY=VALUE", "A parameter sent to the model; KEY=none unsets it. Repeatable."
    )
    reasoning_effort: str | None = flag(MODEL, None, "low|medium|high", "How long a reasoning model thinks.")
    thinking_budget: int | None = flag(MODEL, None, "N", "Tokens to think with, where the model takes that.", 1)
    max_tokens: int | None = flag(MODEL, None, "N", "At most N tokens a reply, reasoning included.", 1)
    prompt: str | None = flag(
        QUESTION,
        None,
        "NAME|FILE",
        "A name of `cascade prompts`, or FILE.md.  [default: default; with audio: hear]",
    )
    answer_as: str | None = flag(
        QUESTION,
        None,
        "text|choice",
        "Reply in free text, or only with one of the choices.  [default: text; with --llm local: choice]",
    )
    rounds: int = flag(QUESTION, 0, "N", "Let the model ask for more, in up to N rounds.", 0)
    rounds_when: str | None = flag(
        QUESTION, None, "always|split", "Rounds for every item, or only where samples disagree.  [default: always]"
    )
    rounds_with: str | None = flag(
        QUESTION,
        None,
        "NAME=ENGINE,…",
        f"The engines that it may ask, and by which names.  [default: {DEFAULT_ROUNDS}; demo: {EMBEDDED_ROUNDS}]",
    )
    tools: str | None = flag(
        QUESTION, None, "calls|text", "Ask by function calls, or by lines of text.  [default: calls; local: text]"
    )
    samples: int = flag(QUESTION, 1, "K", "Ask each question K times, and vote.", 1)
    shuffle_choices: bool = flag(
        QUESTION, False, None, "Shuffle the choices, seeded; each sample turns them on by one."
    )
    seed: int = flag(QUESTION, 0, "N", "The seed of whatever is random.")
    dry_run: bool = flag(COST, False, None, "Say what it would take, and do nothing.")
    budget: float | None = flag(COST, None, "USD", "Stop before more is spent, with exit code 4; resumable.", 0)
    price: str | None = flag(COST, None, "IN,OUT", "The model's price, US dollars a million tokens.")
    concurrency: int = flag(COST, 16, "N", "At most N calls to a model at once.", 1)
    retries: int = flag(COST, 6, "N", "Tries again after a passing fault.", 0)
    timeout: float = flag(COST, 600.0, "SECONDS", "The longest wait for one reply.", 0.001)
    rpm: float | None = flag(COST, None, "N", "Requests a minute at most.", 0.001)
    tpm: float | None = flag(COST, None, "N", "Tokens a minute at most.", 0.001)
    out: Path | None = flag(OTHER, None, "DIR", "The folder of the run, or of the runs (else below runs/).")

    def __post_init__(self) -> None:
        for each in fields(self):
            least, value, most = each.metadata["least"], getattr(self, each.name), _MOST.get(each.name, 10**9)
            if each.name == "seed":
                least = -most
            if least is not None and value is not None and not least <= value <= most:  # NaN is no number between
                raise UserError(f"{each.name}={str(value)[:40]}: the least is {least:g}, the most {most:g}")


def flag_kinds() -> dict[str, type]:
    """Return the type of each flag, by its name without the leading dashes; `list` if it may be repeated."""
    kinds: dict[str, type] = {}
    for name, hint in get_type_hints(Request).items():
        kind = next(kind for kind in get_args(hint) or (hint,) if kind is not NoneType)
        kinds[name.replace("_", "-")] = list if get_origin(kind) is Sequence else kind
    return kinds


def check_request(flags: Mapping[str, Any]) -> Request:
    """Return the request that flags make, as a Python caller gives them; names of no flag are passed over.

    A path may be text, text may be a path, and the only value of a repeatable flag may stand alone. Raises UserError
    for a value of another type or below the least.
    """
    hints = get_type_hints(Request)
    given = [field for field in fields(Request) if field.name in flags]
    return Request(**{field.name: _flag_value(field, flags[field.name], hints[field.name]) for field in given})


def _flag_value(field: Field[Any], value: Any, hint: Any) -> Any:
    kinds = [get_origin(kind) or kind for kind in get_args(hint) or (hint,)]
    if isinstance(value, str) and Path in kinds:
        return Path(value)
    if isinstance(value, Path) and str in kinds:
        return str(value)
    if isinstance(value, str) and Sequence in kinds:
        return [value]
    accepted = (*kinds, int) if float in kinds else tuple(kinds)
    if not isinstance(value, accepted) or (isinstance(value, bool) and bool not in kinds):
        names = ["None" if kind is NoneType else kind.__name__ for kind in kinds]
        raise UserError(f"{field.name}={value!r}: this flag takes {' or '.join(names)}")
    return value
