"""What a run would take, computed before anything is captioned, asked or written: captions, calls, tokens, cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
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
from cascade.types import SENT_AUDIO, CaptionRecord, Execution, LLMSpec, Params


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """`calls` are still to be made, of `questions` items times samples; `input_tokens` are theirs, by `tokenizer`.

    `unmade` captions are not in the cache: their words are not in the tokens. `audio` is the seconds of audio that are
    sent, whose tokens are not in them either, and `absent` counts the clips that are not here. `reply_tokens` is the
    mean of what the run has so far, None before; `most_tokens` bounds a reply where that is known. `price` None is
    unknown. `most_calls` counts those of all rounds, too; `split` says that only items whose samples disagree have any.
    `remote` has a line of text for each remote model that captions, merges captions, or may be asked in rounds.
    """

    questions: int
    samples: int
    calls: int
    most_calls: int
    captions: int
    unmade: int
    input_tokens: int
    tokenizer: str
    reply_tokens: float | None
    most_tokens: int | None
    price: Price | None
    split: bool = False
    audio: float = 0.0
    absent: int = 0
    remote: tuple[str, ...] = ()


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

    # Items that share a caption share its key; a missing clip has no key, so its name is used. Sent clips are left out.
    records = [record for record in captions if not spec.prompt.audio or record.slot != SENT_AUDIO]
    distinct = {(record.slot, record.key or clips[record.item]): record for record in records}
    unmade = [record for record in distinct.values() if record.failure and record.failure.kind != NOT_APPLICABLE]
    params = {spec.slot: spec.params for spec in spec.captioners}
    replies = Counter[str]()  # of remote models at most, by slot
    for record in unmade:
        replies[record.slot] += _most_replies(params[record.slot], seconds(clips[record.item]))
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
        captions=len(distinct),
        unmade=len(unmade),
        input_tokens=tokens,
        tokenizer=tokenizer,
        reply_tokens=directory.mean_reply_tokens(answer.result for answer in answers.values()),
        most_tokens=reply_limit(spec.llm.params) or (price.most if price else None),
        split=split,
        price=price,
        audio=sum(filter(None, sent)),
        absent=sent.count(None),
        remote=tuple(_remote_lines(job, replies, exchanges)),
    )


def _most_replies(params: Params, seconds: float | None) -> int:
    """Return how many replies of a remote model a caption takes at most: one, or one for each part of the clip."""
    window, segments = float(params.get("window", 0)), int(params.get("segments", 1))
    if window and seconds and seconds > window:
        # A window is cut at a quiet place, which may be this many seconds before its end.
        return ceil(seconds / (window - min(speech.SEARCH, window / 2)))
    return segments + 1 if segments > 1 else 1


def _remote_lines(job: Job, replies: Counter[str], exchanges: int) -> Iterator[str]:
    """Yield a line for each remote captioner: how many replies it gives at most, and their cost without the input."""
    asked = [(spec, spec.slot, replies[spec.slot]) for spec in job.spec.captioners]
    if rounds := job.spec.rounds:
        for spec in rounds.engines:
            requests = exchanges * rounds.most * MOST_REQUESTS
            asked.append((spec, f"{spec.slot}, in rounds", requests * _most_replies(spec.params, None)))
    for spec, name, count in asked:
        if not count or not Engine(spec.name).asks_remotely:
            continue
        model, limit = str(spec.params["model"]), reply_limit(spec.params)
        how = replace(job.how, api_base=job.how.host.endpoints.get(model), price=None)
        price = connect.price(LLMSpec(model=model), how)
        line = f"{name}: up to {quantity(count, 'reply')} of {model.partition('@')[0]}"
        if limit is None:
            yield line
            continue
        cost = f"at most ${price.of(0, count * limit):.4f} for the replies" if price else "its price is unknown"
        yield f"{line}, of at most {limit} tokens; {cost}"


def combine(plans: Sequence[Plan]) -> Plan:
    """Return several runs of one model over one dataset as one plan: captions that they share are made once."""
    replies = [plan.reply_tokens for plan in plans if plan.reply_tokens is not None]
    return replace(
        plans[0],
        questions=sum(plan.questions for plan in plans),
        calls=sum(plan.calls for plan in plans),
        most_calls=sum(plan.most_calls for plan in plans),
        split=any(plan.split for plan in plans),
        captions=max(plan.captions for plan in plans),
        unmade=max(plan.unmade for plan in plans),
        input_tokens=sum(plan.input_tokens for plan in plans),
        reply_tokens=sum(replies) / len(replies) if replies else None,
        audio=sum(plan.audio for plan in plans),
        absent=sum(plan.absent for plan in plans),
        remote=(),  # The runs share some of these replies, so the numbers cannot be added.
    )


def plan_lines(plan: Plan) -> list[str]:
    """Return the plan for people, a line a subject."""
    verb = "is" if plan.unmade == 1 else "are"
    captions = f"captions  {plan.captions}, of which {plan.unmade} {verb} to be made"
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
        *[f"remote    {line}" for line in plan.remote],
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
