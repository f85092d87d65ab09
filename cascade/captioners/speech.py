"""What the Whisper engines share: windows cut at quiet moments, the rules for what is no speech, the caption."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from itertools import groupby
from typing import TYPE_CHECKING, Any, Protocol

from cascade.errors import MissingExtra
from cascade.types import Caption

if TYPE_CHECKING:
    from cascade.io.audio import Samples

RATE = 16_000  # Hz, what Whisper hears
WINDOW = 30 * RATE  # samples, what its encoder holds
SEARCH = 5  # seconds at a full window's end, where the cut is looked for
SHORT = 3  # words; what is invented for sounds is seldom longer ("Thank you.", "you")
TOKENS = 224  # a window, half of the decoder's context, as Whisper's own decoding has it: a loop ends there


class SpeechThresholds(Protocol):
    """The gate's bounds and what is told, as an engine's parameters have them."""

    @property
    def times(self) -> bool: ...
    @property
    def max_compression(self) -> float: ...
    @property
    def max_no_speech(self) -> float: ...
    @property
    def sure_logprob(self) -> float: ...
    @property
    def min_logprob(self) -> float: ...
    @property
    def short_logprob(self) -> float: ...


def windows(blocks: Iterator[Samples], longest: int = WINDOW, rate: int = RATE) -> Iterator[tuple[int, Samples]]:
    """Windows of at most 30 s (`longest` samples, whole tenths of a second) with the sample each starts at.

    Holds a window and a block, however long the clip is.
    """
    import numpy as np

    start, held = 0, np.zeros(0, np.float32)
    for block in blocks:
        held = np.concatenate([held, block])
        while len(held) > longest:
            cut = quiet(held, longest, rate)
            yield start, held[:cut]
            start, held = start + cut, held[cut:]
    if len(held):
        yield start, held


def quiet(samples: Samples, longest: int = WINDOW, rate: int = RATE) -> int:
    """Where to cut: the middle of the quietest tenth of a second in the last five of a full window."""
    begin, step = longest - min(SEARCH * rate, longest // 2 // (rate // 10) * (rate // 10)), rate // 10
    steps = samples[begin:longest].reshape(-1, step)
    return begin + int((steps**2).mean(axis=1).argmin()) * step + step // 2


def check(vad: bool) -> None:
    """Raise MissingExtra where the detector of voices is asked for and not installed."""
    if vad and find_spec("faster_whisper") is None:
        raise MissingExtra("vad=true", "faster_whisper", "pip install 'audio-cascade[local]'")


def voices(samples: Samples) -> list[tuple[float, float]]:
    """Where Silero's detector hears a voice, in seconds of the window."""
    from faster_whisper.vad import get_speech_timestamps

    return [(span["start"] / RATE, span["end"] / RATE) for span in get_speech_timestamps(samples)]


def silent(start: int, samples: Samples) -> dict[str, Any]:
    """What `meta` says of a window without a voice, which is not transcribed."""
    return window(start / RATE, (start + len(samples)) / RATE, "", None)


def window(begin: float, end: float, language: str, probability: float | None) -> dict[str, Any]:
    """What `meta` says of one window, in seconds of the clip."""
    return {
        "start": round(begin, 3),
        "end": round(end, 3),
        "language": language,
        "language_probability": None if probability is None else round(float(probability), 4),
    }


def segment(
    gate: SpeechThresholds, begin: float, end: float, found: Any, voice: Sequence[tuple[float, float]] | None = None
) -> dict[str, Any]:
    """What `meta` says of one segment of the window from `begin` to `end`; `found` has Whisper's own fields.

    `voice` is what `voices` heard in the window, None where it was not asked.
    """
    # Whisper hears a window as if padded to 30 s, and its times may lie in the padding.
    made = {
        "start": round(min(begin + found.start, end), 2),
        "end": round(min(begin + found.end, end), 2),
        "text": found.text.strip(),
        "avg_logprob": round(float(found.avg_logprob), 4),
        "no_speech_prob": round(float(found.no_speech_prob), 4),
        "compression_ratio": round(float(found.compression_ratio), 3),
    }
    if voice is not None and not any(start < found.end and stop > found.start for start, stop in voice):
        return {**made, "dropped": "no voice"}
    return {**made, "dropped": no_speech(gate, made)}


def no_speech(gate: SpeechThresholds, segment: Mapping[str, Any]) -> str:
    """The rule by which a segment is no speech, or "" for speech."""
    if not any(character.isalnum() for character in segment["text"]):
        return "no words"
    short = len(segment["text"].split()) <= SHORT
    if segment["avg_logprob"] < (gate.short_logprob if short else gate.min_logprob):
        return "improbable"
    doubted = segment["no_speech_prob"] > gate.max_no_speech
    if doubted and segment["avg_logprob"] < gate.sure_logprob:
        return "probably no speech"
    if segment["compression_ratio"] > gate.max_compression * (1 if doubted else 2):
        return "repeats itself"
    return ""


def caption(
    gate: SpeechThresholds,
    windows: Sequence[dict[str, Any]],
    segments: Sequence[dict[str, Any]],
    seconds: float,
    about: Mapping[str, Any],
) -> Caption:
    """The transcript of what is speech, with all that was heard in `meta`; `seconds` is the time it took."""
    kept = [segment for segment in segments if not segment["dropped"]]
    leading = _leading(windows, kept)
    meta = {
        "duration_s": windows[-1]["end"],
        "language": leading["language"],
        "language_probability": leading["language_probability"],
        "segments": list(segments),
        "windows": list(windows),
        "seconds": round(seconds, 3),
        **about,
    }
    if len(kept) < len(segments):
        meta["raw"] = " ".join(segment["text"] for segment in segments)
    return Caption(text=_timed(kept) if gate.times else " ".join(segment["text"] for segment in kept), meta=meta)


def _timed(kept: Sequence[Mapping[str, Any]]) -> str:
    return "\n".join(f"{segment['start']:.1f}-{segment['end']:.1f} s: {segment['text']}" for segment in kept)


def _leading(windows: Sequence[dict[str, Any]], kept: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The window whose language stands for the clip: the first with speech, else the first."""
    starts = [segment["start"] for segment in kept]
    return next((w for w in windows if any(w["start"] <= start < w["end"] for start in starts)), windows[0])


def clip_line(parts: Sequence[tuple[float, float, str]]) -> str:
    """The clip's line from (start, end, text) of its windows: text alone where there is one, else with times."""
    runs = [list(run) for _, run in groupby(parts, key=lambda part: part[2])]
    if len(runs) == 1:
        return runs[0][0][2]
    return " ".join(f"{run[0][0]:.0f}-{run[-1][1]:.0f} s: {run[0][2]}" for run in runs)
