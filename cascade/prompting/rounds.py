"""The instructions of a run with rounds, the parser of a model's requests, and the messages that show findings.

A request names an engine by its slot and gives a part of the clip by `start` and `end` in seconds, both optional. An
engine that is itself a model also takes a `question`; the CLAP tagger takes the `labels` to choose among. A request
is a tool call of the provider, or in the text form a line such as `ASK transcribe start=2 end=5.5`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import replace as changed
from math import isfinite
from typing import Any

from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from cascade.io.jsonl import loads
from cascade.io.terminal import quantity
from cascade.types import Answer, CaptionerSpec, Completion, Finding, Params, Prompt, Round, RoundsSpec, ToolCall

VERSION = "1"
MOST_REQUESTS = 4  # per round
_LONGEST = 500  # characters of a question, or of all labels
_LONGEST_CALL = 10_000  # characters of the arguments or the id of a call that is repeated to the provider
_MOST_LABELS = 30
_ASK = re.compile(r"^[ \t>*`-]{0,9}ASK[ \t]{1,9}([a-z][a-z0-9_-]{0,40})\b([^\n]{0,1000})", re.MULTILINE)
_ARGUMENT = re.compile(r"\b(start|end|question|labels)[ \t]{0,3}=")
_DESCRIPTIONS = {
    "transcribe": "the words that are spoken",
    "listen": "what a listener hears, who is asked your question",
    "classify": "which of your labels the sound is most like",
    "measure": "loudness, pitch, tempo and pauses as numbers",
}
# The parameters that the engines of these names take in addition to `start` and `end`; all are required.
_OWN = {"audio-llm": ("question",), "clap-sound": ("labels",)}
_SCHEMAS: Mapping[str, Mapping[str, Any]] = {
    "start": {"type": "number", "description": "seconds from the beginning; left out: the beginning"},
    "end": {"type": "number", "description": "seconds from the beginning; left out: the end"},
    "question": {"type": "string", "description": "what the listener is asked"},
    "labels": {"type": "array", "items": {"type": "string"}, "description": "two or more kinds of sound"},
}
_EXAMPLES = {"question": "question=What happens here?", "labels": "labels=a bell, a horn"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolRequest:
    """One request of a model; `problem` says why it cannot be carried out, or is `""`."""

    tool: str
    arguments: Params
    problem: str = ""


def offered(spec: RoundsSpec | UnsetType, answer: Answer | None) -> RoundsSpec | UnsetType:
    """Return the rounds that a sample may have, unset for none; `answer` is the sample's last line in the log."""
    if spec and spec.when and not (answer and answer.first):
        return UNSET
    return spec


def disagree(choices: Collection[str]) -> bool:
    """Return whether an item's samples do not all settle on one choice; `""`, no choice, agrees with no other."""
    return "" in choices or len(set(choices)) > 1


def mismatch(spec: RoundsSpec | UnsetType, answer: Answer) -> str:
    """Return what of an answer's rounds is not as its run makes them, or `""`; `spec` is that of the run."""
    offer, rounds = offered(spec, answer), answer.rounds or ()
    if not offer:
        return "it has rounds, and was offered none" * bool(rounds)
    if len(rounds) > offer.most:
        return f"it has {quantity(len(rounds), 'round')}, more than it was offered"
    for number, taken in enumerate(rounds, start=1):
        asked = [(request.tool, request.arguments) for request in read_requests(taken.reply, offer)]
        if asked != [(finding.tool, finding.arguments) for finding in taken.findings]:
            return f"the findings of its round {number} are not those that the model asked for"
    return ""


def opening(prompt: Prompt, spec: RoundsSpec) -> Prompt:
    """Return the prompt with the instructions about rounds after its last message."""
    *earlier, last = prompt.messages
    offer, content = instructions(spec), last["content"]
    if isinstance(content, str):
        content = f"{content}\n\n{offer}"
    else:
        content = [*content, {"type": "text", "text": offer}]
    return replace(prompt, messages=(*earlier, {**last, "content": content}))


