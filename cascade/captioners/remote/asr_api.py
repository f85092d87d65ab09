"""Transcripts by a transcription endpoint, OpenAI's or any that speaks its protocol, through litellm.

A clip is sent as a mono WAV file without its name; a clip longer than `window` in parts, cut at quiet moments. Where
the endpoint returns segments, the rules for what is no speech are those of `faster-whisper`.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import isfinite
from operator import itemgetter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from cascade.captioners import speech
from cascade.captioners.remote import client
from cascade.errors import Transient, UserError
from cascade.io import audio
from cascade.llms import litellm
from cascade.types import Caption, Captioner, Host

VERSION = "1"
SLOT = "speech"
NEEDS, lanes, lacks = client.NEEDS, client.lanes, client.lacks
FORMATS = ("verbose_json", "json")
# A page, JSON within the text, and formats with times: none of them was asked for.
_OTHER = re.compile(rf"{client.PAGE.pattern}|\s*(?:[{{\[]\s*[\"{{]|WEBVTT|\d+\s+[\d:]+,\d+\s+-->)", re.IGNORECASE)
rejects = partial(client.rejects, _OTHER)


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    """What may change a transcript; `api_base=URL` beside them is the model's address, and not part of the key.

    `model`: litellm's name of a transcription model.
    `format`: verbose_json has segments, which the thresholds need; json is for models that refuse it.
    `language`: a code such as "fr"; "" is for the endpoint to detect.
    `hint`: a text that the endpoint may take names and style from (its `prompt`).
    `rate` (Hz) and `window` (seconds): of what is sent.
    `times` and the thresholds mean what they mean for `faster-whisper`.
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
    """Return the transcriber. Raises UserError for parameters that cannot be, ProviderStop for an unknown model."""
    client.check(SLOT, params, host)
    if params.format not in FORMATS:
        raise UserError(f"{SLOT}.format={params.format}: {' or '.join(FORMATS)}")
    connection = litellm.transcription_model(
        params.model, host.endpoints.get(params.model), host.timeout, f"speech.model={params.model}"
    )
    caption, cost = partial(_caption, params), itemgetter("cost")
    return client.RemoteCaptioner(connection, host, caption, cost, lambda reply: rejects(reply["text"]), params.model)


def _caption(params: Params, transcribe: Callable[..., dict[str, Any]], clip: Path) -> Caption:
    began, windows, segments, costs = time.perf_counter(), [], [], []
    given = {"response_format": params.format, "temperature": 0, "language": params.language, "prompt": params.hint}
    options = {name: value for name, value in given.items() if value != ""}
    blocks = audio.blocks(clip, params.rate, 30.0)
    for start, end, wav in client.wav_windows(blocks, params.window):
        reply = transcribe(wav, options)
        windows.append(speech.describe_window(start, end, str(reply.get("language") or params.language)[:40]))
        segments += [speech.describe_segment(params, start, end, segment) for segment in _segments(reply, end - start)]
        costs.append(reply["cost"])
    about = {"model": params.model, "cost": None if None in costs else sum(costs), **blocks.meta}
    return speech.make_caption(params, windows, segments, time.perf_counter() - began, about)


def _segments(reply: dict[str, Any], length: float) -> list[Any]:
    """Return the segments of a reply under Whisper's names; the whole text as one segment where it has none."""
    numbers = {"start": 0.0, "end": length, "avg_logprob": 0.0, "no_speech_prob": 0.0, "compression_ratio": 0.0}
    segments = []
    try:
        for segment in reply.get("segments") or [{}]:
            fields = {**numbers, "text": reply["text"], **segment}
            values = {name: float(fields[name] or 0.0) for name in numbers}
            if not all(map(isfinite, values.values())):
                raise ValueError("a number in them is not finite")
            segments.append(SimpleNamespace(text=str(fields["text"]), **values))
    except (TypeError, ValueError, OverflowError) as error:
        raise Transient("unreadable", f"the segments of the reply cannot be read ({error})") from None
    return segments
