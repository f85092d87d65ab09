"""A request's flags turned into specs: captioners, model, execution."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from dataclasses import replace as changed
from pathlib import Path
from typing import Any

from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from cascade.captioners.registry import Engine
from cascade.captioning import generate
from cascade.captioning.bundles import read_manifest
from cascade.errors import UnknownName, UserError
from cascade.io.jsonl import OutOfBounds, loads
from cascade.io.terminal import note
from cascade.llms import connect, origins, prices
from cascade.llms.budget import Budget
from cascade.pipeline.parsing import parse_captions, parse_pairs
from cascade.pipeline.request import DEFAULT_CAPTIONS, DEFAULT_ROUNDS, EMBEDDED_CAPTIONS, EMBEDDED_ROUNDS, Request
from cascade.plugins import DIGEST
from cascade.prompting.rounds import VERSION as ROUNDS_VERSION
from cascade.prompting.templates import Template, check_sends_audio, find_template
from cascade.runs.describe import shown_slots
from cascade.types import SENT_AUDIO, CaptionerSpec, Execution, Host, LLMSpec, PromptSpec, RoundsSpec

_EFFORTS = ("low", "medium", "high")
_ANSWERS = ("text", "choice")
_WORKER_NUMBERS = ("pool", "num_gpus", "num_cpus")


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptionerSelection:
    """The captioners of a request, in the order of their slots.

    `files` maps the digest that a spec names to the local file, `endpoints` a model to the address that serves it, and
    `bundles` a slot that is filled from a file of captions to that file.
    """

    specs: tuple[CaptionerSpec, ...] = ()
    files: Mapping[str, Path] = field(default_factory=dict)
    endpoints: Mapping[str, str] = field(default_factory=dict)
    bundles: Mapping[str, Path] = field(default_factory=dict)

    def beside(self, other: CaptionerSelection) -> CaptionerSelection:
        """Return the same captioners with the files and the addresses of others, too."""
        files, endpoints = {**self.files, **other.files}, {**self.endpoints, **other.endpoints}
        return changed(self, files=files, endpoints=endpoints)

    @property
    def audio(self) -> bool:
        """Whether the clips are needed: blind runs and lookups go without."""
        return generate.needs_clips(self.specs)


def caption_sources(captions: str | None, dataset: str) -> str:
    """Return `--captions`, else what suits the dataset: the demo set is for machines that reach no hub."""
    return captions or (EMBEDDED_CAPTIONS if dataset == "demo" else DEFAULT_CAPTIONS)


def caption_entries(captions: str, option: str = "--captions") -> list[tuple[str, str, dict[str, str]]]:
    """Return what `parse_captions` reads; of a file of captions, a bundle for each slot that the file fills."""
    if captions.endswith((".jsonl", ".zst")) and "=" not in captions:
        slots = dict.fromkeys(spec.slot for spec in read_manifest(Path(captions).expanduser()).captioners)
        captions = ",".join(f"{slot}=bundle(path={captions})" for slot in slots) or "none"
    return parse_captions(captions, option)


def select_captioners(
    captions: str,
    params: Sequence[str] | None = None,
    digest: str | None = None,
    *,
    digest_question: bool = False,
    option: str = "--captions",
) -> CaptionerSelection:
    """Return the captioners that `--captions`, `--caption-param` and `--digest` name.

    `option` is the flag that `captions` are the value of. Raises UserError for what cannot be read.
    """
    entries = caption_entries(captions, option)
    if digest_question and not digest:
        raise UserError("--digest-question: there is no digest to show the question to; give --digest MODEL")
    digest_files: Mapping[str, Path] = {}
    if digest:
        if DIGEST in [slot for slot, _, _ in entries]:
            raise UserError(f"--digest {digest}: --captions fills the slot digest already; leave one of them out")
        model, digest_files = connect.identify(digest)
        entries.append((DIGEST, DIGEST, {"model": model, "question": str(digest_question).lower()}))
    if digest and all(name in (DIGEST, SENT_AUDIO) for _, name, _ in entries):
        raise UserError(f"--digest {digest}: there are no captions to merge; give other --captions, or leave it out")
    extra = _captioner_params([slot for slot, _, _ in entries], params)
    specs: list[CaptionerSpec] = []
    files = dict(digest_files)
    endpoints: dict[str, str] = {}
    bundles: dict[str, Path] = {}
    for slot, name, inline in entries:
        given = inline | extra[slot]
        if SENT_AUDIO == name != slot:
            raise UserError(f"--captions {slot}=audio: the clip has a slot of its own; write it as --captions audio")
        if name == "bundle":
            spec, bundles[slot] = _bundled_captioner(slot, given)
            specs.append(spec)
            continue
        engine = Engine(name)
        address = given.pop("api_base", None) if engine.asks_remotely else None
        spec, local = engine.specify(slot, given)
        specs.append(spec)
        files |= local
        origins.check_address(address, f"{slot}.api_base")
        if address:
            # The key of a caption has the model and no address, so a model has one address.
            model = str(spec.params["model"])
            if endpoints.setdefault(model, address) != address:
                raise UserError(
                    f"{slot}.api_base={address}: {model} is at {endpoints[model]} already; give one address a model"
                )
    return CaptionerSelection(specs=tuple(specs), files=files, endpoints=endpoints, bundles=bundles)


def prompt_spec(template: Template, captioners: Sequence[CaptionerSpec], order_seed: int | None = None) -> PromptSpec:
    """Return the prompt of a template with these captioners' slots, in their order."""
    sends = any(spec.name == SENT_AUDIO for spec in captioners)
    headings = {spec.slot: heading for spec in captioners if (heading := Engine(spec.name).heading)}
    return PromptSpec(
        template=template.name,
        template_digest=template.digest,
        slots=shown_slots(captioners),
        order_seed=order_seed,
        headings=headings or UNSET,
        audio=SENT_AUDIO if sends else UNSET,
    )


