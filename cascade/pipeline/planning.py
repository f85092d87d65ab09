"""What a run would take before anything is heard, asked or written: captions to make, calls, tokens, cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cascade.captioning import generate
from cascade.llms import connect
from cascade.llms.prices import Price, reply_limit
from cascade.pipeline import asking
from cascade.prompting import evidence
from cascade.prompting.templates import Template
from cascade.runs import directory
from cascade.types import Execution, Item, RunSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """`calls` are still to be made, of `questions` items times samples; `input_tokens` are theirs, by `tokenizer`.

    `unmade` captions are not in the cache: their words are not in the tokens. `reply_tokens` is the mean of what the
    run has so far, None before; `most_tokens` bounds a reply where that is known. `price` None is unknown.
    """

    questions: int
    samples: int
    calls: int
    captions: int
    unmade: int
    input_tokens: int
    tokenizer: str
    reply_tokens: float | None
    most_tokens: int | None
    price: Price | None


def plan(
    path: Path, items: Sequence[Item], root: Path, spec: RunSpec, template: Template, execution: Execution
) -> Plan:
    """The plan of a run whose directory, which need not be there, is `path`. Raises what reading a cache raises."""
    missing = asking.remaining(path, items, spec.llm.samples)
    heard = generate.existing_captions(items, root, spec.captioners, execution)
    shown = evidence.captions_shown({item.id: item.audio for item in items}, heard, spec.prompt)
    count, tokenizer = connect.counter(spec.llm.model)
    total = sum(
        count(asking.build_question(item, sample, spec.prompt, template, shown.get(item.id, {})).prompt)
        for item, sample in missing
    )
    price = connect.price(spec.llm, execution)
    answers = directory.last_answers(path).values() if (path / "log.jsonl").exists() else ()
    return Plan(
        questions=len(items),
        samples=spec.llm.samples,
        calls=len(missing),
        captions=len(heard),
        unmade=sum(one.failure is not None for one in heard),
        input_tokens=total,
        tokenizer=tokenizer,
        reply_tokens=directory.mean_reply_tokens(one.result for one in answers),
        most_tokens=reply_limit(spec.llm.params) or (price.most if price else None),
        price=price,
    )


def combine(plans: Sequence[Plan]) -> Plan:
    """Several runs of one model over one dataset as one plan: captions that they share are made once."""
    replies = [plan.reply_tokens for plan in plans if plan.reply_tokens is not None]
    return replace(
        plans[0],
        questions=sum(plan.questions for plan in plans),
        calls=sum(plan.calls for plan in plans),
        captions=max(plan.captions for plan in plans),
        unmade=max(plan.unmade for plan in plans),
        input_tokens=sum(plan.input_tokens for plan in plans),
        reply_tokens=sum(replies) / len(replies) if replies else None,
    )


def plan_lines(plan: Plan) -> list[str]:
    """The plan for people, a line a subject."""
    told = [
        f"captions  {plan.captions}, of which {plan.unmade} are to be made"
        + ("; their words are not in the tokens below (cascade caption makes them)" if plan.unmade else ""),
        f"calls     {plan.calls} ({plan.questions} questions, {plan.samples} sample{'s' * (plan.samples > 1)} each; "
        f"{plan.questions * plan.samples - plan.calls} answered already)",
        f"tokens    {plan.input_tokens} in, by {plan.tokenizer}; out {_replies(plan)}",
    ]
    return [*told, *_money(plan)]


def _replies(plan: Plan) -> str:
    parts = []
    if plan.reply_tokens is not None:
        parts.append(f"{plan.reply_tokens:.0f} a reply so far in this run")
    if plan.most_tokens:
        parts.append(f"at most {plan.most_tokens} a reply")
    return ", ".join(parts) or "unknown: nothing bounds a reply (--max-tokens would)"


def _money(plan: Plan) -> list[str]:
    price = plan.price
    if price is None:
        return ["cost      unknown: the model is in no price list (--price INPUT,OUTPUT says it)"]
    sent = price.of(plan.input_tokens, 0)
    parts = [f"${sent:.4f} for what is sent"]
    if plan.reply_tokens is not None:
        parts.append(f"${sent + price.of(0, round(plan.calls * plan.reply_tokens)):.4f} if replies stay as they are")
    parts.append(f"${price.of(0, 100 * plan.calls):.4f} for each 100 tokens of a reply")
    if plan.most_tokens:
        parts.append(f"at most ${sent + price.of(0, plan.calls * plan.most_tokens):.4f}")
    rates = f"${1e6 * price.input:g} in, ${1e6 * price.output:g} out a million tokens"
    return [f"cost      {'; '.join(parts)}", f"price     {rates} ({price.source})"]
