"""Jobs: prepare one from a request, and carry it out: make captions, ask questions, write the run directory."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from cascade.captioners import speech
from cascade.captioners.registry import Engine
from cascade.captioning import generate
from cascade.datasets import registry as datasets
from cascade.errors import NOT_APPLICABLE
from cascade.io.progress import Tick, bars
from cascade.io.terminal import note, quantity
from cascade.llms import connect
from cascade.llms.budget import recording
from cascade.llms.redaction import redact
from cascade.pipeline import asking
from cascade.pipeline.request import Request
from cascade.pipeline.rounds import ReadReply
from cascade.pipeline.specs import (
    caption_sources,
    choose_template,
    model_and_execution,
    prompt_spec,
    rounds_spec,
    select_captioners,
    tag_filter,
)
from cascade.prompting.templates import Template
from cascade.runs import charges, directory, provenance
from cascade.runs.describe import truncated_captions
from cascade.runs.directory import Run
from cascade.types import CaptionerSpec, CaptionRecord, Dataset, Execution, Failure, Item, RunSpec, Shard

_LISTED = 5  # messages that are listed for each kind of failure


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A prepared run, with its dataset, the name and folder that it was loaded from (`source`), and its execution."""

    path: Path
    spec: RunSpec
    template: Template
    items: tuple[Item, ...]
    loaded: Dataset
    source: tuple[str, Path | None]
    how: Execution
    part: Shard | None = None


def prepare(request: Request) -> Job:
    """Return the job of a request after all checks that take little time. Raises UserError for an invalid request."""
    captioners = select_captioners(
        caption_sources(request.captions, request.dataset),
        request.caption_param,
        request.digest,
        digest_question=request.digest_question,
    )
    if request.digest and request.digest == request.llm and request.api_base:
        # The digest's model has the address of the answering model, unless digest.api_base gives another.
        captioners = replace(captioners, endpoints={request.llm: request.api_base, **captioners.endpoints})
    template = choose_template(request.prompt, captioners.specs)
    order_seed = request.seed if request.shuffle_choices else None
    prompt = prompt_spec(template, captioners.specs, order_seed)
    rounds, engines = rounds_spec(request)
    llm, how = model_and_execution(request, captioners.beside(engines))
    connect.check(llm, how, audio=bool(prompt.audio))
    loaded = datasets.load(request.dataset, request.data, audio=False)
    only = tag_filter(request.only)
    items = datasets.select(loaded, only, request.limit)
    spec = RunSpec(
        dataset=loaded.name,
        dataset_digest=loaded.digest,
        captioners=captioners.specs,
        prompt=prompt,
        llm=llm,
        limit=request.limit,
        only=only,
        rounds=rounds,
    )
    path = request.out or directory.default_directory(how.runs, spec)
    source = request.dataset, request.data
    job = Job(path=path, spec=spec, template=template, items=items, loaded=loaded, source=source, how=how)
    # An empty --shard is refused: it is usually an unset variable of a job array.
    if request.shard is None:
        return job
    part, items = datasets.split_shard(request.shard, items)
    suffix = "" if request.out else f"-shard-{part.shard.replace('/', '-of-')}"
    return replace(job, path=path.with_name(path.name + suffix), items=items, part=part)


def count_spent(jobs: Iterable[Job]) -> None:
    """Charge the earlier cost of these runs, including complete ones, to their shared budget."""
    for job in jobs:
        if job.how.budget and (job.path / "log.jsonl").exists():
            asking.count_earlier(job.path, job.spec, job.how)