def choose_template(prompt: str | None, captioners: Sequence[CaptionerSpec]) -> Template:
    """Return a prompt by name or file, by default the one that suits what is sent.

    Raises as `find_template` does, and UserError for a prompt that would not send the clip that it should.
    """
    sends = any(spec.name == SENT_AUDIO for spec in captioners)
    template = find_template(prompt or ("hear" if sends else "default"))
    if sends:
        check_sends_audio(template, f"--prompt {prompt}")
    return template


def _captioner_params(slots: Sequence[str], params: Sequence[str] | None) -> dict[str, dict[str, str]]:
    """Return the parameters of `--caption-param` by slot."""
    by_slot: dict[str, dict[str, str]] = {slot: {} for slot in slots}
    for key, value in parse_pairs(params or (), "--caption-param").items():
        slot, _, name = key.partition(".")
        if slot not in by_slot:
            raise UnknownName("slot", slot, slots, f"in --caption-param {key}={value}; write it as SLOT.KEY=VALUE")
        by_slot[slot][name] = value
    return by_slot


def _bundled_captioner(slot: str, given: Mapping[str, str]) -> tuple[CaptionerSpec, Path]:
    """Return the captioner of a bundle that filled a slot, and the bundle's path.

    Raises UserError where the bundle has none that fits, or several.
    """
    if "path" not in given:
        raise UserError(f"--captions {slot}=bundle: give the file: {slot}=bundle(path=FILE)")
    path = Path(given["path"]).expanduser()
    wanted = {key: value for key, value in given.items() if key != "path"}
    fits: list[CaptionerSpec] = []
    known: list[str] = []
    for spec in read_manifest(path).captioners:
        if spec.slot == slot:
            about = {"engine": spec.name, "version": spec.version, **spec.params}
            known.append(_spell(about))
            if all(str(about.get(key)) == value for key, value in wanted.items()):
                fits.append(spec)
    if len(fits) != 1:
        verb = "is" if len(known) == 1 else "are"
        raise UserError(
            f"{path} has {len(fits)} captioners for --captions {slot}=bundle({_spell(given)}); "
            f"there {verb}: {'; '.join(known) or 'none for this slot'}"
        )
    return fits[0], path


