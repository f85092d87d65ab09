"""What is said in a clip, by OpenAI's Whisper.

Samples go in as arrays, so no ffmpeg is needed. A clip is heard in windows of at most 30 s, cut at quiet moments, at
temperature 0, with no fallback and no conditioning on previous text. Where a window's last sentence is unfinished, the
rest is heard again as a window of its own, as Whisper's own transcription does. What is dropped as no speech is decided
as `faster-whisper` does.

On a GPU the windows of all clips are decoded side by side, always in eight rows, spare ones repeating the last, so the
arithmetic has one shape whatever the company. On a processor they are decoded one by one: eight rows were no faster
there (16 clips with tiny.en on one core: 30 s, one by one 25 s), and a row's last bits depend on its place.
"""

from __future__ import annotations

import io
import os
import struct
import sys
import time
import warnings
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, redirect_stderr
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from pickle import UnpicklingError
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from cascade import audio
from cascade.errors import UnknownName, UserError
from cascade.types import Caption, Captioner, Host

if TYPE_CHECKING:
    from cascade.audio import Samples

VERSION = "1"
SLOT = "speech"
NEEDS = dict.fromkeys(("whisper", "soundfile", "av", "soxr"), "pip install 'audio-cascade[whisper]'")
FILES = {"model": None}

ROWS = 8  # windows decoded together on a GPU, always
LEAST = 0.5  # seconds; less than that is not worth a window of its own
AHEAD = 1.0  # seconds that a window must get on, or it would be heard for ever


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    """What may change a transcript.

    `model`: a size ("turbo", "large-v3", …), fetched once and checked by Whisper itself, or a checkpoint's path.
    `compute`: float32, or float16 on a GPU.
    `language`: a code such as "fr"; "" is detected in each window. English-only models hear English.
    `beam_size`: 1, greedy.
    The gate's bounds are `faster-whisper`'s, and say the same.
    """

    model: str = "turbo"
    compute: str = "float32"
    language: str = ""
    beam_size: int = 1
    max_compression: float = 2.4
    max_no_speech: float = 0.6
    sure_logprob: float = -0.7
    min_logprob: float = -1.5


@dataclass(slots=True, kw_only=True)
class _Clip:
    """What has been heard of one clip so far."""

    windows: list[dict[str, Any]] = field(default_factory=list)
    segments: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class _Window:
    """A piece of a clip that is to be heard: whose it is, the sample it starts at, and its samples."""

    clip: int
    start: int
    samples: Samples


def make(params: Params, host: Host) -> Captioner:
    """The transcriber, with its model loaded.

    Raises UnknownName for a model or language that does not exist, UserError for a model that cannot be had or loaded.
    """
    from cascade.captioners import _torch

    device = _torch.device(host)
    if params.compute not in ("float32", "float16") or (params.compute == "float16" and device == "cpu"):
        raise UserError(
            f"speech.compute={params.compute}: on {device} whisper computes in float32; use compute=float32"
        )
    model = _loaded(params, host, device)
    _check_language(params, model)
    about = {
        "openai-whisper": version("openai-whisper"),
        "torch": version("torch"),
        "device": device,
        "compute": params.compute,
        "weights": _name(params, host),
    }

    def caption(clips: Sequence[Path]) -> list[Caption]:
        return _captions(params, model, about, clips)

    return caption


def _name(params: Params, host: Host) -> str:
    return host.files[params.model].name if params.model in host.files else params.model


def _loaded(params: Params, host: Host, device: str) -> Any:
    import whisper

    from cascade.captioners import _tokens

    path = host.files.get(params.model)
    if path is None and params.model not in whisper.available_models():
        raise UnknownName("model", params.model, whisper.available_models(), "or give a checkpoint: speech.model=PATH")
    try:
        with _quietly():
            model = whisper.load_model(str(path or params.model), device="cpu")
            _tokens.tokenizer(model)
    except OSError as error:
        raise UserError(_unreachable(params, error)) from None
    except (
        UnpicklingError,
        RuntimeError,
        LookupError,
        TypeError,
        ValueError,
        EOFError,
        AttributeError,
        struct.error,
    ) as error:
        if path is None:
            raise UserError(_unreachable(params, error)) from None
        reason = " ".join(str(error).split())[:120]
        raise UserError(f"speech.model={path}: no Whisper checkpoint ({type(error).__name__}: {reason})") from None
    # A sparse buffer, which some devices cannot hold; only word times would need it.
    model.register_buffer("alignment_heads", model.alignment_heads.to_dense(), persistent=False)
    return model.to(device).eval()


def absent(params: Params, host: Host) -> tuple[str, str] | None:
    """What is to be fetched before the first clip, and from where; None where the weights are here."""
    import whisper

    if params.model in host.files or params.model not in whisper.available_models():
        return None
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "whisper"
    address: str = whisper._MODELS[params.model]
    here = (folder / Path(address).name).is_file()
    return None if here else (f"{Path(address).name}; or give speech.model=FILE.pt", address)


@contextmanager
def _quietly() -> Iterator[None]:
    """Without whisper's bar where nobody watches, and without warnings of files that it leaves open."""
    with warnings.catch_warnings(), nullcontext() if sys.stderr.isatty() else redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


