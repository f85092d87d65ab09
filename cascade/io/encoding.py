"""Clips as the files that a model is sent: decoded, mixed, resampled and encoded again, or the file's own bytes.

A WAV file has 16 bits a sample, an MP3 file 64 kbit/s a channel. Neither has the clip's name or tags; `original` has
the tags of the file. The same packages on the same kind of processor write the same bytes.
"""

from __future__ import annotations

import base64
import io
import wave
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cascade.errors import ClipError, UnknownName, UserError
from cascade.io import audio
from cascade.io.digests import digest_bytes

if TYPE_CHECKING:
    from cascade.io.audio import Samples

FORMATS = ("wav", "mp3", "original")
CONTENTS = ("clip", "silence", "reversed")
_RATES = range(8_000, 192_001)  # Hz
_MP3_RATES = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)  # Hz, all that MPEG audio has
_MP3_BITS = 64_000  # a second and channel
_BLOCK = 30.0  # seconds decoded at a time
_KINDS = {b"RIFF": "wav", b"fLaC": "flac", b"OggS": "ogg", b"\x1aE\xdf\xa3": "webm"}


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioForm:
    """How a clip is sent. `format`: wav, mp3, or original, the file as it is.

    `rate` (Hz) and `channels` (mono) are those of what is sent; `source` keeps the clip's own. A clip longer than
    `max_seconds` is not sent. `content` is the clip, or a control of the same length: silence, or the clip reversed.
    """

    format: str = "wav"
    rate: str = "16000"
    channels: str = "mono"
    max_seconds: float = 600.0
    content: str = "clip"


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedAudio:
    """The bytes of a clip as it is sent; `kind` is their format."""

    data: bytes
    kind: str

    @property
    def digest(self) -> str:
        """The digest of the bytes."""
        return digest_bytes(self.data)


def check_form(form: AudioForm) -> AudioForm:
    """Return the form, with `source` where the file's own bytes are sent. Raises UserError for what cannot be sent."""
    for name, known in (("format", FORMATS), ("channels", ("mono", "source")), ("content", CONTENTS)):
        if getattr(form, name) not in known:
            raise UnknownName(f"audio {name}", getattr(form, name), known)
    if form.format == "original":
        return replace(form, rate="source", channels="source")
    if form.rate != "source":
        rates = _MP3_RATES if form.format == "mp3" else _RATES
        if not form.rate.isdecimal() or len(form.rate) > 6 or int(form.rate) not in rates:
            there_is = ", ".join(map(str, _MP3_RATES)) if form.format == "mp3" else "8000 to 192000"
            raise UserError(f"audio(rate={form.rate}): give source, or a rate in Hz: {there_is}")
    if form.max_seconds <= 0:
        raise UserError(f"audio(max_seconds={form.max_seconds:g}): give a number of seconds above 0")
    return form


def describe(path: Path, form: AudioForm) -> dict[str, Any]:
    """Return what will be sent of a clip, by its header where that says it: format, rate, channels, seconds.

    Raises ClipError for a clip that cannot be decoded, or is longer than the form allows.
    """
    seconds = audio.probe(path).duration_s
    _check_length(path, seconds, form)
    rate, channels = _layout(path, form)
    about = {"format": _kind(path, form), "rate": rate, "channels": channels, "seconds": round(seconds, 3)}
    if form.content != "clip":
        about["content"] = form.content
    return about


def _layout(path: Path, form: AudioForm) -> tuple[int, int]:
    """Return the rate in Hz and the number of channels of what is sent."""
    if form.rate != "source" and form.channels == "mono":
        return int(form.rate), 1
    clip = audio.probe(path)
    rate = clip.sample_rate if form.rate == "source" else int(form.rate)
    return rate, 1 if form.channels == "mono" else clip.channels


def _check_length(path: Path, seconds: float, form: AudioForm) -> None:
    if seconds > form.max_seconds:
        raise ClipError(f"{path.name}: longer than the {form.max_seconds:g} s of audio(max_seconds=…)")


