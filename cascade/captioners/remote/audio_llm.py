"""Captions by any chat model that takes audio, through litellm.

A clip is sent as a mono WAV file in the message, after the captioning prompt, or alone for models trained to
caption. A clip longer than `window` is sent in parts, cut at quiet moments, and its caption has times.

With `question=true` the listener is shown the question and the choices, these in alphabetical order, and is asked for
observations. A sentence that states an answer is moved from the caption to its meta.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from operator import attrgetter
from pathlib import Path
from typing import Any

from cascade.captioners import speech
from cascade.captioners.registry import LATER
from cascade.captioners.remote import client
from cascade.errors import UnknownName, UserError
from cascade.io import audio, encoding
from cascade.io.encoding import audio_part
from cascade.llms import litellm
from cascade.prompting import templates
from cascade.prompting.listening import without_answer
from cascade.prompting.thinking import without_thoughts
from cascade.types import Caption, Captioner, CaptionInput, Completion, Host, Prompt

VERSION = "1"
SLOT = "any"
NEEDS, lanes, lacks = client.NEEDS, client.lanes, client.lacks
rejects = partial(client.rejects, client.PAGE)

_Part = tuple[float, float, bytes]  # the start and the end in seconds, and the WAV file
_Encoded = tuple[Iterable[_Part], audio.Blocks]
_LARGEST_KEPT = 64 << 20  # bytes of a clip's parts together: 16 kHz, 10 minutes and their segments have 38 million

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
    `question`: show the listener the question and the choices; the prompt is then "observe" unless one is given.
    `segments`: 3 sends the clip whole and then its thirds; a clip longer than `window` is sent in its parts alone.
    `keep_answer`: leave an answer that the listener states in the text.
    """

    model: str
    prompt: str = "caption"
    temperature: str = "0"
    max_tokens: int = 1024
    rate: int = 16_000
    window: float = 600.0
    question: bool = field(default=False, metadata=LATER)
    segments: int = field(default=1, metadata=LATER)
    keep_answer: bool = field(default=False, metadata=LATER)


def needs_question(params: Mapping[str, Any]) -> bool:
    """Return whether the listener is shown the question."""
    return params.get("question") is True


def turned(params: Mapping[str, Any], *, asks: bool) -> dict[str, Any]:
    """Return the parameters of the same listener with (`asks`) or without the question, using the shipped prompt."""
    kept = {name: value for name, value in params.items() if name not in ("prompt", "question", "keep_answer")}
    return {**kept, "question": asks}


