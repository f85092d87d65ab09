"""A second model that is asked about a run's replies: its missing calls are found, planned and made."""

from __future__ import annotations

import sys
from dataclasses import replace as changed
from typing import Any

from msgspec import UNSET
from msgspec.structs import replace

from cascade.io.progress import bars
from cascade.io.terminal import note
from cascade.llms import connect
from cascade.llms.prices import reply_limit
from cascade.llms.redaction import redact
from cascade.pipeline import asking
from cascade.pipeline.parsing import parse_pairs
from cascade.pipeline.planning import Plan, check_model
from cascade.pipeline.request import Request
from cascade.pipeline.specs import CaptionerSelection, model_and_execution
from cascade.prompting.templates import find_template
from cascade.runs import call_log, directory, provenance
from cascade.runs.call_log import CallLog, Inquiry, LoggedCall, Question, SecondModel
from cascade.types import LLM, Completion, Execution


def ask_or_plan(request: Request, log: CallLog, inquiry: Inquiry[Any]) -> Plan | None:
    """Make the calls that the log lacks to a request's model (`llm`, `prompt`); for a dry run return what they take.

    Raises UserError for what can be refused before anything is asked, and as `_ask` does.
    """
    llm, how = model_and_execution(request, CaptionerSelection())
    given = parse_pairs(request.param or (), "--param")
    # A model that refuses the temperature 0 has none by now.
    usual = inquiry.params.keys() - given.keys() - ({"temperature"} - llm.params.keys())
    required = {name: value for name, value in inquiry.params.items() if name in usual}
    llm = replace(llm, params={**llm.params, **required}, answer_as=UNSET)  # It gives a text, and no forced choice.
    connect.check(llm, how)
    session = provenance.session([redact(word) for word in ("cascade", *sys.argv[1:])], connect.modules(llm.model))
    model = call_log.new_model(llm, find_template(request.prompt or "", log.role), session, inquiry.calls)
    if not inquiry.left(model, log.replies()):
        how = changed(how, same_model=True)  # Nothing is asked.
    log.check_same(model, same_model=how.same_model)
    if request.dry_run:
        check_model(llm, how, f"--{log.role}")
        return _plan(log, inquiry, model, how)
    _ask(log, inquiry, model, how)
    return None


def _plan(log: CallLog, inquiry: Inquiry[Any], model: SecondModel, how: Execution) -> Plan:
    replies = log.replies()
    left = inquiry.left(model, replies)
    count, tokenizer = connect.counter(model.llm)
    price = connect.price(model.llm, how)
    return Plan(
        questions=len(inquiry.questions(model.prompt)) // model.calls,
        samples=model.calls,
        calls=len(left),
        most_calls=len(left),
        input_tokens=sum(count(question.prompt) for question in left),
        tokenizer=tokenizer,
        reply_tokens=directory.mean_reply_tokens(call.result for call in replies.values()),
        most_tokens=reply_limit(model.llm.params) or (price.most if price else None),
        price=price,
    )


def _ask(log: CallLog, inquiry: Inquiry[Any], model: SecondModel, how: Execution) -> None:
    """Make the calls that the log has no readable reply to, and append each to it as it comes.

    A complete log needs no key and no package. Raises RunError where the log is another model's, ProviderStop where the
    provider refuses every call, BudgetSpent where the next call might cost too much; earlier replies are in the log.
    """
    option = f"--{log.role}"
    if inquiry.left(model, log.replies()):
        connect.check_access(model.llm, how, option)
    with log.open(model, same_model=how.same_model) as lines:
        note(f"replies of the {log.role}: {log.file}")
        replies = log.replies()
        left = inquiry.left(model, replies)
        kept, begun = len(inquiry.questions(model.prompt)) - len(left), lines.appended
        if not left:
            note(f"replies: {kept} kept, 0 asked")
            return
        if how.budget:
            how.budget.count(log.folder, log.charges())

        async def call(question: Question, llm: LLM) -> LoggedCall:
            result, seconds = await asking.timed_call(llm, question.prompt, model.llm.params)
            return LoggedCall(
                item=question.item,
                call=question.call,
                prompt=question.digest,
                result=result,
                seconds=seconds,
                at=provenance.now(),
                params=model.llm.params,
                origin=how.origin or UNSET,
            )

        with bars(f"asking the {log.role}", len(left)) as tick:

            def write(reply: LoggedCall) -> None:
                lines.append(reply)
                tick(isinstance(reply.result, Completion))

            try:
                work = asking.fan_out(iter(left), model.llm, how, call, write, option, replies.values())
                asking.run_coroutine(work)
            finally:
                note(f"replies: {kept} kept, {lines.appended - begun} asked")