def _kind(path: Path, form: AudioForm) -> str:
    """Return the format of what is sent; of a file that is sent as it is, by its first bytes."""
    if form.format != "original":
        return form.format
    if form.content != "clip":
        return "wav"
    with path.open("rb") as file:
        head = file.read(12)
    if head[4:8] == b"ftyp":
        return "m4a"
    if head[:3] == b"ID3" or (head[:1] == b"\xff" and head[1:2] >= b"\xe0"):
        return "mp3"
    if head[:4] not in _KINDS:
        raise ClipError(f"{path.name}: neither wav, mp3, flac, ogg, m4a nor webm, so it cannot be sent as it is")
    return _KINDS[head[:4]]


def encode(path: Path, form: AudioForm) -> EncodedAudio:
    """Return a clip as it is sent. Raises ClipError where it cannot be decoded, is too long or has no such format."""
    kind = _kind(path, form)
    if form.format == "original" and form.content == "clip":
        describe(path, form)
        return EncodedAudio(data=path.read_bytes(), kind=kind)
    rate, channels = _layout(path, form)
    blocks = _contents(path, form, rate, audio.blocks(path, rate, _BLOCK, mono=form.channels == "mono"))
    if kind == "mp3":
        if rate not in _MP3_RATES or channels > 2:
            raise ClipError(f"{path.name}: mp3 takes no {channels} channels at {rate} Hz; give audio(rate=…)")
        return EncodedAudio(data=_mp3(blocks, rate, channels), kind=kind)
    return EncodedAudio(data=wav(blocks, rate, channels), kind=kind)


def _contents(path: Path, form: AudioForm, rate: int, blocks: Iterator[Samples]) -> Iterator[Samples]:
    """Yield the samples that are sent: the clip's own, zeros in their place, or the same from the end."""
    import numpy as np

    if form.content == "reversed":
        blocks = iter([np.concatenate(list(_bounded(path, form, rate, blocks)))[::-1]])
    for block in _bounded(path, form, rate, blocks):
        yield np.zeros_like(block) if form.content == "silence" else block


def _bounded(path: Path, form: AudioForm, rate: int, blocks: Iterator[Samples]) -> Iterator[Samples]:
    """Yield the blocks. Raises ClipError as soon as they are longer than the form allows."""
    length = 0
    for block in blocks:
        length += len(block)
        _check_length(path, (length - 1) / rate, form)
        yield block


def wav(blocks: Iterable[Samples], rate: int, channels: int = 1) -> bytes:
    """Return blocks of samples in [-1, 1], of shape (frames,) or (frames, channels), as a WAV file of 16 bits.

    Samples beyond are clipped.
    """
    import numpy as np

    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setparams((channels, 2, rate, 0, "NONE", ""))
        for block in blocks:
            file.writeframes(np.round(np.clip(block, -1, 1) * 32767).astype("<i2").tobytes())
    return buffer.getvalue()


def _mp3(blocks: Iterable[Samples], rate: int, channels: int) -> bytes:
    """Return blocks of samples as an MP3 file without tags."""
    import av
    import numpy as np

    layout = "mono" if channels == 1 else "stereo"
    buffer, start = io.BytesIO(), 0
    options = {"id3v2_version": "0", "fflags": "+bitexact"}
    with av.open(buffer, "w", format="mp3", options=options) as container:
        stream = container.add_stream("libmp3lame", rate=rate, layout=layout, bit_rate=_MP3_BITS * channels)
        for block in blocks:
            planes = np.ascontiguousarray(np.clip(block, -1, 1).reshape(len(block), channels).T)
            frame = av.AudioFrame.from_ndarray(planes, format="fltp", layout=layout)
            frame.sample_rate, frame.pts = rate, start
            start += len(block)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return buffer.getvalue()


def audio_part(encoded: EncodedAudio) -> dict[str, Any]:
    """Return the part of a chat message that carries a clip, as OpenAI, Gemini and vLLM take it (through litellm)."""
    data = base64.b64encode(encoded.data).decode()
    return {"type": "input_audio", "input_audio": {"data": data, "format": encoded.kind}}
