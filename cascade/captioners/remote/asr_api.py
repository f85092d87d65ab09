"""What is said in a clip, by a transcription endpoint: OpenAI's, or any that speaks its protocol, through litellm.

A clip goes out as a mono WAV file under a name that says nothing; one longer than `window` in parts, cut at quiet
moments. Where the endpoint tells of segments, what is no speech is decided as `faster-whisper` does.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from cascade.captioners import speech
from cascade.captioners.remote import client
from cascade.errors import Transient, UserError
from cascade.llms import litellm
from cascade.types import Caption, Captioner, Host

VERSION = "1"
SLOT = "speech"
NEEDS, lanes, lacks = client.NEEDS, client.lanes, client.lacks
FORMATS = ("verbose_json", "json")


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    """What may change a transcript; `api_base=URL` beside them says who serves the model, and is no part of the key.

    `model`: litellm's name of a transcription model.
    `format`: verbose_json tells segments, which the gate needs; json is for models that refuse it.
    `language`: a code such as "fr"; "" is for the endpoint to find.
    `hint`: a text that the endpoint may lean on for names and style (its `prompt`).
    `rate` (Hz) and `window` (seconds): of what is sent.
    `times` and the gate's bounds are `faster-whisper`'s, and say the same.
    """

    model: str = "whisper-1"
    format: str = "verbose_json"
    language: str = ""
    hint: str = ""
    rate: int = 16_000
    window: float = 600.0
    times: bool = False
    max_compression: float = 2.4
    max_no_speech: float = 0.6
    sure_logprob: float = -0.65
    min_logprob: float = -1.5
    short_logprob: float = -1.0


def make(params: Params, host: Host) -> Captioner:
    """The transcriber. Raises UserError for a format, rate or window that cannot be, ProviderStop for a model."""
    client.check(SLOT, params.rate, params.window)
    client.affordable(params.model, host)
    if params.format not in FORMATS:
        raise UserError(f"{SLOT}.format={params.format}: {' or '.join(FORMATS)}")
    opened = litellm.transcription_model(
        params.model, host.endpoints.get(params.model), host.timeout, f"speech.model={params.model}"
    )

    def caption(transcribe: Callable[..., dict[str, Any]], clip: Path) -> Caption:
        return _caption(params, transcribe, clip)

    return client.Remote(opened, host, caption, lambda reply: reply["cost"])


def _caption(params: Params, transcribe: Callable[..., dict[str, Any]], clip: Path) -> Caption:
    began, windows, segments, costs = time.perf_counter(), [], [], []
    asked = {"response_format": params.format, "temperature": 0, "language": params.language, "prompt": params.hint}
    for start, end, wav in client.windows(clip, params.rate, params.window):
        said = transcribe(wav, {key: value for key, value in asked.items() if value != ""})
        windows.append(speech.window(start, end, str(said.get("language") or params.language), None))
        segments += [speech.segment(params, start, end, one) for one in _segments(said, end - start)]
        costs.append(said["cost"])
    about = {"model": params.model, "cost": None if None in costs else sum(costs)}
    return speech.caption(params, windows, segments, time.perf_counter() - began, about)


def _segments(said: dict[str, Any], length: float) -> list[Any]:
    """The segments of a reply under Whisper's names; where it tells of none, its text as one."""
    sure = {"avg_logprob": 0.0, "no_speech_prob": 0.0, "compression_ratio": 0.0}
    whole = {"start": 0.0, "end": length, "text": said["text"]}
    try:
        return [_segment({**sure, **whole, **one}) for one in said.get("segments") or [whole]]
    except (TypeError, ValueError) as error:
        raise Transient("unreadable", f"the segments of the reply cannot be read ({error})") from None


def _segment(one: dict[str, Any]) -> Any:
    numbers = ("start", "end", "avg_logprob", "no_speech_prob", "compression_ratio")
    return SimpleNamespace(text=str(one["text"]), **{name: float(one[name] or 0.0) for name in numbers})
