"""What is heard in a clip, by any chat model that takes audio, through litellm.

A clip goes out as a mono WAV file inside the message, after the captioning prompt, or alone for models that are made to
caption. One longer than `window` goes out in parts, cut at quiet moments, and is told with times.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from cascade.captioners import speech
from cascade.captioners.remote import client
from cascade.errors import UnknownName, UserError
from cascade.llms import litellm
from cascade.prompting import templates
from cascade.prompting.thinking import without_thoughts
from cascade.types import Caption, Captioner, Completion, Host, Prompt

VERSION = "1"
SLOT = "any"
NEEDS, lanes, lacks = client.NEEDS, client.lanes, client.lacks

# What `preset=NAME` stands for. The first two are served by oneself (vLLM): give api_base=URL beside the preset.
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
    """What may change a caption; `preset=NAME` and `api_base=URL` beside them fill it in, and say who serves the model.

    `model`: litellm's name of a chat model that hears.
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
    """The parameters with a preset filled in and the prompt's text in the place of its name."""
    params = dict(given)
    preset = params.pop("preset", None)
    if preset is not None and preset not in PRESETS:
        raise UnknownName("preset", str(preset), PRESETS)
    params = {**PRESETS.get(preset or "", {}), **params}
    return {**params, "prompt": templates.captioning_prompt(str(params.get("prompt", "caption")))}


def make(params: Params, host: Host) -> Captioner:
    """The captioner. Raises UserError for parameters that cannot be, ProviderStop for a model that nobody knows."""
    client.check("audio-llm", params.rate, params.window)
    client.affordable(params.model, host)
    sent = {"temperature": _number(params.temperature), "max_tokens": params.max_tokens}
    asked = {name: value for name, value in sent.items() if value is not None}
    opened = litellm.chat_model(
        params.model, host.endpoints.get(params.model), None, host.timeout, f"audio-llm's model={params.model}"
    )

    def caption(complete: Callable[..., Completion], clip: Path) -> Caption:
        return _caption(params, asked, complete, clip)

    return client.Remote(opened, host, caption, lambda reply: reply.cost)


def _number(temperature: str) -> float | None:
    try:
        return None if temperature == "none" else float(temperature)
    except ValueError:
        raise UserError(f"audio-llm's temperature={temperature}: a number, or none") from None


def _caption(params: Params, asked: Mapping[str, Any], complete: Callable[..., Completion], clip: Path) -> Caption:
    began, parts, replies = time.perf_counter(), [], []
    for start, end, wav in client.windows(clip, params.rate, params.window):
        replies.append(complete(Prompt(messages=messages(params.prompt, wav)), asked))
        parts.append((start, end, without_thoughts(replies[-1].text).strip()))
    costs = [one.cost for one in replies]
    meta = {
        "duration_s": round(parts[-1][1], 3),
        "windows": [{"start": round(start, 3), "end": round(end, 3), "text": text} for start, end, text in parts],
        "finish": [one.finish for one in replies],
        "model": replies[-1].model,
        "input_tokens": sum(one.input_tokens or 0 for one in replies),
        "output_tokens": sum(one.output_tokens or 0 for one in replies),
        "cost": None if None in costs else sum(cost for cost in costs if cost is not None),
        "seconds": round(time.perf_counter() - began, 3),
        "litellm": version("litellm"),
    }
    return Caption(text=speech.clip_line(parts), meta=meta)


def messages(prompt: str, wav: bytes) -> tuple[dict[str, Any], ...]:
    """The chat messages that carry a clip: the prompt's parts, the clip at the end of the user's."""
    sound = {"type": "input_audio", "input_audio": {"data": base64.b64encode(wav).decode(), "format": "wav"}}
    said = dict(templates.parts(templates.Template(name="", text=prompt))) or {"user": prompt}
    words = [{"type": "text", "text": said["user"]}] if said["user"].strip() else []
    system = [{"role": "system", "content": said["system"]}] if "system" in said else []
    return (*system, {"role": "user", "content": [*words, sound]})
