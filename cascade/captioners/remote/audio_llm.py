"""Captions by any chat model that takes audio, through litellm.

A clip is sent as a mono WAV file in the message, after the captioning prompt, or alone for models that are made to
caption. A clip longer than `window` is sent in parts, cut at quiet moments, and its caption has times.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from operator import attrgetter
from pathlib import Path
from typing import Any

from cascade.captioners import speech
from cascade.captioners.remote import client
from cascade.errors import UnknownName, UserError
from cascade.io import audio
from cascade.llms import litellm
from cascade.prompting import templates
from cascade.prompting.thinking import without_thoughts
from cascade.types import Caption, Captioner, Completion, Host, Prompt

VERSION = "1"
SLOT = "any"
NEEDS, lanes, lacks = client.NEEDS, client.lanes, client.lacks
rejects = partial(client.rejects, client.PAGE)

# What `preset=NAME` stands for. Users serve the first two themselves (vLLM): they give api_base=URL beside the preset.
PRESETS: Mapping[str, Mapping[str, str]] = {
    "qwen3-omni-captioner": {
        "model": "hosted_vllm/Qwen/Qwen3-Omni-30B-A3B-Captioner",
        "prompt": "none",
        "window": "30",
    },
    "qwen2-audio": {"model": "hosted_vllm/Qwen/Qwen2-Audio-7B-Instruct", "window": "30"},
    "gemini": {"model": "gemini/gemini-2.5-flash", "max_tokens": "4096"},
    "gpt-4o-audio": {"model": "gpt-4o-audio-preview-2025-06-03", "rate": "24000"},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    """What may change a caption. `preset=NAME` beside them stands for several, `api_base=URL` is the model's address.

    `model`: litellm's name of a chat model that takes audio.
    `prompt`: the text of the captioning prompt. Give "caption" (the shipped one), a file, or the text itself; "none"
    for models that take audio alone.
    `temperature`: "none" leaves it out, for models that refuse it. `max_tokens`: of one reply.
    `rate` (Hz) and `window` (seconds): of what is sent.
    """

    model: str
    prompt: str = "caption"
    temperature: str = "0"
    max_tokens: int = 1024
    rate: int = 16_000
    window: float = 600.0


def spelled(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters with a preset filled in and the prompt's name replaced by its text."""
    params = dict(given)
    preset = params.pop("preset", None)
    if preset is not None and preset not in PRESETS:
        raise UnknownName("preset", str(preset), PRESETS)
    params = {**PRESETS.get(preset or "", {}), **params}
    return {**params, "prompt": templates.captioning_prompt(str(params.get("prompt", "caption")))}


def make(params: Params, host: Host) -> Captioner:
    """Return the captioner. Raises UserError for parameters that cannot be, ProviderStop for an unknown model."""
    client.check("audio-llm", params, host)
    _options(params)
    connection = litellm.chat_model(
        params.model, host.endpoints.get(params.model), None, host.timeout, f"audio-llm's model={params.model}"
    )
    caption, cost = partial(listen, params), attrgetter("cost")
    return client.RemoteCaptioner(connection, host, caption, cost, lambda reply: rejects(reply.text), params.model)


def _options(params: Params) -> dict[str, Any]:
    """Return the parameters of a call to the model. Raises UserError for a temperature that cannot be."""
    options: dict[str, Any] = {"max_tokens": params.max_tokens}
    if params.temperature == "none":
        return options
    try:
        return {"temperature": float(params.temperature), **options}
    except ValueError:
        raise UserError(f"audio-llm's temperature={params.temperature}: a number, or none") from None


def listen(params: Params, complete: Callable[..., Completion], clip: Path) -> Caption:
    """Return the caption of a clip by the model's call, `complete`, which waits for the reply."""
    options = _options(params)
    began, windows, replies = time.perf_counter(), [], []
    blocks = audio.blocks(clip, params.rate, 30.0)
    for start, end, wav in client.wav_windows(blocks, params.window):
        reply = complete(Prompt(messages=messages(params.prompt, wav)), options)
        replies.append(reply)
        windows.append((start, end, without_thoughts(reply.text).strip()))
    costs = [reply.cost for reply in replies if reply.cost is not None]
    meta = {
        "duration_s": round(windows[-1][1], 3),
        "windows": [{"start": round(start, 3), "end": round(end, 3), "text": text} for start, end, text in windows],
        "finish": [reply.finish for reply in replies],
        "model": replies[-1].model,
        "input_tokens": sum(reply.input_tokens or 0 for reply in replies),
        "output_tokens": sum(reply.output_tokens or 0 for reply in replies),
        "cost": sum(costs) if len(costs) == len(replies) else None,
        "seconds": round(time.perf_counter() - began, 3),
        "litellm": version("litellm"),
        **blocks.meta,
    }
    return Caption(text=speech.join_windows(windows), meta=meta)


def messages(prompt: str, wav: bytes) -> tuple[dict[str, Any], ...]:
    """Return the chat messages that carry a clip: the prompt's parts, with the clip at the end of the user's."""
    parts = dict(templates.parts(templates.Template(name="", text=prompt))) or {"user": prompt}
    content: list[dict[str, Any]] = []
    if parts["user"].strip():
        content.append({"type": "text", "text": parts["user"]})
    data = base64.b64encode(wav).decode()
    content.append({"type": "input_audio", "input_audio": {"data": data, "format": "wav"}})
    user = {"role": "user", "content": content}
    if "system" not in parts:
        return (user,)
    return {"role": "system", "content": parts["system"]}, user
