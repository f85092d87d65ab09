"""A judge asked about reasoning: whatever its log has no reply to, and each reply written as it comes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cascade.io.jsonl import RecordLog
from cascade.io.progress import Track, silent
from cascade.llms import connect
from cascade.llms.prices import reply_limit
from cascade.pipeline import asking
from cascade.pipeline.planning import Plan
from cascade.prompting import evidence
from cascade.runs import judge_log
from cascade.runs.judge_log import Case, Judge, Judgement
from cascade.runs.provenance import now
from cascade.types import LLM, Execution

OPTION = "--judge"
Call = tuple[Case, int]  # a case, and which of its calls


def run_judge(
    folder: Path, wanted: Judge, calls: Sequence[Call], log: RecordLog, execution: Execution, track: Track = silent
) -> None:
    """Make the calls, and append each to the log as it comes.

    Raises ProviderStop where the provider refuses every call, BudgetSpent where the next might cost too much; what was
    said by then is in the log.
    """
    if execution.budget:
        execution.budget.count(folder, judge_log.judge_cost(folder))
    template = wanted.prompt

    async def one(call: Call, llm: LLM) -> Judgement:
        shown = judge_log.judge_prompt(template, call[0])
        result, seconds = await asking.timed_call(llm, shown, wanted.llm.params)
        return Judgement(
            item=call[0].item,
            call=call[1],
            prompt=evidence.prompt_digest(shown),
            result=result,
            seconds=seconds,
            at=now(),
            params=wanted.llm.params,
        )

    with track("judging", len(calls)) as tick:

        def write(said: Judgement) -> None:
            log.append(said)
            tick()

        asking.run_coroutine(asking.fan_out(iter(calls), wanted.llm, execution, one, write, OPTION))


def judge_plan(
    cases: int, calls: Sequence[Call], reply_tokens: float | None, wanted: Judge, execution: Execution
) -> Plan:
    """What the calls would take, of so many cases in all; `reply_tokens` is the mean of a reply so far, if any."""
    count, tokenizer = connect.counter(wanted.llm.model)
    price = connect.price(wanted.llm, execution)
    return Plan(
        questions=cases,
        samples=judge_log.CALLS,
        calls=len(calls),
        captions=0,
        unmade=0,
        input_tokens=sum(count(judge_log.judge_prompt(wanted.prompt, case)) for case, _ in calls),
        tokenizer=tokenizer,
        reply_tokens=reply_tokens,
        most_tokens=reply_limit(wanted.llm.params) or (price.most if price else None),
        price=price,
    )
