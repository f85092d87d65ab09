"""Transcripts by OpenAI's Whisper.

Samples go in as arrays, so no ffmpeg is needed. A clip is transcribed in windows of at most 30 s, cut at quiet moments,
at temperature 0, without fallback and without conditioning on previous text. Where a window's last sentence is
unfinished, the rest is transcribed again as a window of its own, as in Whisper's own transcription. The rules for what
is no speech are those of `faster-whisper`; a window that repeats itself so much that it will be dropped is not decoded
to its end.

On a GPU the windows of all clips are decoded together, always in sixteen rows, so the arithmetic has one shape whatever
the batch neighbours are. A row that ends goes on with the next window; clips are decoded and spectrograms made ahead on
a thread. On a processor one thread transcribes one clip, several clips at a time: a row's last bits would depend on its
place in a batch there, and eight rows on all cores were no faster.
"""

from __future__ import annotations

import io
import os
import re
import sys
import time
import warnings
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, redirect_stderr
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from operator import itemgetter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from cascade import plugins
from cascade.captioners import speech, torch_device
from cascade.captioners.whisper import decoder
from cascade.errors import ClipError, MissingExtra, UnknownName, UserError
from cascade.io import audio
from cascade.types import Caption, Captioner, Failure, Host

VERSION = "3"
SLOT = "speech"
NEEDS = dict.fromkeys(("whisper", "soundfile", "av", "soxr"), "pip install 'audio-cascade[whisper]'")
FILES = {"model": None}
lanes = torch_device.workers

ROWS = 16  # windows decoded together on a GPU, always
SHORTEST = 0.5  # seconds; a shorter rest gets no window of its own
PROGRESS = 1.0  # seconds that a window must finish, or its rest would never end


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    """What may change a transcript.

    `model`: a size ("turbo", "large-v3", …), fetched once and checked by Whisper itself, or a checkpoint's path.
    `compute`: float32, or float16 on a GPU.
    `language`: a code such as "fr"; "" is detected in each window. English-only models transcribe English.
    `beam_size`: 1, greedy; with more, Whisper's own code searches, a window at a time.
    `times`, `vad` and the thresholds mean what they mean for `faster-whisper`; `vad` needs its package.
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
class ClipResult:
    """The windows and segments of one clip so far, as `meta` has them; `seconds` is the time they took.

    `decoding` is the part of `meta` that says what is not as in the file.
    """

    windows: list[dict[str, Any]] = field(default_factory=list)
    segments: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0
    decoding: dict[str, Any] = field(default_factory=dict)
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class Window:
    """A piece of a clip to be transcribed: the clip's number, its first sample, its samples, the voices in it."""

    clip: int
    start: int
    samples: audio.Samples
    voices: list[tuple[float, float]] | None


def make(params: Params, host: Host) -> Captioner:
    """Return the transcriber, with its model loaded.

    Raises UnknownName for a model or language that does not exist, UserError for a model that cannot be had or loaded.
    """
    from whisper.tokenizer import LANGUAGES

    if params.vad and not plugins.is_installed("faster_whisper"):
        raise MissingExtra("vad=true", "faster_whisper", "pip install 'audio-cascade[local]'")
    device = torch_device.prepare(host)
    if params.compute not in ("float32", "float16") or (params.compute == "float16" and device == "cpu"):
        raise UserError(
            f"speech.compute={params.compute}: on {device} whisper computes in float32; use compute=float32"
        )
    model = load_checkpoint(params.model, host, device, params.compute)
    known = LANGUAGES if model.is_multilingual else ["en"]
    if params.language and params.language not in known:
        raise UnknownName("language", params.language, known, f"for the model {params.model!r}")
    about = {
        "openai-whisper": version("openai-whisper"),
        "torch": version("torch"),
        "device": device,
        "compute": params.compute,
        "weights": host.files[params.model].name if params.model in host.files else params.model,
        "languages": speech.LANGUAGES[bool(model.is_multilingual)],
    }
    return partial(_transcribe, params, model, about)


def absent(params: Params, host: Host) -> tuple[str, str] | None:
    """Return what is to be fetched before the first clip and from where; None where the weights are here."""
    package = find_spec("whisper")
    # The list stands in the package's source, whose import takes seconds.
    source = Path(package.origin).read_text(encoding="utf-8") if package and package.origin else ""
    listed = dict(re.findall(r'"([\w.-]+)": "(https://[^"]+)"', source))
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "whisper"
    address = listed.get(params.model, "")
    if params.model in host.files or not address or (folder / Path(address).name).is_file():
        return None
    return f"{Path(address).name}; or give --caption-param speech.model=FILE.pt", address


def load_checkpoint(name: str, host: Host, device: str, compute: str) -> Any:
    """Return the model of that name, or of the checkpoint that the host has for it, its weights in that arithmetic.

    Raises UnknownName for a size that does not exist, UserError for what cannot be fetched or is no checkpoint.
    """
    import torch
    import whisper

    path = host.files.get(name)
    if path is None and name not in whisper.available_models():
        raise UnknownName("model", name, whisper.available_models(), "or give a checkpoint: speech.model=PATH")
    try:
        with quietly():
            model = whisper.load_model(str(path or name), device="cpu")
            decoder.load_tokenizer(model)
    except torch_device.DAMAGED as error:
        reason = f"({type(error).__name__}: {' '.join(str(error).split())[:120]})"
        if path is None or isinstance(error, OSError):
            raise UserError(
                f"whisper's {name!r} cannot be fetched {reason}; give a checkpoint: "
                "--caption-param speech.model=/path/to/model.pt, or use --captions speech=faster-whisper "
                "(in rounds: --rounds-with transcribe=faster-whisper)"
            ) from None
        raise UserError(f"speech.model={path}: no Whisper checkpoint {reason}") from None
    # A sparse buffer, which some devices cannot hold; only word times would need it.
    model.register_buffer("alignment_heads", model.alignment_heads.to_dense(), persistent=False)
    if compute == "float16":
        model.half()
        for module in model.modules():
            if isinstance(module, torch.nn.LayerNorm):
                module.float()  # Whisper computes the norms in float32.
    return model.to(device).eval()


