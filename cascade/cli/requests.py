"""What `run` and its relatives are asked for: one record of flags, made ready, and carried out."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, replace
from functools import wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

from cascade.cli import options as o
from cascade.types import Dataset, Execution, Failure, Item, LLMSpec, PromptSpec, RunSpec

if TYPE_CHECKING:
    from cascade import prompting
    from cascade.cli.options import Listening
    from cascade.provenance import Session
    from cascade.runs import Run
    from cascade.shards import Part


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The flags that say what a run is and how it is done, each under its own name."""

    llm: o.LLM = "local"
    dataset: o.DatasetName = "mmar"
    spec: o.SpecFile = None
    data: o.Data = None
    captions: o.Captions = None
    caption_param: o.CaptionParam = None
    prompt: o.PromptName = "default"
    param: o.Param = None
    reasoning_effort: o.Effort = None
    max_tokens: o.MaxTokens = None
    thinking_budget: o.Thinking = None
    samples: o.Samples = 1
    limit: o.Limit = None
    only: o.Only = None
    shard: o.Shard = None
    seed: o.Seed = 0
    dry_run: o.DryRun = False
    budget: o.Budget = None
    price: o.Price = None
    out: o.Out = None
    cache: o.Cache = None
    api_base: o.ApiBase = None
    concurrency: o.Concurrency = 16
    retries: o.Retries = 6
    timeout: o.Timeout = 600.0
    rpm: o.Rpm = None
    tpm: o.Tpm = None
    backend: o.Backend = "local"
    worker: o.Worker = None
    device: o.Device = "auto"
    batch: o.Batch = 32
    threads: o.Threads = 0


