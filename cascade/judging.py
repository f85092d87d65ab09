"""A judge asked about reasoning: whatever its log has no reply to, and each reply written as it comes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cascade import asking, judgements, llms, prompting
from cascade.judgements import Case, Judge, Judgement
from cascade.llms.prices import limit
from cascade.logs import Log
from cascade.planning import Plan
from cascade.progress import Track, silent
from cascade.provenance import now
from cascade.types import LLM, Execution

OPTION = "--judge"
Call = tuple[Case, int]  # a case, and which of its calls


def judge(
    folder: Path, wanted: Judge, calls: Sequence[Call], log: Log, execution: Execution, track: Track = silent
) -> None:
    """Make the calls, and append each to the log as it comes.

    Raises ProviderStop where the provider refuses every call, BudgetSpent where the next might cost too much; what was
    said by then is in the log.
    """
    if execution.budget:
        execution.budget.count(folder, judgements.spent(folder))
    template = wanted.prompt

    async def one(call: Call, llm: LLM) -> Judgement:
        shown = judgements.prompt(template, call[0])
        result, seconds = await asking.timed(llm, shown, wanted.llm.params)
        return Judgement(
            item=call[0].item,
            call=call[1],
            prompt=prompting.fingerprint(shown),
            result=result,
            seconds=seconds,
            at=now(),
            params=wanted.llm.params,
        )

    with track("judging", len(calls)) as tick:

        def write(said: Judgement) -> None:
            log.append(said)
            tick()

        asking.finish(asking.fan_out(iter(calls), wanted.llm, execution, one, write, OPTION))


def plan(cases: int, calls: Sequence[Call], reply_tokens: float | None, wanted: Judge, execution: Execution) -> Plan:
    """What the calls would take, of so many cases in all; `reply_tokens` is the mean of a reply so far, if any."""
    count, tokenizer = llms.counter(wanted.llm.model)
    price = llms.price(wanted.llm, execution)
    return Plan(
        questions=cases,
        samples=judgements.CALLS,
        calls=len(calls),
        captions=0,
        unmade=0,
        input_tokens=sum(count(judgements.prompt(wanted.prompt, case)) for case, _ in calls),
        tokenizer=tokenizer,
        reply_tokens=reply_tokens,
        most_tokens=limit(wanted.llm.params) or (price.most if price else None),
        price=price,
    )
