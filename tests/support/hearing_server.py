"""A real OpenAI-compatible server that decodes the audio it is sent, with a library of its own, and answers from it.

It shares no code with the package: the base64 is decoded here, and the bytes by libsndfile.
"""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from tests.support.stub_server import Reply, Script

Samples = npt.NDArray[np.float32]
RATE_OF_TOKENS = 10  # a second of audio, as OpenAI counts
DEAF, COUNTED = "deaf", "counted"


def audio_of(request: Mapping[str, Any]) -> tuple[bytes, str] | None:
    """The clip in a request and its format; None where there is none."""
    parts = [
        part for message in request["messages"] if isinstance(message["content"], list) for part in message["content"]
    ]
    clips = [part["input_audio"] for part in parts if part["type"] == "input_audio"]
    assert len(clips) <= 1
    return (base64.b64decode(clips[0]["data"], validate=True), clips[0]["format"]) if clips else None


def text_of(request: Mapping[str, Any]) -> str:
    """The text of the messages, with a mark where the clip stands."""
    texts = []
    for message in request["messages"]:
        content = message["content"]
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
        texts += [part.get("text", "<clip>") for part in parts]
    return "".join(texts)


def decoded(data: bytes) -> tuple[Samples, int]:
    """The samples of a file, mixed to mono, and their rate."""
    import soundfile

    samples, rate = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
    return samples.mean(axis=1), rate


def pitch(samples: Samples, rate: int) -> float:
    """The strongest frequency in Hz; 0 for silence."""
    if np.abs(samples).max() < 1e-3:
        return 0.0
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(spectrum.argmax() * rate / len(samples))


def choices_of(request: Mapping[str, Any]) -> list[str]:
    """The choices, as the prompt lists them."""
    listed = text_of(request).split("Choices:\n")[-1].split("\n\n")[0]
    return listed.splitlines()


def completion(text: str, words: str, seconds: float) -> Reply:
    """A reply whose usage counts the words and the seconds of a prompt."""
    tokens = round(len(re.findall(r"\w+|[^\w\s]", words)) + RATE_OF_TOKENS * seconds)
    message = {"role": "assistant", "content": text}
    usage = {"prompt_tokens": tokens, "completion_tokens": 7, "total_tokens": tokens + 7}
    choice = {"index": 0, "finish_reason": "stop", "message": message}
    whole = {"id": "1", "object": "chat.completion", "created": 1, "model": "ears", "choices": [choice], "usage": usage}
    return Reply(raw=json.dumps(whole).encode())


Ear = Callable[[Samples, int, list[str]], str]


def hears(ear: Ear, *, mode: str = "") -> Script:
    """The script of a server that answers by `ear` from the samples, their rate and the choices.

    Without a clip it takes the first choice. In the mode `deaf` it drops the audio and says nothing about it.
    """

    def script(request: dict[str, Any], number: int) -> Reply:
        clip, choices = audio_of(request), choices_of(request)
        if clip is None or mode == DEAF:
            return completion(f"Answer: {choices[0]}", text_of(request), 0.0)
        samples, rate = decoded(clip[0])
        answer = ear(samples, rate, choices)
        return completion(f"Answer: {answer}", text_of(request), len(samples) / rate)

    return script


def by_pitch(samples: Samples, rate: int, choices: list[str]) -> str:
    """The choice in Hz nearest to the clip's pitch; the first one for silence."""
    hertz = pitch(samples, rate)
    return min(choices, key=lambda choice: abs(float(choice.split()[0]) - hertz)) if hertz else choices[0]
