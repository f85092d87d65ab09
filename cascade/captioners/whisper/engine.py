"""What is said in a clip, by OpenAI's Whisper.

Samples go in as arrays, so no ffmpeg is needed. A clip is heard in windows of at most 30 s, cut at quiet moments, at
temperature 0, with no fallback and no conditioning on previous text. Where a window's last sentence is unfinished, the
rest is heard again as a window of its own, as Whisper's own transcription does. What is dropped as no speech is decided
as `faster-whisper` does; a window that repeats itself beyond the gate's bound, and would be dropped, is not heard on.

On a GPU the windows of all clips are decoded side by side, always in sixteen rows, so the arithmetic has one shape
whatever the company; a row that ends goes on with the next window, and clips are decoded and spectrograms made ahead on
a thread. On a processor each clip is heard alone, by one thread, and several side by side: a row's last bits would
depend on its place in a batch there, and eight rows on all cores were no faster.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from cascade.captioners import speech, torch_device
from cascade.captioners.whisper import checkpoint, decoder
from cascade.errors import ClipError, UserError
from cascade.io import audio
from cascade.types import Caption, Captioner, Failure, Host

if TYPE_CHECKING:
    from cascade.io.audio import Samples

VERSION = "2"
SLOT = "speech"
NEEDS = dict.fromkeys(("whisper", "soundfile", "av", "soxr"), "pip install 'audio-cascade[whisper]'")
FILES = {"model": None}
lanes = torch_device.lanes  # on a GPU windows are rows of one batch

ROWS = 16  # windows decoded together on a GPU, always
LEAST = 0.5  # seconds; less than that is not worth a window of its own
AHEAD = 1.0  # seconds that a window must get on, or it would be heard for ever


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    """What may change a transcript.

    `model`: a size ("turbo", "large-v3", …), fetched once and checked by Whisper itself, or a checkpoint's path.
    `compute`: float32, or float16 on a GPU.
    `language`: a code such as "fr"; "" is detected in each window. English-only models hear English.
    `beam_size`: 1, greedy; more are searched by Whisper's own code, a window at a time.
    `times`, `vad` and the gate's bounds are `faster-whisper`'s, and say the same; `vad` needs its package.
    """

    model: str = "turbo"
    compute: str = "float32"
    language: str = ""
    beam_size: int = 1
    times: bool = False
    vad: bool = False
    max_compression: float = 2.4
    max_no_speech: float = 0.6
    sure_logprob: float = -0.65
    min_logprob: float = -1.5
    short_logprob: float = -1.0


@dataclass(slots=True, kw_only=True)
class _Clip:
    """What has been heard of one clip so far."""

    windows: list[dict[str, Any]] = field(default_factory=list)
    segments: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class _Window:
    """A piece of a clip that is to be heard: whose it is, the sample it starts at, and its samples."""

    clip: int
    start: int
    samples: Samples
    voice: list[tuple[float, float]] | None


def make(params: Params, host: Host) -> Captioner:
    """The transcriber, with its model loaded.

    Raises UnknownName for a model or language that does not exist, UserError for a model that cannot be had or loaded.
    """
    speech.check(params.vad)
    device = torch_device.device(host)
    if params.compute not in ("float32", "float16") or (params.compute == "float16" and device == "cpu"):
        raise UserError(
            f"speech.compute={params.compute}: on {device} whisper computes in float32; use compute=float32"
        )
    model = checkpoint.load_checkpoint(params.model, host, device, params.compute)
    checkpoint.check_language(params.language, params.model, model)
    about = {
        "openai-whisper": version("openai-whisper"),
        "torch": version("torch"),
        "device": device,
        "compute": params.compute,
        "weights": host.files[params.model].name if params.model in host.files else params.model,
    }

    def caption(clips: Sequence[Path]) -> list[Caption | Failure]:
        return _captions(params, model, about, clips)

    return caption


def absent(params: Params, host: Host) -> tuple[str, str] | None:
    """What is to be fetched before the first clip, and from where; None where the weights are here."""
    import whisper

    if params.model in host.files or params.model not in whisper.available_models():
        return None
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "whisper"
    address: str = whisper._MODELS[params.model]
    here = (folder / Path(address).name).is_file()
    return None if here else (f"{Path(address).name}; or give speech.model=FILE.pt", address)


def _captions(params: Params, model: Any, about: Mapping[str, str], clips: Sequence[Path]) -> list[Caption | Failure]:
    """Every clip's caption; holds as many windows as are decoded together, however many and long the clips are."""
    heard = [_Clip() for _ in clips]
    rests: deque[_Window] = deque()
    began = time.perf_counter()
    for found in _decoded(params, model, _features(model, rests, _prepared(params, model, clips, heard))):
        row = found.window
        rests.extend(_take(params, heard[row.clip], row, found))
        heard[row.clip].seconds += time.perf_counter() - began
        began = time.perf_counter()
    return [one.failure or speech.caption(params, *_by_time(one), one.seconds, about) for one in heard]