def instructions(spec: RoundsSpec) -> str:
    """Return the instructions about rounds."""
    rounds = quantity(spec.most, "round")
    if spec.form == "calls":
        return (
            f"Before you answer, you may call the functions to learn more about the clip, in at most {rounds} with at "
            f"most {MOST_REQUESTS} calls each. Answer as soon as you know enough."
        )
    lines = []
    for engine in spec.engines:
        example = " ".join(["start=0 end=5", *(_EXAMPLES[name] for name in _OWN.get(engine.name, ()))])
        lines.append(f"ASK {engine.slot} {example}   ({_description(engine)})")
    return "\n".join(
        [
            f"Before you answer, you may ask for more about the clip, in at most {rounds}. To ask, reply only with at "
            f"most {MOST_REQUESTS} lines like these; start and end are seconds and may be left out:",
            *lines,
            "If you know enough, do not ask: answer.",
        ]
    )


def tool_params(spec: RoundsSpec, *, last: bool) -> dict[str, Any]:
    """Return the parameters of a call that declare the functions; the `last` call forbids their use."""
    if spec.form == "text":
        return {}
    functions = []
    for engine in spec.engines:
        own = _OWN.get(engine.name, ())
        schema = {
            "type": "object",
            "properties": {name: _SCHEMAS[name] for name in ("start", "end", *own)},
            "required": list(own),
        }
        about = f"Return {_description(engine)} in a part of the clip."
        functions.append({"name": engine.slot, "description": about, "parameters": schema})
    tools = [{"type": "function", "function": function} for function in functions]
    return {"tools": tools, "tool_choice": "none" if last else "auto"}


def _description(engine: CaptionerSpec) -> str:
    return _DESCRIPTIONS.get(engine.slot, f"what {engine.name} makes of it")


def read_requests(reply: Completion, spec: RoundsSpec) -> list[ToolRequest]:
    """Return the requests in a reply in their order, one per call; the list is empty if there are none."""
    engines = {engine.slot: engine for engine in spec.engines}
    requests: list[ToolRequest] = []
    if spec.form == "calls":
        for call in reply.calls or ():
            try:
                given = loads(call.arguments or "{}")
            except ValueError as error:
                given = f"its arguments are no JSON ({error})"
            requests.append(_checked(call.name, given, engines))
    else:
        requests += [_checked(match[1], _arguments(match[2]), engines) for match in _ASK.finditer(reply.text)]
    if spec.form == "text":
        return requests[:MOST_REQUESTS]
    # A provider requires a result for each call.
    problem = f"at most {MOST_REQUESTS} calls a round are carried out"
    return requests[:MOST_REQUESTS] + [changed(request, problem=problem) for request in requests[MOST_REQUESTS:]]


def _arguments(text: str) -> dict[str, Any]:
    """Return the arguments of a line of the text form."""
    names = list(_ARGUMENT.finditer(text))
    ends = [*(match.start() for match in names[1:]), len(text)][: len(names)]
    given: dict[str, Any] = {}
    for match, end in zip(names, ends, strict=True):
        given[match[1]] = text[match.end() : end].strip(" \t,;\"'`()*")
    return given


