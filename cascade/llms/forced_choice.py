"""Forced choices: the reply is a JSON object whose field `answer` is one of the choices that the prompt shows.

The endpoint is sent a strict JSON schema as its `response_format`. An endpoint that refuses it stops the run; one that
ignores it replies in text, which is read like any other reply, and a note says how many replies that were.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from cascade.errors import Refused
from cascade.io.terminal import note
from cascade.llms import credentials
from cascade.types import LLM, Completion, LLMSpec, Params, Prompt

OTHERWISE = "give --answer-as text"


def response_format(spec: LLMSpec, choices: Sequence[str], *, direct: bool) -> dict[str, Any]:
    """Return the strict schema of a reply: a field for the reasoning, then the answer, which is one of the choices.

    The enumeration has each choice once, in the order given, without blank ones. There is no field for the reasoning
    where `direct` is set, or the model reasons before it replies.
    """
    named = [choice for choice in dict.fromkeys(choices) if choice.strip()]
    fields: dict[str, Any] = {"answer": {"type": "string", "enum": named or [""]}}
    # The model reasons before it replies where it is asked to, or does so by itself as litellm lists it.
    if asked := [str(spec.params[name]) for name in ("reasoning_effort", "thinking") if name in spec.params]:
        reasons = not any(word in text for text in asked for word in ("none", "disabled"))
    else:
        about = credentials.listed(spec.model) or {}
        # Models of these two kinds reason only where a request asks for it.
        optional = about.get("supports_none_reasoning_effort") or ("claude" in spec.model)
        reasons = bool(about.get("thinking_always_on") or (about.get("supports_reasoning") and not optional))
    if not direct and not reasons:
        fields = {"reasoning": {"type": "string"}, **fields}
    schema = {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}
    return {"type": "json_schema", "json_schema": {"name": "choice", "strict": True, "schema": schema}}


@contextmanager
def forced(llm: LLM, spec: LLMSpec, label: str, *, direct: bool) -> Iterator[LLM]:
    """Yield the model's call with the schema of each prompt's choices; `label` names the model as its user did.

    Raises ProviderStop, with the flag to give instead, where the endpoint refuses a first request.
    """
    replies = free = 0

    async def complete(prompt: Prompt, params: Params) -> Completion:
        nonlocal replies, free
        if not prompt.order:
            return await llm(prompt, params)  # A message before the answer, in a run that has rounds.
        form = response_format(spec, prompt.order, direct=direct)
        try:
            reply = await llm(prompt, {**params, "response_format": form})
        except Refused as stop:
            raise Refused(f"{stop}; if the endpoint supports no JSON schema, {OTHERWISE}") from None
        replies += 1
        content = None
        with suppress(ValueError, RecursionError):
            content = json.loads(reply.text)
        answered = isinstance(content, dict) and content.get("answer") in prompt.order
        # A reply that was cut is no sign of an endpoint that ignores the schema.
        free += not reply.is_cut and not answered
        return reply

    try:
        yield complete
    finally:
        if free:
            note(f"{label}: {free} of {replies} replies are not the JSON of --answer-as choice; they are read as text")