@contextmanager
def quietly() -> Iterator[None]:
    """Hide whisper's progress bar where stderr is no terminal, and warnings of files that it leaves open."""
    hidden = nullcontext() if sys.stderr.isatty() else redirect_stderr(io.StringIO())
    with warnings.catch_warnings(), hidden:
        warnings.simplefilter("ignore")
        yield


def _transcribe(params: Params, model: Any, about: Mapping[str, str], clips: Sequence[Path]) -> list[Caption | Failure]:
    """Return every clip's caption; as many windows as are decoded together are in memory, whatever the clips are."""
    results = [ClipResult() for _ in clips]
    rests: deque[Window] = deque()
    began = time.perf_counter()
    prepared: Iterator[tuple[Window, Any]] = (
        (window, _mel(model, window.samples)) for window in _windows(params, clips, results)
    )
    if _rows(model) > 1:
        prepared = torch_device.prefetch(prepared, ROWS)
    for decoded in _decode(params, model, _features(model, rests, prepared)):
        result = results[decoded.window.clip]
        rests.extend(_add(params, result, decoded))
        result.seconds += time.perf_counter() - began
        began = time.perf_counter()
    captions: list[Caption | Failure] = []
    for result in results:
        windows = sorted(result.windows, key=itemgetter("start"))
        segments = sorted(result.segments, key=itemgetter("start"))
        extra = {**about, **result.decoding}
        captions.append(result.failure or speech.make_caption(params, windows, segments, result.seconds, extra))
    return captions


def _windows(params: Params, clips: Sequence[Path], results: list[ClipResult]) -> Iterator[Window]:
    """Yield every window to be decoded; write windows without a voice, and the failures of bad clips, to `results`."""
    for number, clip in enumerate(clips):
        try:
            blocks = audio.blocks(clip, speech.RATE, 30.0)
            for window in speech.voiced_windows(blocks, results[number].windows, vad=params.vad):
                yield Window(number, *window)
            results[number].decoding = blocks.meta
        except ClipError as error:
            results[number].failure = error.failure()


def _mel(model: Any, samples: audio.Samples) -> Any:
    import torch
    from whisper.audio import N_SAMPLES, log_mel_spectrogram, pad_or_trim

    return log_mel_spectrogram(pad_or_trim(torch.from_numpy(samples), N_SAMPLES), model.dims.n_mels)


def _features(model: Any, rests: deque[Window], prepared: Iterator[tuple[Window, Any]]) -> Iterator[tuple[Window, Any]]:
    """Yield windows with the encoder's output, shape (1, positions, width): the rests of windows before new ones."""
    import torch

    dtype = model.encoder.conv1.weight.dtype
    with torch.no_grad():
        while True:
            if rests:
                window = rests.popleft()
                mel = _mel(model, window.samples)
            elif (following := next(prepared, None)) is not None:
                window, mel = following
            else:
                return
            # One at a time: in a batch the last bits would depend on the batch neighbours.
            yield window, model.encoder(mel[None].to(model.device, dtype))


def _rows(model: Any) -> int:
    return {"cpu": 1}.get(model.device.type, ROWS)


def _decode(params: Params, model: Any, windows: Iterator[tuple[Window, Any]]) -> Iterator[decoder.DecodedWindow]:
    language = params.language or ("" if model.is_multilingual else "en")
    if params.beam_size > 1:
        return decoder.beam_search(model, windows, language, params.beam_size)
    # A window that repeats itself so much will be dropped, whatever follows.
    hopeless = 2 * params.max_compression + 1
    return decoder.Decoder(model, _rows(model), language, hopeless).decode(windows)


def _add(params: Params, result: ClipResult, decoded: decoder.DecodedWindow) -> list[Window]:
    """Add a decoded window to its clip's result; return the rest of the window, if it must be transcribed again."""
    window: Window = decoded.window
    begin, length = window.start / speech.RATE, len(window.samples) / speech.RATE
    spans, done = decoder.split_segments(decoded.tokens, decoded.tokenizer)
    scores = {name: getattr(decoded, name) for name in ("avg_logprob", "no_speech_prob", "compression_ratio")}
    segments, tokens = [], len(decoded.tokens)
    for start, stop, text in spans:
        segment = SimpleNamespace(start=start, end=stop, text=text, **scores)
        segments.append(speech.describe_segment(params, begin, begin + length, segment, window.voices, tokens))
    end = length
    # The rest of a window without speech is not transcribed: Whisper would go on inventing.
    has_speech = not all(segment["dropped"] for segment in segments)
    if has_speech and done is not None and done >= PROGRESS and length - done >= SHORTEST:
        end = done
        if len(spans) > 1 and spans[-1][0] >= done:
            del segments[-1]
    result.segments += [segment for segment in segments if segment["text"]]
    result.windows.append(speech.describe_window(begin, begin + end, decoded.language, decoded.language_probability))
    if end == length:
        return []
    cut = round(end * speech.RATE)
    voices = None
    if window.voices is not None:
        voices = [(start - end, stop - end) for start, stop in window.voices if stop > end]
    return [Window(window.clip, window.start + cut, window.samples[cut:], voices)]