def spelled(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters with a preset filled in and the prompt's name replaced by its text."""
    params = dict(given)
    preset = params.pop("preset", None)
    if preset is not None and preset not in PRESETS:
        raise UnknownName("preset", str(preset), PRESETS)
    params = {**PRESETS.get(preset or "", {}), **params}
    asks = str(params.get("question", "")).lower() == "true"
    prompt = str(params.get("prompt", "observe" if asks else "caption"))
    return {**params, "prompt": templates.captioning_prompt(prompt, asks=asks)}


def make(params: Params, host: Host) -> Captioner:
    """Return the captioner. Raises UserError for parameters that cannot be, ProviderStop for an unknown model."""
    client.check("audio-llm", params, host)
    if not 1 <= params.segments <= 9:
        raise UserError(f"audio-llm's segments={params.segments}: 1 to 9; 3 hears the clip whole and then its thirds")
    if params.keep_answer and not params.question:
        raise UserError("audio-llm's keep_answer=true: nothing is taken out without question=true; leave it out")
    call_options(params)
    connection = litellm.chat_model(
        params.model, host.endpoints.get(params.model), None, host.timeout, f"audio-llm's model={params.model}"
    )
    encode = client.RecentClips(partial(_keep_parts, params)) if params.question else None
    caption, cost = partial(caption_clip, params, encode=encode), attrgetter("cost")
    return client.RemoteCaptioner(connection, host, caption, cost, lambda reply: rejects(reply.text), params.model)


def call_options(params: Params) -> dict[str, Any]:
    """Return the parameters of a call to the model. Raises UserError for an invalid temperature."""
    options: dict[str, Any] = {"max_tokens": params.max_tokens}
    if params.temperature == "none":
        return options
    try:
        return {"temperature": float(params.temperature), **options}
    except ValueError:
        raise UserError(f"audio-llm's temperature={params.temperature}: a number, or none") from None


def caption_clip(
    params: Params,
    complete: Callable[..., Completion],
    clip: Path | CaptionInput,
    encode: Callable[[Path], _Encoded | None] | None = None,
) -> Caption:
    """Return the caption of a clip by the model's call, `complete`, which waits for the reply.

    `encode` returns the parts that all questions about a clip share, or None for a clip that is encoded each time.
    """
    options = call_options(params)
    began, parts, replies, answers = time.perf_counter(), list[tuple[float, float, str]](), list[Completion](), []
    given, fields = CaptionInput(), None
    if isinstance(clip, CaptionInput):
        given, clip = clip, clip.clip or Path()
        fields = {"question": given.question, "choices": "\n".join(given.choices)}
    encoded = encode(clip) if encode else None
    sent, decoded = encoded or _encode_parts(params, clip)
    for start, end, wav in sent:
        reply = complete(Prompt(messages=messages(params.prompt, wav, fields)), options)
        replies.append(reply)
        text = without_thoughts(reply.text).strip()
        if params.question and not params.keep_answer:
            text, answer = without_answer(text, given.choices)
            answers += [answer] * bool(answer)
        parts.append((start, end, text))
    costs = [reply.cost for reply in replies if reply.cost is not None]
    records = [{"start": round(start, 3), "end": round(end, 3), "text": text} for start, end, text in parts]
    # No `windows` here: a prompt would show them instead of this text, which has headings for the clip and its thirds.
    overlap = len(parts) > 1 and parts[1][0] == 0
    meta = {
        "duration_s": records[-1]["end"],
        "segments" if overlap else "windows": records,
        "finish": [reply.finish for reply in replies],
        "model": replies[-1].model,
        "input_tokens": sum(reply.input_tokens or 0 for reply in replies),
        "output_tokens": sum(reply.output_tokens or 0 for reply in replies),
        "cost": sum(costs) if len(costs) == len(replies) else None,
        "seconds": round(time.perf_counter() - began, 3),
        "litellm": version("litellm"),
        **decoded.meta,
    }
    if answers:
        meta["answers"] = answers
    if any(reply.is_cut for reply in replies):
        meta["truncated"] = True
    if not overlap:
        return Caption(text=speech.join_windows(parts), meta=meta)
    headings = ["The whole clip", *(f"{start:.1f}-{end:.1f} s" for start, end, _ in parts[1:])]
    sections = [f"{heading}:\n{text}" for heading, (_, _, text) in zip(headings, parts, strict=True)]
    return Caption(text="\n\n".join(sections), meta=meta)


def _encode_parts(params: Params, clip: Path) -> _Encoded:
    """Return the parts of a clip, each encoded when it is taken, and the blocks that they are read from."""
    blocks = audio.blocks(clip, params.rate, 30.0)
    return _parts(params, clip, blocks), blocks


def _keep_parts(params: Params, clip: Path) -> _Encoded | None:
    """Return the parts of a clip in memory; None for a clip whose parts are too large together."""
    parts, blocks = _encode_parts(params, clip)
    kept: list[_Part] = []
    size = 0
    for part in parts:
        kept.append(part)
        size += len(part[2])
        if size > _LARGEST_KEPT:
            return None
    return kept, blocks


def _parts(params: Params, clip: Path, blocks: audio.Blocks) -> Iterator[_Part]:
    """Yield the parts of a clip. Raises ClipError.

    These are its windows; where it is a single one, its `segments` of equal length follow.
    """
    windows = [0.0]
    for start, end, wav in client.wav_windows(blocks, params.window):
        windows.append(end)
        yield start, end, wav
    if params.segments > 1 and len(windows) == 2:
        start, samples_each = 0.0, -(-round(windows[1] * params.rate) // params.segments)
        for samples in audio.blocks(clip, params.rate, samples_each / params.rate):
            end = start + len(samples) / params.rate
            yield start, end, encoding.wav(samples, params.rate)
            start = end


def messages(prompt: str, wav: bytes, fields: Mapping[str, str] | None = None) -> tuple[dict[str, Any], ...]:
    """Return the chat messages that carry a clip: the prompt's parts, with the clip at the end of the user's.

    `fields` are filled into a prompt that shows the question.
    """
    template = templates.Template(name="", text=prompt)
    parts = dict(templates.parts(template)) or {"user": prompt}
    if fields:
        parts = {str(message["role"]): str(message["content"]) for message in templates.fill(template, fields)}
    content: list[dict[str, Any]] = []
    if parts["user"].strip():
        content.append({"type": "text", "text": parts["user"]})
    content.append(audio_part(wav, "wav"))
    user = {"role": "user", "content": content}
    if "system" not in parts:
        return (user,)
    return {"role": "system", "content": parts["system"]}, user
