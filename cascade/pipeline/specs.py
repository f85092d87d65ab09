"""Flags turned into specs: captioners, model, execution."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cascade.errors import UnknownName, UserError
from cascade.types import CaptionerSpec, Dataset, Execution, Host, LLMSpec

DEFAULT_CAPTIONS = "speech=whisper,sound=clapcap,music=clap-music"


EMBEDDED_CAPTIONS = "speech=faster-whisper,sound=events,music=signal"  # need no hub


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptionerSelection:
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
        from cascade.captioners.registry import Engine

        return any(Engine(spec.name).makes_captions for spec in self.specs)


def caption_sources(given: str | None, dataset: str) -> str:
    """`--captions`, else what suits the dataset: the demo set is for machines that reach no hub."""
    return given or (EMBEDDED_CAPTIONS if dataset == "demo" else DEFAULT_CAPTIONS)


def select_captioners(captions: str, params: Sequence[str] | None) -> CaptionerSelection:
    """`--captions` and `--caption-param` as specs. Raises UserError for what cannot be read."""
    from cascade.captioners.registry import Engine
    from cascade.llms import credentials
    from cascade.pipeline import parsing

    if captions.endswith((".jsonl", ".zst")) and "=" not in captions:
        captions = _whole_bundle(captions)
    entries = parsing.parse_captions(captions)
    extra: dict[str, dict[str, str]] = {slot: {} for slot, _, _ in entries}
    for key, value in parsing.parse_pairs(params or (), "--caption-param").items():
        slot, _, name = key.partition(".")
        if slot not in extra:
            raise UnknownName("slot", slot, extra, f"in --caption-param {key}={value}; write it as SLOT.KEY=VALUE")
        extra[slot][name] = value
    asked = [(slot, name, {**given, **extra[slot]}) for slot, name, given in entries]
    bundled = {slot: _bundled(slot, given) for slot, name, given in asked if name == "bundle"}
    merged = [entry for entry in asked if entry[1] != "bundle"]
    addresses = [given.pop("api_base", None) if Engine(name).asks_remotely else None for _, name, given in merged]
    made = [Engine(name).specify(slot, given) for slot, name, given in merged]
    for (slot, _, _), at in zip(merged, addresses, strict=True):
        credentials.check_address(at, f"{slot}.api_base")
    heard = [spec for spec, _ in made]
    specs = {spec.slot: spec for spec in (*heard, *(spec for spec, _ in bundled.values()))}
    return CaptionerSelection(
        specs=tuple(specs[slot] for slot, _, _ in entries),
        bundles={slot: path for slot, (_, path) in bundled.items()},
        files={key: at for _, files in made for key, at in files.items()},
        endpoints=_endpoints([(spec, at) for spec, at in zip(heard, addresses, strict=True) if at]),
    )


def _whole_bundle(path: str) -> str:
    """What `--captions FILE` stands for: each slot of the bundle, filled from it."""
    from cascade.captioning.bundles import read_manifest

    slots = dict.fromkeys(spec.slot for spec in read_manifest(Path(path).expanduser()).captioners)
    return ",".join(f"{slot}=bundle(path={path})" for slot in slots) or "none"


def _bundled(slot: str, given: dict[str, str]) -> tuple[CaptionerSpec, Path]:
    """The captioner of a bundle that filled a slot, and the bundle. Raises UserError where it has none, or several."""
    from cascade.captioning.bundles import read_manifest

    if "path" not in given:
        raise UserError(f"--captions {slot}=bundle: give the file: {slot}=bundle(path=FILE)")
    path = Path(given["path"]).expanduser()
    there = [spec for spec in read_manifest(path).captioners if spec.slot == slot]
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


def llm_spec(
    llm: str, params: Sequence[str] | None, seed: int, samples: int = 1, **flags: Any
) -> tuple[LLMSpec, dict[str, Path]]:
    """`--llm`, `--param` and the `flags` that are parameters as a spec, and where a local model's file is."""
    from cascade.llms import connect
    from cascade.pipeline import parsing

    name, files = connect.identify(llm)
    given = {key: _value(text) for key, text in parsing.parse_pairs(params or (), "--param").items()}
    merged = {**connect.default_params(llm, seed), **_flagged(**flags), **given}
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


def tag_filter(given: Sequence[str] | None) -> dict[str, tuple[str, ...]]:
    """`--only` as tag → wanted values; the same tag given twice wants either."""
    from cascade.pipeline import parsing

    wanted: dict[str, tuple[str, ...]] = {}
    for text in given or ():
        for tag, value in parsing.parse_pairs([text], "--only").items():
            wanted[tag] = tuple(sorted({*wanted.get(tag, ()), value}))
    return wanted


def cache_folder(given: Path | None) -> Path:
    """`--cache`, else `CASCADE_CACHE`, else `cache/`."""
    return given or Path(os.environ.get("CASCADE_CACHE") or "cache")


def build_execution(
    given: Path | None,
    heard_by: CaptionerSelection,
    device: str = "auto",
    batch: int = 1,
    threads: int = 0,
    files: dict[str, Path] | None = None,
    worker: Sequence[str] | None = None,
    **how: Any,
) -> Execution:
    """How a command is carried out; `files` are a local model's, `worker` is --worker, `how` fields of Execution."""
    from cascade.llms import credentials
    from cascade.llms.budget import Budget

    kept = cache_folder(given)
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", device):
        raise UserError(f"--device {device}: give auto, cpu, cuda, cuda:1 or mps")
    credentials.check_address(how.get("api_base"), "--api-base")
    if how.get("budget") is not None:
        how["budget"] = Budget(how["budget"])
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


def _workers(given: Sequence[str] | None, slots: set[str]) -> dict[str, float]:
    """`--worker` as numbers. Raises UserError for a key, a slot or a number that is none."""
    from cascade.pipeline import parsing

    found: dict[str, float] = {}
    for key, value in parsing.parse_pairs(given or (), "--worker").items():
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


def joined_dataset(name: str | None, data: Path | None) -> Dataset | None:
    """The dataset that prediction files of ids alone are joined with, where one is named; no clip is needed."""
    from cascade.datasets import registry

    return registry.load(name, data, audio=False) if name else None
