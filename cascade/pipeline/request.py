"""What `run` and its relatives are asked for: the flags of the command line as one plain record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints

from cascade.errors import UserError

DEFAULT_CAPTIONS = "speech=whisper,sound=clapcap,music=clap-music"
EMBEDDED_CAPTIONS = "speech=faster-whisper,sound=events,music=signal"  # These need no hub.

# The engines that a model may ask in rounds, unless the user names others.
DEFAULT_ROUNDS = "transcribe=whisper,measure=signal"
EMBEDDED_ROUNDS = "transcribe=faster-whisper,measure=signal"

# The least value of each flag that has one. The command line and the Python interface both enforce it.
LEAST: dict[str, float] = {
    "max_tokens": 1,
    "thinking_budget": 1,
    "rounds": 0,
    "samples": 1,
    "limit": 1,
    "budget": 0,
    "concurrency": 1,
    "retries": 0,
    "timeout": 0.001,  # seconds
    "rpm": 0.001,  # requests a minute
    "tpm": 0.001,  # tokens a minute
    "batch": 1,
    "threads": 0,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The flags that say what a run is and how it is done; a field is a flag, with underscores for dashes."""

    llm: str = "local"
    dataset: str = "mmar"
    data: Path | None = None
    captions: str | None = None
    caption_param: Sequence[str] | None = None
    prompt: str = "default"
    answer_as: str | None = None
    rounds: int = 0
    rounds_with: str | None = None
    tools: str | None = None
    param: Sequence[str] | None = None
    reasoning_effort: str | None = None
    max_tokens: int | None = None
    thinking_budget: int | None = None
    samples: int = 1
    limit: int | None = None
    only: Sequence[str] | None = None
    shard: str | None = None
    seed: int = 0
    shuffle_choices: bool = False
    dry_run: bool = False
    budget: float | None = None
    price: str | None = None
    out: Path | None = None
    cache: Path | None = None
    api_base: str | None = None
    same_model: bool = False
    concurrency: int = 16
    retries: int = 6
    timeout: float = 600.0
    rpm: float | None = None
    tpm: float | None = None
    backend: str = "local"
    worker: Sequence[str] | None = None
    device: str = "auto"
    batch: int = 32
    threads: int = 0


def check_request(flags: Mapping[str, Any]) -> Request:
    """Return the request that flags make, as a Python caller gives them; names of no flag are passed over.

    A path may be text, text may be a path, and the only value of a repeatable flag may stand alone. Raises UserError
    for a value of another type or below the least.
    """
    hints = get_type_hints(Request)
    given = [field.name for field in fields(Request) if field.name in flags]
    return Request(**{name: _flag_value(name, flags[name], hints[name]) for name in given})


def _flag_value(name: str, value: Any, hint: Any) -> Any:
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
        raise UserError(f"{name}={value!r}: this flag takes {' or '.join(names)}")
    if name in LEAST and value is not None and value < LEAST[name]:
        raise UserError(f"{name}={value!r}: the least is {LEAST[name]:g}")
    return value
