"""What the speech engines share: windows cut at quiet moments, the rules for what is no speech, the caption."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any, Protocol

from cascade.io import audio
from cascade.types import Caption, CaptionRecord

RATE = 16_000  # Hz, the rate that Whisper takes
WINDOW = 30 * RATE  # samples, the length that its encoder takes
SEARCH = 5  # seconds at a full window's end in which the cut is sought
SHORT = 3  # words; what Whisper invents for sounds is seldom longer ("Thank you.", "you")
FEW = 6  # tokens; three of a single word's are its times and the end, of which Whisper is never sure
SCREAMS = 5 / 3  # times `max_compression`; a word said eight times in a row stays under it
# Of real recordings with five words or more, 91 % in 15 other languages, 8 % of an English adventure game's and none of
# the clear English ones have a lower mean log-probability. Shorter ones are not told apart.
ENGLISH_WORDS, ENGLISH_LOGPROB = 5, -0.8
LANGUAGES = {True: "many", False: "en"}  # in `meta`, by whether the model is multilingual
ENGLISH_ONLY = "{0}: the model knows only English; a multilingual model: --caption-param {0}.model=small"
MAX_TOKENS = 224  # a window, half of the decoder's context, as in Whisper's own decoding: a loop ends there


class SpeechThresholds(Protocol):
    """The parameters by which segments are dropped, and whether the transcript has times; see `faster_whisper`."""

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


def split_windows(
    blocks: Iterator[audio.Samples], longest: int = WINDOW, rate: int = RATE
) -> Iterator[tuple[int, audio.Samples]]:
    """Yield windows of at most `longest` samples (whole tenths of a second), each with the sample it starts at.

    A full window ends in the middle of the quietest tenth of its last five seconds. A window and a block are in memory
    at a time, however long the clip is.
    """
    import numpy as np

    step = rate // 10
    first = longest - min(SEARCH * rate, longest // 2 // step * step)
    start, pending = 0, np.zeros(0, np.float32)
    for block in blocks:
        pending = np.concatenate([pending, block])
        while len(pending) > longest:
            power = (pending[first:longest].reshape(-1, step) ** 2).mean(axis=1)
            cut = first + int(power.argmin()) * step + step // 2
            yield start, pending[:cut]
            start, pending = start + cut, pending[cut:]
    if len(pending):
        yield start, pending


def voiced_windows(
    blocks: Iterator[audio.Samples], voiceless: list[dict[str, Any]], *, vad: bool
) -> Iterator[tuple[int, audio.Samples, list[tuple[float, float]] | None]]:
    """Yield the first sample, the samples and the voices of each window that is to be transcribed.

    Voices are the spans that Silero's detector takes for a voice, in seconds of the window; None without `vad`. The
    record of a window without a voice is appended to `voiceless`.
    """
    for first, samples in split_windows(blocks):
        voices = None
        if vad:
            from faster_whisper.vad import get_speech_timestamps

            voices = [(span["start"] / RATE, span["end"] / RATE) for span in get_speech_timestamps(samples)]
        if voices == []:
            voiceless.append(describe_window(first / RATE, (first + len(samples)) / RATE))
        else:
            yield first, samples, voices


def describe_window(start: float, end: float, language: str = "", probability: float | None = None) -> dict[str, Any]:
    """Return the record of one window in `meta`, in seconds of the clip; a window without a voice has no language."""
    return {
        "start": round(start, 3),
        "end": round(end, 3),
        "language": language,
        "language_probability": None if probability is None else round(float(probability), 4),
    }


def describe_segment(
    thresholds: SpeechThresholds,
    begin: float,
    end: float,
    segment: Any,
    voices: Sequence[tuple[float, float]] | None = None,
    tokens: int | None = None,
) -> dict[str, Any]:
    """Return the record in `meta` of a segment, in Whisper's fields, of the window from `begin` to `end` seconds.

    `voices` are those of `voiced_windows`. `tokens` is the number of tokens that the average log-probability covers,
    without the end token; None for an endpoint that does not report it.
    """
    # Whisper pads a window to 30 s, and its times may lie in the padding.
    record = {
        "start": round(min(begin + segment.start, end), 2),
        "end": round(min(begin + segment.end, end), 2),
        "text": segment.text.strip(),
        "avg_logprob": round(float(segment.avg_logprob), 4),
        "no_speech_prob": round(float(segment.no_speech_prob), 4),
        "compression_ratio": round(float(segment.compression_ratio), 3),
    }
    if tokens is not None:
        record["tokens"] = tokens
    if voices is not None and not any(start < segment.end and stop > segment.start for start, stop in voices):
        return {**record, "dropped": "no voice"}
    return {**record, "dropped": no_speech_rule(thresholds, record)}


def no_speech_rule(thresholds: SpeechThresholds, segment: Mapping[str, Any]) -> str:
    """Return the rule by which a segment is no speech, or "" for speech."""
    if not any(character.isalnum() for character in segment["text"]):
        return "no words"
    logprob, no_speech, repetition = segment["avg_logprob"], segment["no_speech_prob"], 2.0
    is_short = len(segment["text"].split()) <= SHORT
    # An endpoint reports no tokens, so its captions keep the older rules.
    if is_short and "tokens" in segment:
        if no_speech <= thresholds.max_no_speech / 2:
            logprob *= min(1, (segment["tokens"] + 1) / FEW)
        if no_speech > thresholds.max_no_speech / 3:
            repetition = SCREAMS
    least = thresholds.short_logprob if is_short else thresholds.min_logprob
    if logprob < least:
        return "improbable"
    if no_speech > thresholds.max_no_speech:
        repetition = 1.0
        if segment["avg_logprob"] < thresholds.sure_logprob:
            return "probably no speech"
    if segment["compression_ratio"] > thresholds.max_compression * repetition:
        return "repeats itself"
    return ""


def make_caption(
    thresholds: SpeechThresholds,
    windows: Sequence[dict[str, Any]],
    segments: Sequence[dict[str, Any]],
    seconds: float,
    about: Mapping[str, Any],
) -> Caption:
    """Return the transcript of the segments that are speech, with every segment in `meta`.

    `seconds` is the time that it took, `about` goes into `meta`.
    """
    kept = [segment for segment in segments if not segment["dropped"]]
    starts = [segment["start"] for segment in kept]
    first = windows[0]  # the first window with speech: its language stands for the clip
    for window in windows:
        if any(window["start"] <= start < window["end"] for start in starts):
            first = window
            break
    meta = {
        "duration_s": windows[-1]["end"],
        "language": first["language"],
        "language_probability": first["language_probability"],
        "segments": list(segments),
        "windows": list(windows),
        "seconds": round(seconds, 3),
        **about,
    }
    if about.get("languages") == "en":
        logprobs = [segment["avg_logprob"] for segment in kept for _ in segment["text"].split()]
        meta["language_doubt"] = len(logprobs) >= ENGLISH_WORDS and sum(logprobs) / len(logprobs) < ENGLISH_LOGPROB
    if len(kept) < len(segments):
        meta["raw"] = " ".join(segment["text"] for segment in segments)
    if thresholds.times:
        text = "\n".join(f"{segment['start']:.1f}-{segment['end']:.1f} s: {segment['text']}" for segment in kept)
    else:
        text = " ".join(segment["text"] for segment in kept)
    return Caption(text=text, meta=meta)


def english_only(captions: Iterable[CaptionRecord], *, doubtful: bool = False) -> list[str]:
    """Return a line for each slot whose model knows only English; with `doubtful` only where one is doubted."""
    english = [caption for caption in captions if caption.meta.get("languages") == "en"]
    lines = []
    for slot in dict.fromkeys(caption.slot for caption in english):
        transcripts = [caption for caption in english if caption.slot == slot]
        names = [caption.item for caption in transcripts if caption.meta.get("language_doubt")]
        line = ENGLISH_ONLY.format(slot)
        if names:
            line += f". {len(names)} of {len(transcripts)} transcripts are improbable (misheard, or another language): "
            line += ", ".join([*names[:3], "…"][: len(names)])
        if names or not doubtful:
            lines.append(line)
    return lines


def join_windows(windows: Sequence[tuple[float, float, str]]) -> str:
    """Return the text of a clip from (start, end, text) of its windows: with times unless all say the same.

    Windows in a row with the same text become one.
    """
    runs = [list(run) for _, run in groupby(windows, key=itemgetter(2))]
    if len(runs) == 1:
        return runs[0][0][2]
    return " ".join(f"{run[0][0]:.0f}-{run[-1][1]:.0f} s: {run[0][2]}" for run in runs)