def carry_out(job: Job, read_reply: ReadReply) -> Run:
    """Make the captions and answers that a run lacks, and return the run.

    A complete run needs no key, no clips and no packages. `read_reply` reads the choices of samples that may disagree.
    """
    engines = job.spec.rounds.engines if job.spec.rounds else ()
    # A missing key is reported before gigabytes are fetched and hours of captioning pass.
    if asking.remaining(job.path, job.items, job.spec.llm.samples):
        connect.check_access(job.spec.llm, job.how)
        for engine in engines:
            Engine(engine.name).check(engine, job.how.host)
    root = _clip_root(job)
    manifest = directory.new_manifest(
        job.spec,
        job.template.text,
        _session(job.spec, engines, silent_audio=job.how.accept_silent_audio),
        part=job.part,
        data_version=job.loaded.version,
        licence=job.loaded.licence,
        audio_root=str(root),
    )
    clips, captions_made = Counter[bool](), Counter[bool]()  # by success; `clips` are those that are sent to the model

    @contextmanager
    def track(stage: str, total: int) -> Iterator[Tick]:
        with bars(stage, total) as tick:

            def count(succeeded: bool) -> None:
                counts = clips if stage == generate.CLIPS_TO_SEND else captions_made
                counts[succeeded] += 1
                tick(succeeded)

            yield count

    with directory.open_run(job.path, manifest, job.items, same_model=job.how.same_model) as (run, log):
        note(f"run directory: {job.path}")
        samples = run.spec.llm.samples
        kept = len(run.items) * samples - len(asking.remaining(job.path, run.items, samples))
        count_spent([job])
        try:
            with charges.charge_log(job.path) as record, recording(job.how.budget, record):
                captions = generate.caption(run.items, root, run.spec.captioners, job.how, track, run.spec.prompt)
            asking.check_clips(run, captions)
            directory.write_captions(job.path, captions)
            for line in [*speech.english_only(captions, doubtful=True), *truncated_captions(captions)]:
                note(line)
            asking.ask(run, captions, log, job.how, read_reply, bars)
        finally:
            outcome = f"answers: {kept} kept, {log.appended} asked; captions: {captions_made[True]} made"
            if captions_made[False]:
                outcome += f", {captions_made[False]} failed"
            if job.spec.prompt.audio:
                sent = "sent with each question" if log.appended else "none sent"
                outcome += f"; clips: {sent}"
            if clips[False]:
                outcome += f", {clips[False]} failed"
            note(outcome)
    return run


def make_captions(job: Job) -> list[CaptionRecord]:
    """Return one caption for each item and slot of a job, from the cache or made now; no question is asked."""
    if not job.items:
        return []
    return generate.caption(job.items, _clip_root(job), job.spec.captioners, job.how, bars, job.spec.prompt)


def _clip_root(job: Job) -> Path:
    """Return the folder of the clips, after fetching them if an engine needs them."""
    if job.spec.rounds or generate.needs_clips(job.spec.captioners):
        return datasets.load(*job.source).root
    return job.loaded.root


def _session(spec: RunSpec, engines: Sequence[CaptionerSpec], *, silent_audio: bool) -> provenance.Session:
    """Return the record of this session; `engines` are those that the model may ask in rounds."""
    modules = set(connect.modules(spec.llm.model))
    for captioner in (*spec.captioners, *engines):
        modules |= Engine(captioner.name).modules
    return provenance.session([redact(word) for word in ("cascade", *sys.argv[1:])], modules, silent_audio=silent_audio)


def report_failures(*runs: Run, again: str = "the same command tries the failed ones again") -> bool:
    """Print the failed items on stderr, by kind, each message once; return whether any run has questions left to ask.

    The counts are of items, or of samples if an item has several. An item that failed in several runs counts once.
    """
    left = [run for run in runs if asking.remaining(run.path, run.items, run.spec.llm.samples)]
    failed: dict[str, dict[tuple[str, int], str]] = {}
    for run in left:
        for answer in directory.last_answers(run.path).values():
            if isinstance(answer.result, Failure) and answer.result.kind != NOT_APPLICABLE:
                messages = failed.setdefault(answer.result.kind, {})
                messages.setdefault((answer.item, answer.sample), answer.result.message)
    where = f" in one or more of {len(runs)} runs" if len(runs) > 1 else ""
    noun = "item" if all(run.spec.llm.samples == 1 for run in runs) else "sample"
    for kind, messages in sorted(failed.items(), key=lambda pair: -len(pair[1])):
        first = {message: item for (item, _), message in reversed(messages.items())}  # the first item of each message
        lines = [f"{item}: {message}" for message, item in reversed(first.items())]
        head = f"{quantity(len(messages), noun)} failed ({kind}){where}, counted as wrong; the first: {lines[0]}"
        for line in [head, *lines[1:_LISTED]]:
            note(line)
    if left:
        note(again)
    return bool(left)