def _by_time(one: _Clip) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    def start(part: Mapping[str, Any]) -> float:
        return float(part["start"])

    return sorted(one.windows, key=start), sorted(one.segments, key=start)


def _prepared(params: Params, model: Any, clips: Sequence[Path], heard: list[_Clip]) -> Iterator[tuple[_Window, Any]]:
    """Every window to be decoded with its spectrogram, on a GPU made ahead; a clip that is bad says so in `heard`."""
    made = ((window, _mel(model, window.samples)) for window in _windows(params, clips, heard))
    return made if _rows(model) == 1 else torch_device.prefetch(made, ROWS)


def _windows(params: Params, clips: Sequence[Path], heard: list[_Clip]) -> Iterator[_Window]:
    for number, clip in enumerate(clips):
        try:
            for start, samples in speech.windows(audio.blocks(clip, speech.RATE, 30.0)):
                voice = speech.voices(samples) if params.vad else None
                if voice == []:
                    heard[number].windows.append(speech.silent(start, samples))
                else:
                    yield _Window(number, start, samples, voice)
        except ClipError as error:
            heard[number].failure = error.failure()


def _mel(model: Any, samples: Samples) -> Any:
    import torch
    from whisper.audio import N_SAMPLES, log_mel_spectrogram, pad_or_trim

    return log_mel_spectrogram(pad_or_trim(torch.from_numpy(samples), N_SAMPLES), model.dims.n_mels)


def _features(
    model: Any, rests: deque[_Window], coming: Iterator[tuple[_Window, Any]]
) -> Iterator[tuple[_Window, Any]]:
    """Windows with the encoder's output, shape (1, positions, width): what remains of earlier ones before new ones."""
    import torch

    kind = model.encoder.conv1.weight.dtype
    with torch.no_grad():
        while True:
            window = rests.popleft() if rests else None
            made = (window, _mel(model, window.samples)) if window else next(coming, None)
            if made is None:
                return
            # One at a time: in a batch the last bits would depend on the neighbours.
            yield made[0], model.encoder(made[1][None].to(model.device, kind))


def _rows(model: Any) -> int:
    return 1 if model.device.type == "cpu" else ROWS


def _decoded(params: Params, model: Any, windows: Iterator[tuple[_Window, Any]]) -> Iterator[Any]:
    language = params.language or ("" if model.is_multilingual else "en")
    if params.beam_size > 1:
        return decoder.beam_search(model, windows, language, params.beam_size)

    def hopeless(ratio: float) -> bool:  # the gate will drop the window, whatever else it may say
        return ratio > 2 * params.max_compression + 1

    return decoder.Decoder(model, _rows(model), language, hopeless).decode(windows)


def _take(params: Params, clip: _Clip, row: _Window, found: Any) -> list[_Window]:
    """Add to the clip what a window said; what remains to be heard of the window."""
    begin, length = row.start / speech.RATE, len(row.samples) / speech.RATE
    spans, done = decoder.spans(found.tokens, found.words)
    made = [speech.segment(params, begin, begin + length, _said(found, *span), row.voice) for span in spans]
    # Nothing is asked again of a window that said no speech: it would go on inventing.
    rest = length - done if done is not None and not all(segment["dropped"] for segment in made) else 0.0
    end = length
    if done is not None and done >= AHEAD and rest >= LEAST:
        made, end = made[:-1] if len(spans) > 1 and spans[-1][0] >= done else made, done
    clip.segments += [segment for segment in made if segment["text"]]
    clip.windows.append(speech.window(begin, begin + end, found.language, found.language_probability))
    if end == length:
        return []
    cut = round(end * speech.RATE)
    voice = None if row.voice is None else [(start - end, stop - end) for start, stop in row.voice if stop > end]
    return [_Window(row.clip, row.start + cut, row.samples[cut:], voice)]


def _said(found: Any, start: float, end: float, text: str) -> Any:
    return SimpleNamespace(
        start=start,
        end=end,
        text=text,
        avg_logprob=found.avg_logprob,
        no_speech_prob=found.no_speech_prob,
        compression_ratio=found.compression_ratio,
    )