def _unreachable(params: Params, error: Exception) -> str:
    return (
        f"whisper's {params.model!r} cannot be fetched ({type(error).__name__}: {' '.join(str(error).split())[:120]}); "
        "give a checkpoint: --caption-param speech.model=/path/to/model.pt, or use --captions speech=faster-whisper"
    )


def _check_language(params: Params, model: Any) -> None:
    from whisper.tokenizer import LANGUAGES

    known = LANGUAGES if model.is_multilingual else ["en"]
    if params.language and params.language not in known:
        raise UnknownName("language", params.language, known, f"for the model {params.model!r}")


def _captions(params: Params, model: Any, about: Mapping[str, str], clips: Sequence[Path]) -> list[Caption]:
    """Every clip's caption; holds as many windows as are decoded together, however many and long the clips are."""
    from cascade.captioners import _speech

    heard = [_Clip() for _ in clips]
    coming = _windows(clips)
    rests: deque[_Window] = deque()
    while rows := _next(rests, coming, _rows(model)):
        began = time.perf_counter()
        for row, found in zip(rows, _decoded(params, model, [row.samples for row in rows]), strict=True):
            rests.extend(_take(params, heard[row.clip], row, found))
        for row in rows:
            heard[row.clip].seconds += (time.perf_counter() - began) / len(rows)
    return [_speech.caption(_by_time(one.windows), _by_time(one.segments), one.seconds, about) for one in heard]


def _by_time(parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(parts, key=lambda part: part["start"])


def _windows(clips: Sequence[Path]) -> Iterator[_Window]:
    from cascade.captioners import _speech

    for number, clip in enumerate(clips):
        for start, samples in _speech.windows(audio.blocks(clip, _speech.RATE, 30.0)):
            yield _Window(number, start, samples)


def _rows(model: Any) -> int:
    return 1 if model.device.type == "cpu" else ROWS


def _next(rests: deque[_Window], coming: Iterator[_Window], most: int) -> list[_Window]:
    rows = [rests.popleft() for _ in range(min(most, len(rests)))]
    while len(rows) < most and (window := next(coming, None)):
        rows.append(window)
    return rows


def _decoded(params: Params, model: Any, windows: Sequence[Samples]) -> list[Any]:
    """Whisper's result of each window, with `language_probability`; there are at most `_rows(model)` windows."""
    import torch
    from whisper.decoding import DecodingOptions, decode

    from cascade.captioners import _tokens

    half = params.compute == "float16"
    with torch.no_grad():
        features = [_encoded(model, window, half) for window in windows]
        rows = torch.cat(features + features[-1:] * (_rows(model) - len(features)))
        beams = params.beam_size if params.beam_size > 1 else None
        options = DecodingOptions(language=_language(params, model), temperature=0.0, beam_size=beams, fp16=half)
        results = decode(model, rows, options)
        chances = [{"en": 1.0}] * len(windows)
        if model.is_multilingual:
            chances = model.detect_language(rows, _tokens.tokenizer(model))[1]
    return [
        SimpleNamespace(result=result, language_probability=chance.get(result.language, 0.0), model=model)
        for result, chance, _ in zip(results, chances, windows, strict=False)
    ]


def _language(params: Params, model: Any) -> str | None:
    return params.language or (None if model.is_multilingual else "en")


def _encoded(model: Any, samples: Samples, half: bool) -> Any:
    """The encoder's output for one window, shape (1, positions, width)."""
    import torch
    from whisper.audio import N_SAMPLES, log_mel_spectrogram, pad_or_trim

    mel = log_mel_spectrogram(pad_or_trim(torch.from_numpy(samples), N_SAMPLES), model.dims.n_mels)
    return model.encoder(mel[None].to(model.device, torch.float16 if half else torch.float32))


def _take(params: Params, clip: _Clip, row: _Window, found: Any) -> list[_Window]:
    """Add to the clip what a window said; what remains to be heard of the window."""
    from cascade.captioners import _speech, _tokens

    begin, length = row.start / _speech.RATE, len(row.samples) / _speech.RATE
    spans, done = _tokens.spans(found.result, found.model)
    made = [_speech.segment(params, begin, begin + length, _said(found, *span)) for span in spans]
    # Nothing is asked again of a window that said no speech: it would go on inventing.
    rest = length - done if done is not None and not all(segment["dropped"] for segment in made) else 0.0
    end = length
    if done is not None and done >= AHEAD and rest >= LEAST:
        made, end = made[:-1] if len(spans) > 1 and spans[-1][0] >= done else made, done
    clip.segments += [segment for segment in made if segment["text"]]
    clip.windows.append(_speech.window(begin, begin + end, found.result.language, found.language_probability))
    if end == length:
        return []
    cut = round(end * _speech.RATE)
    return [_Window(row.clip, row.start + cut, row.samples[cut:])]


def _said(found: Any, start: float, end: float, text: str) -> Any:
    result = found.result
    return SimpleNamespace(
        start=start,
        end=end,
        text=text,
        avg_logprob=result.avg_logprob,
        no_speech_prob=result.no_speech_prob,
        compression_ratio=result.compression_ratio,
    )