def taking(*left_out: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a command that takes a `Request` first: each of its fields becomes a flag, but for those left out."""
    taken = [one for one in fields(Request) if one.name not in left_out]

    def make(command: Callable[..., None]) -> Callable[..., None]:
        @wraps(command)
        def called(**given: Any) -> None:
            command(Request(**{one.name: given.pop(one.name) for one in taken}), **given)

        hints = get_type_hints(Request, include_extras=True)
        flags = [
            Parameter(one.name, Parameter.KEYWORD_ONLY, default=one.default, annotation=hints[one.name])
            for one in taken
        ]
        own = list(signature(command, eval_str=True).parameters.values())[1:]
        arguments = [one for one in own if one.kind is not Parameter.KEYWORD_ONLY]
        vars(called)["__signature__"] = Signature([*arguments, *flags, *(one for one in own if one not in arguments)])
        return called

    return make


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A run that is ready to be carried out: what, where, of which items, and how."""

    path: Path
    spec: RunSpec
    template: prompting.Template
    items: tuple[Item, ...]
    loaded: Dataset
    source: tuple[str, Path | None]
    how: Execution
    part: Part | None = None


def prepare(request: Request, order_seed: int | None = None) -> Job:
    """The run that is asked for, checked as far as it can be before anything takes time."""
    from cascade import datasets, llms, prompting, runs, shards

    heard_by = o.listening(o.captions(request.captions, request.dataset), request.caption_param)
    template = prompting.find(request.prompt)
    asked, how = asking(request, heard_by)
    llms.check(asked, how)
    loaded = datasets.load(request.dataset, request.data, audio=False)
    wanted = o.only(request.only)
    items = datasets.select(loaded, wanted, request.limit)
    spec = _spec(loaded, heard_by, template, asked, request.limit, wanted, order_seed)
    path = request.out or runs.default_directory(how.runs, spec)
    source = request.dataset, request.data
    job = Job(path=path, spec=spec, template=template, items=items, loaded=loaded, source=source, how=how)
    if request.shard is None:  # an empty text is an array's variable that is not set, and not the whole
        return job
    part, items = shards.split(request.shard, items)
    suffix = "" if request.out else f"-shard-{part.shard.replace('/', '-of-')}"
    return replace(job, path=path.with_name(path.name + suffix), items=items, part=part)


def asking(request: Request, heard_by: Listening) -> tuple[LLMSpec, Execution]:
    """The model that is asked, and how a request is carried out.

    A backend or price that is none is refused even where nothing is left to hear or ask.
    """
    from cascade import backends
    from cascade.llms import prices

    backends.find(request.backend)
    prices.find("", request.price)
    asked, files = o.model(
        request.llm, request.param, request.seed, request.samples,
        effort=request.reasoning_effort, max_tokens=request.max_tokens, thinking=request.thinking_budget,
    )  # fmt: skip
    return asked, execution(request, heard_by, files)


def execution(request: Request, heard_by: Listening, files: dict[str, Path] | None = None) -> Execution:
    """How a request is carried out; `files` are a local model's."""
    passed = ("backend", "api_base", "concurrency", "retries", "timeout", "budget", "price", "rpm", "tpm", "worker")
    calls = {name: getattr(request, name) for name in passed}
    return o.execution(request.cache, heard_by, request.device, request.batch, request.threads, files, **calls)


def _spec(
    loaded: Dataset,
    heard_by: Listening,
    template: prompting.Template,
    asked: LLMSpec,
    limit: int | None,
    wanted: dict[str, tuple[str, ...]],
    order_seed: int | None,
) -> RunSpec:
    slots = tuple(spec.slot for spec in heard_by.specs)
    return RunSpec(
        dataset=loaded.name,
        dataset_digest=loaded.digest,
        captioners=heard_by.specs,
        prompt=PromptSpec(template=template.name, template_digest=template.digest, slots=slots, order_seed=order_seed),
        llm=asked,
        limit=limit,
        only=wanted,
    )


def count_spent(jobs: Iterable[Job]) -> None:
    """Take what all these runs have cost before out of the budget that they share; those that are whole, too."""
    from cascade import runs

    for job in jobs:
        if job.how.budget and (job.path / "log.jsonl").exists():
            job.how.budget.count(job.path, runs.spent(job.path))


def carry_out(job: Job) -> Run:
    """Caption and ask whatever a run has not yet. A run that is whole needs neither key nor clips nor packages."""
    from cascade import asking, captioning, datasets, llms, runs
    from cascade.progress import bars

    # Before gigabytes are fetched and hours are heard.
    if asking.remaining(job.path, job.items, job.spec.llm.samples):
        llms.check_access(job.spec.llm, job.how)
    hears = captioning.needs_clips(job.spec.captioners)
    root = datasets.load(*job.source).root if hears else job.loaded.root
    about = {"data_version": job.loaded.version, "licence": job.loaded.licence, "audio_root": str(root)}
    manifest = runs.manifest(job.spec, job.template.text, _session(job.spec), part=job.part, **about)
    with runs.start(job.path, manifest, job.items) as (started, log):
        o.note(f"run directory: {job.path}")
        heard = captioning.caption(started.items, root, started.spec.captioners, job.how, bars)
        asking.check_clips(started, heard)
        runs.write_captions(job.path, heard)
        asking.ask(started, heard, log, job.how, bars)
    return started


def _session(spec: RunSpec) -> Session:
    from cascade import captioners, llms, provenance
    from cascade.llms.redaction import redact

    modules = set[str]().union(*map(captioners.modules, spec.captioners), llms.modules(spec.llm.model))
    return provenance.session([redact(word) for word in ("cascade", *sys.argv[1:])], modules)


def complain(done: Run) -> bool:
    """Say on stderr what failed in a run, a line a kind with its first message; whether anything is left to ask."""
    from cascade import asking, runs

    if not asking.remaining(done.path, done.items, done.spec.llm.samples):
        return False
    failures = [(one.item, one.result) for one in runs.answers(done.path).values() if isinstance(one.result, Failure)]
    first = {failure.kind: f"{item}: {failure.message}" for item, failure in reversed(failures)}
    for kind, count in Counter(failure.kind for _, failure in failures).most_common():
        o.note(f"{count} failed ({kind}), counted as wrong; the first: {first[kind]}")
    o.note("the same command tries the failed ones again")
    return True