def _spell(params: Mapping[str, Any]) -> str:
    return ",".join(f"{key}={value}" for key, value in params.items())


def llm_spec(request: Request) -> tuple[LLMSpec, dict[str, Path]]:
    """Return the model of a request with its parameters, and where a local model's file is, by digest."""
    if request.reasoning_effort not in (None, *_EFFORTS):
        advice = "others go as --param reasoning_effort=…"
        raise UnknownName("reasoning effort", str(request.reasoning_effort), _EFFORTS, advice)
    answer_as = request.answer_as or ("choice" if request.llm == "local" else "text")
    if answer_as not in _ANSWERS:
        raise UnknownName("form of an answer", answer_as, _ANSWERS, "give --answer-as text or choice")
    params = connect.default_params(request.llm, request.seed)
    if request.reasoning_effort:
        params["reasoning_effort"] = request.reasoning_effort
    if request.max_tokens:
        params["max_tokens"] = request.max_tokens
    if request.thinking_budget:
        params["thinking"] = {"type": "enabled", "budget_tokens": request.thinking_budget}
    given = {key: _param_value(text) for key, text in parse_pairs(request.param or (), "--param").items()}
    params |= given
    if "temperature" not in given and not connect.takes_temperature(request.llm, params):
        del params["temperature"]
        note(f"{request.llm} refuses the temperature 0, and is asked without one: its replies differ from call to call")
    name, files = connect.identify(request.llm)
    sent = {key: value for key, value in params.items() if value is not None}
    origin = origins.given(name, request.api_base) or UNSET
    spec = LLMSpec(model=name, params=sent, samples=request.samples, origin=origin)
    if answer_as == "choice":
        spec = replace(spec, answer_as="choice")
    return spec, files


def rounds_spec(request: Request) -> tuple[RoundsSpec | UnsetType, CaptionerSelection]:
    """Return how a request's model may ask for more, unset for no rounds, and the engines that it may ask."""
    if not request.rounds:
        for flag in ("rounds_when", "rounds_with", "tools"):
            if getattr(request, flag):
                raise UserError(f"--{flag.replace('_', '-')} {getattr(request, flag)}: say in how many --rounds")
        return UNSET, CaptionerSelection()
    if request.tools not in (None, "calls", "text"):
        raise UnknownName("form of a request", request.tools, ("calls", "text"), "give --tools calls or text")
    if request.rounds_when not in (None, "always", "split"):
        raise UnknownName(
            "time for rounds", request.rounds_when, ("always", "split"), "give --rounds-when always or split"
        )
    if request.rounds_when == "split" and request.samples < 2:
        raise UserError("--rounds-when split: one sample cannot disagree; give --samples 2 or more")
    is_text = request.tools == "text" or (not request.tools and connect.is_local(request.llm))
    usual = EMBEDDED_ROUNDS if request.dataset == "demo" else DEFAULT_ROUNDS
    engines = select_captioners(request.rounds_with or usual, option="--rounds-with")
    specs: list[CaptionerSpec] = []
    for spec in engines.specs:
        engine = Engine(spec.name)
        usable = engine.hears and engine.asks_remotely == engine.is_listener and spec.name != SENT_AUDIO
        if spec.slot in engines.bundles or not usable:
            raise UserError(f"--rounds-with {spec.slot}={spec.name}: give an engine of this machine, or audio-llm")
        # A listener is asked the model's question, and a tagger its labels.
        specs.append(engine.with_question(spec, asks=not engine.is_listener))
    if not engines.specs:
        raise UserError("--rounds-with none: name an engine, or leave --rounds out")
    rounds = RoundsSpec(
        most=request.rounds,
        engines=tuple(specs),
        form="text" if is_text else "calls",
        version=ROUNDS_VERSION,
        when="split" if request.rounds_when == "split" else UNSET,
    )
    return rounds, engines


