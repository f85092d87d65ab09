"""A digest: one account of a clip, which a text model merges from the captions of all slots.

It is an engine whose input is captions instead of a clip (`CaptionInput.evidence`), so it uses the cache, budget,
retries and concurrency of all engines. `--digest MODEL` adds it; the answering model then reads no other caption.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any

from cascade.captioners.remote import client
from cascade.errors import UserError
from cascade.llms import connect
from cascade.prompting import templates
from cascade.prompting.listening import without_answer
from cascade.prompting.thinking import without_thoughts
from cascade.types import Caption, Captioner, CaptionInput, Completion, Execution, Host, LLMSpec, Prompt

VERSION = "1"
SLOT = "digest"
HEADING = "Account, merged from several listeners"
NEEDS = {"litellm": "pip install 'audio-cascade[llm]'"}
lanes, needs_question = client.lanes, client.needs_question
rejects = partial(client.rejects, client.PAGE)
_UNKNOWN = "It is not known what will be asked about the clip: keep whatever a question could be about."
_KNOWN = "The account is for someone who must answer this question. Do not answer it; keep what bears on it.\n\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    """What may change a digest; `api_base=URL` beside them is the model's address.

    `model`: as for `--llm`. `question`: show it the question and the choices. `prompt`: the text of the prompt.
    `temperature`: "none" leaves it out, for models that refuse it. `max_tokens`: of one digest.
    """

    model: str
    question: bool = False
    prompt: str = ""
    temperature: str = "0"
    max_tokens: int = 2048


def spelled(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters with the prompt's name replaced by its text."""
    prompt = str(given.get("prompt", ""))
    return {**given, "prompt": prompt if "\n" in prompt else templates.find_template(prompt, "digest").text}


def lacks(params: Params, host: Host) -> str:
    """Return what is missing before the model can be asked, as for other remote models."""
    if params.model == "fake" or connect.is_local(params.model):
        return ""
    return client.lacks(params, host)


def make(params: Params, host: Host) -> Captioner:
    """Return the captioner. Raises UserError for invalid parameters, ProviderStop for an unknown model."""
    options = client.call_options(SLOT, params)
    llm = LLMSpec(model=params.model, params=options)
    once = replace(host, retries=0)  # The captioner itself retries.
    how = Execution(cache=Path(), host=replace(once, budget=None), api_base=host.endpoints.get(params.model))
    connect.check(llm, how)
    if connect.price(llm, how):
        # The connection reserves what a text can cost at most; the captioner, which knows no bound, has no budget then.
        how, host = replace(how, host=once), replace(host, budget=None)
    elif host.budget and params.model not in host.endpoints:
        raise UserError(f"--budget: the price of {params.model} is unknown; caption without --budget first")
    connection, caption = connect.connect(llm, how, "--digest"), partial(_digest, params, options)
    return client.RemoteCaptioner(
        connection, host, caption, attrgetter("cost"), lambda reply: rejects(reply.text), params.model
    )


def _digest(
    params: Params, options: Mapping[str, Any], complete: Callable[..., Completion], given: CaptionInput
) -> Caption:
    began, asked = time.perf_counter(), _UNKNOWN
    if params.question:
        asked = _KNOWN + "\n".join([f"Question: {given.question}", "Choices:", *given.choices])
    template = templates.Template(name="", text=params.prompt)
    messages = templates.fill(template, {"evidence": given.evidence, "question": asked})
    # `fake` replies with one of the prompt's choices, so it is given the captions to repeat.
    reply = complete(Prompt(messages=messages, order=(given.evidence,)), options)
    text, answer = without_thoughts(reply.text).strip(), ""
    if params.question:
        text, answer = without_answer(text, given.choices)
    meta: dict[str, Any] = {
        "finish": reply.finish,
        "model": reply.model,
        "input_tokens": reply.input_tokens,
        "output_tokens": reply.output_tokens,
        "cost": reply.cost,
        "seconds": round(time.perf_counter() - began, 3),
    }
    if answer:
        meta["answers"] = [answer]
    if reply.is_cut:
        meta["truncated"] = True
    return Caption(text=text, meta=meta)
