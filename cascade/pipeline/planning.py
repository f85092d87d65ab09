"""What a run would take, computed before anything is captioned, asked or written: captions, calls, tokens, cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from math import ceil

from cascade.captioners import speech
from cascade.captioners.registry import Engine
from cascade.captioning import generate
from cascade.errors import NOT_APPLICABLE, ClipError, MissingKey
from cascade.io import audio
from cascade.io.terminal import note, quantity
from cascade.llms import connect
from cascade.llms.prices import PUBLISHED_RATES, Price, reply_limit
from cascade.pipeline import asking, questions
from cascade.pipeline.jobs import Job
from cascade.prompting import evidence
from cascade.prompting.rounds import MOST_REQUESTS
from cascade.runs import directory
from cascade.types import SENT_AUDIO, CaptionerSpec, CaptionRecord, Execution, LLMSpec, Params

# What tells a caption from the others: its slot and its key, or what stands for the key.
CaptionName = tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteModel:
    """A remote model that captions, merges captions or is asked in rounds; `most_tokens` bounds each of its replies."""

    name: str
    model: str
    most_tokens: int | None
    price: Price | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """`calls` are still to be made, of `questions` items times samples; `input_tokens` are theirs, by `tokenizer`.

    `captions` holds what tells each caption from the others. The `unmade` of them are not in the cache: their words are
    not in the tokens. Each has its remote model, None for an engine of this machine, and how many replies it takes at
    most. `in_rounds` has the most replies of each remote model that may be asked in rounds. `audio` is the seconds of
    audio that are sent, whose tokens are not in them either, and `absent` counts the clips that are not here.
    `reply_tokens` is the mean of what the run has so far, None before; `most_tokens` bounds a reply where that is
    known. `price` None is unknown. `most_calls` counts those of all rounds, too; `split` says that only items whose
    samples disagree have any.
    """

    questions: int
    samples: int
    calls: int
    most_calls: int
    captions: frozenset[CaptionName] = frozenset()
    unmade: Mapping[CaptionName, tuple[RemoteModel | None, int]] = field(default_factory=dict)
    in_rounds: Mapping[RemoteModel, int] = field(default_factory=dict)
    input_tokens: int
    tokenizer: str
    reply_tokens: float | None
    most_tokens: int | None
    price: Price | None
    split: bool = False
    audio: float = 0.0
    absent: int = 0


def check_model(spec: LLMSpec, how: Execution, option: str = "--llm") -> None:
    """Raise ProviderStop where a run would be refused; a missing key is only said, because a plan needs none."""
    try:
        connect.check_access(spec, how, option)
    except MissingKey as lacking:
        note(f"{lacking}; this plan needs none")


def plan(job: Job) -> Plan:
    """Return the plan of a job, whose run directory need not be there."""
    spec = job.spec
    captions = generate.existing_captions(job.items, job.loaded.root, spec.captioners, job.how, spec.prompt)
    clips = {item.id: item.audio for item in job.items}
    shown = evidence.captions_shown(clips, captions, spec.prompt)
    applicable = []
    for item in job.items:
        kinds = {record.failure.kind for record in shown.get(item.id, {}).values() if record.failure}
        if NOT_APPLICABLE not in kinds:
            applicable.append(item)
    missing = asking.remaining(job.path, applicable, spec.llm.samples)

    @cache
    def seconds(clip: str) -> float | None:
        """Return the length of a clip; None where it is not here or cannot be decoded."""
        try:
            return audio.probe(job.loaded.root / clip).duration_s
        except ClipError:
            return None

    def sent_seconds(record: CaptionRecord) -> float | None:
        return evidence.clip_sent(record.meta).get("seconds") or seconds(clips[record.item])

    distinct, unmade = _distinct_captions(job, captions, seconds)
    sent = [sent_seconds(shown[item.id][SENT_AUDIO]) for item, _ in missing if spec.prompt.audio]
    count, tokenizer = connect.counter(spec.llm)
    answers = directory.last_answers(job.path) if (job.path / "log.jsonl").exists() else {}
    tokens = 0
    for item, sample in missing:
        about, before = (spec.prompt, job.template, shown.get(item.id, {})), answers.get((item.id, sample))
        tokens += count(questions.build_question(item, sample, *about, spec.rounds, before).prompt)
    price = connect.price(spec.llm, job.how)
    rounds, split = (spec.rounds.most, bool(spec.rounds.when)) if spec.rounds else (0, False)
    exchanges = len(missing)  # samples that may have rounds
    if split and missing:
        exchanges = len(applicable) * spec.llm.samples  # Any item may be asked again, after its first answers.
    return Plan(
        questions=len(applicable),
        samples=spec.llm.samples,
        calls=len(missing),
        most_calls=exchanges * (1 + rounds) + split * len(missing),
        captions=distinct,
        unmade=unmade,
        in_rounds=_replies_in_rounds(job, exchanges),
        input_tokens=tokens,
        tokenizer=tokenizer,
        reply_tokens=directory.mean_reply_tokens(answer.result for answer in answers.values()),
        most_tokens=reply_limit(spec.llm.params) or (price.most if price else None),
        split=split,
        price=price,
        audio=sum(filter(None, sent)),
        absent=sent.count(None),
    )


def _distinct_captions(
    job: Job, captions: Sequence[CaptionRecord], seconds: Callable[[str], float | None]
) -> tuple[frozenset[CaptionName], dict[CaptionName, tuple[RemoteModel | None, int]]]:
    """Return what tells each caption from the others and, of those to be made, the remote model and its most replies.

    Items that share a caption have one key. Where there is none yet, because the clip is not here or a digest's
    captions are not made, the clip, the question and the captioners stand for it. A sent clip is no caption.
    """
    spec, clips = job.spec, {item.id: item.audio for item in job.items}
    captioners = {captioner.slot: captioner for captioner in spec.captioners}
    remote = {slot: _remote_model(job, captioner, slot) for slot, captioner in captioners.items()}
    distinct: dict[CaptionName, CaptionRecord] = {}
    for record in captions:
        if not spec.prompt.audio or record.slot != SENT_AUDIO:
            name: CaptionName = (record.slot, record.key)
            if not record.key:
                name = (record.slot, clips[record.item], record.question or "", str(spec.captioners))
            distinct[name] = record
    unmade = {}
    for name, record in distinct.items():
        if record.failure and record.failure.kind != NOT_APPLICABLE:
            most = _most_replies(captioners[record.slot].params, seconds(clips[record.item]))
            unmade[name] = remote[record.slot], most
    return frozenset(distinct), unmade


def _replies_in_rounds(job: Job, exchanges: int) -> dict[RemoteModel, int]:
    """Return the most replies of each remote model that may be asked in the rounds of so many exchanges."""
    replies = {}
    if exchanges and (rounds := job.spec.rounds):
        for engine in rounds.engines:
            if model := _remote_model(job, engine, f"{engine.slot}, in rounds"):
                replies[model] = exchanges * rounds.most * MOST_REQUESTS * _most_replies(engine.params, None)
    return replies


def _most_replies(params: Params, seconds: float | None) -> int:
    """Return how many replies of a remote model a caption takes at most: one, or one for each part of the clip."""
    window, segments = float(params.get("window", 0)), int(params.get("segments", 1))
    if window and seconds and seconds > window:
        # A window is cut at a quiet place, which may be this many seconds before its end.
        return ceil(seconds / (window - min(speech.SEARCH, window / 2)))
    return segments + 1 if segments > 1 else 1


def _remote_model(job: Job, spec: CaptionerSpec, name: str) -> RemoteModel | None:
    """Return the remote model that an engine asks, if it asks one."""
    if not Engine(spec.name).asks_remotely:
        return None
    model = str(spec.params["model"])
    how = replace(job.how, api_base=job.how.host.endpoints.get(model), price=None)
    price = connect.price(LLMSpec(model=model), how)
    return RemoteModel(name=name, model=model.partition("@")[0], most_tokens=reply_limit(spec.params), price=price)


def _remote_lines(plan: Plan) -> Iterator[str]:
    """Yield what the replies of each remote model besides the answers can cost; what is sent to it is not counted."""
    replies = Counter[RemoteModel]()
    for remote, count in plan.unmade.values():
        if remote:
            replies[remote] += count
    replies.update(plan.in_rounds)
    for remote, count in replies.items():
        line = f"remote    {remote.name}: up to {quantity(count, 'reply')} of {remote.model}"
        if remote.most_tokens is None:
            yield line
            continue
        price, most = remote.price, count * remote.most_tokens
        cost = f"at most ${price.of(0, most):.4f} for the replies" if price else "its price is unknown"
        yield f"{line}, of at most {remote.most_tokens} tokens; {cost}"


def combine(plans: Sequence[Plan]) -> Plan:
    """Return several runs of one model over one dataset as one plan: captions that they share are made once."""
    unmade: dict[CaptionName, tuple[RemoteModel | None, int]] = {}
    in_rounds = Counter[RemoteModel]()
    for plan in plans:
        unmade |= plan.unmade
        in_rounds.update(plan.in_rounds)
    replies = [plan.reply_tokens for plan in plans if plan.reply_tokens is not None]
    return replace(
        plans[0],
        questions=sum(plan.questions for plan in plans),
        calls=sum(plan.calls for plan in plans),
        most_calls=sum(plan.most_calls for plan in plans),
        split=any(plan.split for plan in plans),
        captions=frozenset().union(*(plan.captions for plan in plans)),
        unmade=unmade,
        in_rounds=in_rounds,
        input_tokens=sum(plan.input_tokens for plan in plans),
        reply_tokens=sum(replies) / len(replies) if replies else None,
        audio=sum(plan.audio for plan in plans),
        absent=sum(plan.absent for plan in plans),
    )


def plan_lines(plan: Plan) -> list[str]:
    """Return the plan for people, a line a subject."""
    verb = "is" if len(plan.unmade) == 1 else "are"
    captions = f"captions  {len(plan.captions)}, of which {len(plan.unmade)} {verb} to be made"
    if plan.unmade:
        captions += "; their words are not in the tokens below (cascade caption makes them)"
    questions, samples = quantity(plan.questions, "question"), quantity(plan.samples, "sample")
    rounds = ""
    if plan.most_calls > plan.calls:
        when = " if the samples of every item disagree" * plan.split
        rounds = f"; with rounds up to {plan.most_calls}{when}, of which the later ones send more than is below"
    answered = plan.questions * plan.samples - plan.calls
    replies = []
    if plan.reply_tokens is not None:
        replies.append(f"{plan.reply_tokens:.0f} a reply so far in this run")
    if plan.most_tokens:
        replies.append(f"at most {plan.most_tokens} a reply")
    out = ", ".join(replies) or "unknown: nothing bounds a reply (--max-tokens would)"
    return [
        captions,
        *_remote_lines(plan),
        f"calls     {plan.calls} ({questions}, {samples} each; {answered} answered already){rounds}",
        f"tokens    {plan.input_tokens} in, by {plan.tokenizer}; out {out}",
        *[_audio_line(plan)] * bool(plan.audio or plan.absent),
        *_cost_lines(plan),
    ]


def _audio_line(plan: Plan) -> str:
    """Return what is known of the audio: its length, and its cost at the lowest and the highest published rate."""
    line = f"audio     {plan.audio:.1f} s"
    if plan.absent:
        line += f" (without {plan.absent} calls whose clips are not here or cannot be decoded)"
    least, most = PUBLISHED_RATES
    line += f"; {least:g} to {most:g} tokens a second, which are not in those above"
    if plan.price and plan.price.audio is not None:
        cost = plan.audio * plan.price.audio
        line += f": ${cost * least:.4f} to ${cost * most:.4f}, not in the cost below"
    return line


def _cost_lines(plan: Plan) -> list[str]:
    price = plan.price
    if price is None:
        return ["cost      unknown: the model is in no price list (--price INPUT,OUTPUT says it)"]
    sent = price.of(plan.input_tokens, 0)
    parts = [f"${sent:.4f} for what is sent"]
    if plan.reply_tokens is not None:
        parts.append(f"${sent + price.of(0, round(plan.calls * plan.reply_tokens)):.4f} if replies stay as they are")
    parts.append(f"${price.of(0, 100 * plan.calls):.4f} for each 100 tokens of a reply")
    if plan.most_tokens:
        parts.append(f"at most ${sent + price.of(0, plan.most_calls * plan.most_tokens):.4f}")
    rates = f"${1e6 * price.input:g} in, ${1e6 * price.output:g} out a million tokens"
    return [f"cost      {'; '.join(parts)}", f"price     {rates} ({price.source})"]