def _param_value(text: str) -> Any:
    """Return a parameter's value: JSON where it is JSON, None for `none`, otherwise text."""
    if text.lower() == "none":
        return None
    try:
        return loads(text)
    except OutOfBounds as error:
        raise UserError(f"--param: {error}") from None
    except ValueError:
        return text


def tag_filter(only: Sequence[str] | None) -> dict[str, tuple[str, ...]]:
    """Return `--only` as tag → wanted values; the same tag given twice wants either."""
    wanted: dict[str, tuple[str, ...]] = {}
    for text in only or ():
        for tag, value in parse_pairs([text], "--only").items():
            wanted[tag] = tuple(sorted({*wanted.get(tag, ()), value}))
    return wanted


def cache_folder(folder: Path | None) -> Path:
    """Return `--cache`, else `CASCADE_CACHE`, else `cache/`."""
    return folder or Path(os.environ.get("CASCADE_CACHE") or "cache")


def model_and_execution(request: Request, captioners: CaptionerSelection) -> tuple[LLMSpec, Execution]:
    """Return the model of a request, and how the request is carried out.

    Raises for an unknown backend or a malformed price, even where nothing is left to caption or ask.
    """
    generate.find_backend(request.backend)
    prices.find("", request.price)
    llm, files = llm_spec(request)
    origin = origins.origin(llm.model, request.api_base)
    return llm, changed(build_execution(request, captioners, files), origin=origin)


def build_execution(
    request: Request, captioners: CaptionerSelection, files: Mapping[str, Path] | None = None
) -> Execution:
    """Return how a request is carried out; `files` are a local model's, by digest."""
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", request.device):
        raise UserError(f"--device {request.device}: give auto, cpu, cuda, cuda:1 or mps")
    origins.check_address(request.api_base, "--api-base")
    cache = cache_folder(request.cache)
    budget = None if request.budget is None else Budget(request.budget)
    host = Host(
        device=request.device,
        batch=request.batch,
        threads=request.threads,
        files={**captioners.files, **(files or {})},
        scratch=cache / "scratch",
        endpoints=captioners.endpoints,
        concurrency=request.concurrency,
        retries=request.retries,
        timeout=request.timeout,
        budget=budget,
        workers=_worker_numbers(request.worker, {spec.slot for spec in captioners.specs}),
    )
    return Execution(
        cache=cache,
        runs=Path("runs"),
        backend=request.backend,
        host=host,
        api_base=request.api_base,
        same_model=request.same_model,
        accept_silent_audio=request.accept_silent_audio,
        concurrency=request.concurrency,
        retries=request.retries,
        timeout=request.timeout,
        budget=budget,
        price=request.price,
        rpm=request.rpm,
        tpm=request.tpm,
        bundles=captioners.bundles,
    )


def _worker_numbers(worker: Sequence[str] | None, slots: Collection[str]) -> dict[str, float]:
    """Return `--worker` as numbers. Raises UserError for an unknown key or slot, or a value that is no number."""
    numbers: dict[str, float] = {}
    for key, value in parse_pairs(worker or (), "--worker").items():
        slot, _, name = key.rpartition(".")
        if name not in _WORKER_NUMBERS:
            raise UnknownName("worker's number", name, _WORKER_NUMBERS, f"in --worker {key}={value}")
        if slot and slot not in slots:
            raise UnknownName("slot", slot, slots, f"in --worker {key}={value}")
        pattern = r"\d+" if name == "pool" else r"\d+(\.\d+)?"
        if not re.fullmatch(pattern, value):
            raise UserError(f"--worker {key}={value}: a number is needed, as in --worker {key}=1")
        if float(value) > 1 and not float(value).is_integer():
            raise UserError(
                f"--worker {key}={value}: Ray gives parts of one, or whole ones: write {key}={value.partition('.')[0]}"
            )
        numbers[key] = float(value)
    return numbers
