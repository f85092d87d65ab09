"""How a run is done, apart from what is asked: nothing here is meant to change a result, and nothing is stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """Where engines run, and the limits of the calls to models elsewhere.

    `files` maps the digest that a spec names to the local file or folder that has it.
    `scratch` is a folder for what an engine computes once and may find again (text embeddings); None keeps nothing.
    For engines that ask a model elsewhere, `endpoints` maps the model that a spec names to the address that serves it.
    `concurrency` is calls in flight at most, `retries` and `timeout` (seconds) are a call's, `budget` is what may be
    spent (a `budget.Budget`, or None). For backends that have workers: `workers` has `pool` (how many), `num_gpus` and
    `num_cpus` (what one takes), for every engine or, as `speech.pool`, for one slot's.
    """

    device: str = "auto"
    batch: int = 32
    threads: int = 0
    files: Mapping[str, Path] = field(default_factory=dict)
    scratch: Path | None = None
    endpoints: Mapping[str, str] = field(default_factory=dict)
    concurrency: int = 16
    retries: int = 6
    timeout: float = 600.0
    budget: Any = None
    workers: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """How a run is done; nothing here may change a result. The limits of `host` hold for the answering model, too.

    `api_base` is the address that serves the answering model, `price` the user's word for what its tokens cost; `rpm`
    and `tpm` are the requests and tokens that its provider allows a minute. `bundles` maps a slot to the file of
    captions that fills it: there no engine runs. `origin` is the address or the provider that is asked, `""` for a
    model that runs here; `same_model` is the user's word that it serves the same model as the run's own origin,
    `accept_silent_audio` that the run goes on where the model seems not to hear.
    """

    cache: Path
    backend: str = "local"
    host: Host = field(default_factory=Host)
    api_base: str | None = None
    price: str | None = None
    rpm: float | None = None
    tpm: float | None = None
    bundles: Mapping[str, Path] = field(default_factory=dict)
    origin: str = ""
    same_model: bool = False
    accept_silent_audio: bool = False
