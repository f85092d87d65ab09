"""A judge model asked about reasoning: which calls its log still lacks, what they would take, and the calls."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from msgspec import UNSET
from msgspec.structs import replace

from cascade.io.progress import bars
from cascade.io.terminal import note
from cascade.llms import connect
from cascade.llms.prices import reply_limit
from cascade.llms.redaction import redact
from cascade.pipeline import asking
from cascade.pipeline.parsing import parse_pairs
from cascade.pipeline.planning import Plan
from cascade.pipeline.request import Request
from cascade.pipeline.specs import CaptionerSelection, model_and_execution
from cascade.prompting import evidence
from cascade.prompting.templates import judge_template
from cascade.runs import directory, judge_log, provenance
from cascade.runs.judge_log import Case, Judge, Judgement, Replies
from cascade.types import LLM, Execution

_OPTION = "--judge"
PROTOCOL_SEED = 42  # MMAR-Rubrics, arXiv 2602.14224

Call = tuple[Case, int]  # a case, and which of its calls
CallsLeft = Callable[[Judge, Replies], list[Call]]  # the calls that have no readable reply


def judge_folder(source: Path, out: Path | None = None) -> Path:
    """Return the folder of judge.jsonl: `out`, else the run, else one below runs/ that is named after the file."""
    return out or (source if source.is_dir() else Path("runs") / f"{source.stem}-judged")


def prepare_judge(request: Request) -> tuple[Judge, Execution]:
    """Return the judge of a request (`llm`, `prompt`) as it will stand in the log, and how it is asked.

    Raises UserError for what can be refused before anything is asked.
    """
    llm, how = model_and_execution(request, CaptionerSelection())
    # The seed is a part of the protocol, whatever the model; --param seed=none unsets it.
    if "seed" not in parse_pairs(request.param or (), "--param"):
        llm = replace(llm, params={**llm.params, "seed": request.seed})
    llm = replace(llm, answer_as=UNSET)  # A judge gives scores, no choice.
    connect.check(llm, how)
    session = provenance.session([redact(word) for word in ("cascade", *sys.argv[1:])], connect.modules(llm.model))
    return judge_log.new_judge(llm, judge_template(request.prompt), session), how


def replies_so_far(folder: Path) -> Replies:
    """Return the replies in a folder's log; none where there is no log."""
    return judge_log.read_judge_log(folder)[1] if judge_log.has_judge(folder) else {}


def plan_judging(folder: Path, cases: int, calls_left: CallsLeft, judge: Judge, how: Execution) -> Plan:
    """Return what judging so many cases would still take. Raises RunError where the log is another judge's."""
    judge_log.check_same_judge(folder, judge)
    replies = replies_so_far(folder)
    calls = calls_left(judge, replies)
    count, tokenizer = connect.counter(judge.llm)
    price = connect.price(judge.llm, how)
    return Plan(
        questions=cases,
        samples=judge_log.CALLS,
        calls=len(calls),
        captions=0,
        unmade=0,
        input_tokens=sum(count(judge_log.judge_prompt(judge.prompt, case)) for case, _ in calls),
        tokenizer=tokenizer,
        reply_tokens=directory.mean_reply_tokens(judgement.result for judgement in replies.values()),
        most_tokens=reply_limit(judge.llm.params) or (price.most if price else None),
        price=price,
    )


def ask_judge(folder: Path, calls_left: CallsLeft, judge: Judge, how: Execution) -> None:
    """Make the calls that the log has no readable reply to, and append each to it as it comes.

    A complete log needs no key and no package. Raises RunError where the log is another judge's, ProviderStop where the
    provider refuses every call, BudgetSpent where the next call might cost too much; earlier replies are in the log.
    """
    judge_log.check_same_judge(folder, judge)
    if calls_left(judge, replies_so_far(folder)):
        connect.check_access(judge.llm, how, _OPTION)
    with judge_log.open_judge_log(folder, judge) as log:
        note(f"judgements: {folder / judge_log.FILE}")
        calls = calls_left(judge, replies_so_far(folder))
        if not calls:
            return
        if how.budget:
            how.budget.count(folder, judge_log.judge_cost(folder))

        async def call(case_and_call: Call, llm: LLM) -> Judgement:
            case, number = case_and_call
            prompt = judge_log.judge_prompt(judge.prompt, case)
            result, seconds = await asking.timed_call(llm, prompt, judge.llm.params)
            return Judgement(
                item=case.item,
                call=number,
                prompt=evidence.prompt_digest(prompt),
                result=result,
                seconds=seconds,
                at=provenance.now(),
                params=judge.llm.params,
            )

        with bars("judging", len(calls)) as tick:

            def write(judgement: Judgement) -> None:
                log.append(judgement)
                tick()

            asking.run_coroutine(asking.fan_out(iter(calls), judge.llm, how, call, write, _OPTION))