def _checked(tool: str, given: Any, engines: Mapping[str, CaptionerSpec]) -> ToolRequest:
    """Return a request with its arguments as plain values, or with its problem."""
    if tool not in engines:
        return ToolRequest(
            tool=tool[:40], arguments={}, problem=f"there is no such function (there is: {', '.join(engines)})"
        )
    if not isinstance(given, dict):
        return ToolRequest(tool=tool, arguments={}, problem=str(given)[:_LONGEST])
    own = _OWN.get(engines[tool].name, ())
    arguments: dict[str, Any] = {}
    for name in ("start", "end"):
        value = given.get(name)
        if value in (None, ""):
            continue
        try:
            seconds = float(str(value).strip().rstrip("s "))
        except (ValueError, OverflowError):
            seconds = -1.0
        if not (isfinite(seconds) and seconds >= 0):
            return ToolRequest(tool=tool, arguments=arguments, problem=f"{name} must be a number of seconds")
        arguments[name] = round(seconds, 2)
    if "question" in own:
        arguments["question"] = str(given.get("question") or "").strip()[:_LONGEST]
    if "labels" in own:
        labels = given.get("labels")
        if not isinstance(labels, list):
            labels = str(labels or "").split(",")
        labels = [" ".join(str(label).split()) for label in labels]
        arguments["labels"] = sorted({label for label in labels if label and len(label) <= _LONGEST // 5})[
            :_MOST_LABELS
        ]
        if len(arguments["labels"]) < 2:
            return ToolRequest(tool=tool, arguments=arguments, problem="labels must be two or more")
    if lacking := [name for name in own if not arguments[name]]:
        return ToolRequest(tool=tool, arguments=arguments, problem=f"{lacking[0]} is needed")
    return ToolRequest(tool=tool, arguments=arguments)


def continued(prompt: Prompt, rounds: Sequence[Round], spec: RoundsSpec) -> Prompt:
    """Return the prompt after these rounds: the model's messages, each with its findings after it."""
    messages = [*prompt.messages]
    for number, taken in enumerate(rounds, start=1):
        left = spec.most - number
        if spec.form == "calls" and taken.findings:
            calls = [_as_call(call) for call in taken.reply.calls or ()]
            ids = {call["id"] for call in calls}
            if len(ids) < len(calls) or len(max(ids, key=len)) > _LONGEST_CALL:
                calls = [{**call, "id": f"call_{number}_{place}"} for place, call in enumerate(calls)]
            asked: dict[str, Any] = {"role": "assistant", "content": taken.reply.text or None, "tool_calls": calls}
            if taken.reply.thinking_blocks:
                asked["thinking_blocks"] = taken.reply.thinking_blocks
            messages.append(asked)
            for call, finding in zip(calls, taken.findings, strict=True):
                messages.append({"role": "tool", "tool_call_id": call["id"], "content": finding.text})
            continue
        messages.append({"role": "assistant", "content": taken.reply.text})
        shown = [f"{request_text(finding)}: {finding.text}" for finding in taken.findings]
        ending = "Answer the question now."
        if taken.findings and left > 0:
            ending = f"You may ask again ({left} more), or answer the question now."
        messages.append({"role": "user", "content": "\n".join([*shown, ending])})
    return replace(prompt, messages=tuple(messages))


def _as_call(call: ToolCall) -> dict[str, Any]:
    """Return a call as it is repeated to the provider, which may refuse the request for a name or arguments."""
    arguments = "{}"
    try:
        if len(call.arguments) <= _LONGEST_CALL and isinstance(loads(call.arguments), dict):
            arguments = call.arguments
    except ValueError:
        pass  # The finding says that the arguments are not JSON.
    function = {"name": re.sub(r"[^A-Za-z0-9_-]", "_", call.name)[:64], "arguments": arguments}
    return {"id": call.id, "type": "function", "function": function}


def request_text(finding: Finding, *, times: bool = True) -> str:
    """Return a request on one line, as in `listen 2-5 s "What is it?"`; the times may be left out."""
    start, end = finding.arguments.get("start"), finding.arguments.get("end")
    # A log that was altered may have anything in the place of a time.
    if not isinstance(start, int | float):
        start = None
    if not isinstance(end, int | float):
        end = None
    parts = [finding.tool]
    if times and end is not None:
        parts.append(f"{start or 0:g}-{end:g} s")
    elif times and start is not None:
        parts.append(f"from {start:g} s")
    own = [finding.arguments[name] for name in ("question", "labels") if name in finding.arguments]
    return " ".join([*parts, *(json.dumps(value, ensure_ascii=False) for value in own)])
