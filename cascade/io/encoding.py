"""Clips as the files that a model is sent: decoded, mixed, resampled and encoded again, or the file's own bytes.

A WAV file has 16 bits a sample, an MP3 file 64 kbit/s a channel. Neither has the clip's name or tags; `original` has
the tags of the file. The same packages on the same kind of processor write the same bytes.
"""

from __future__ import annotations

import base64
import io
import wave
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cascade.errors import ClipError, UnknownName, UserError
from cascade.io import audio

if TYPE_CHECKING:
    from cascade.io.audio import Samples

_KNOWN = {
    "format": ("wav", "mp3", "original"),
    "channels": ("mono", "source"),
    "content": ("clip", "silence", "reversed"),
}
_RATES = range(8_000, 192_001)  # Hz
_MP3_RATES = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)  # Hz, all that MPEG audio has
_MP3_BITS = 64_000  # bits per second and channel
_LARGEST_WAV = 2**32 - 37  # bytes of samples: a 32-bit field of the header counts them and 36 further bytes
_KINDS = {b"RIFF": "wav", b"fLaC": "flac", b"OggS": "ogg", b"\x1aE\xdf\xa3": "webm"}


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioForm:
    """How a clip is sent. `format`: wav, mp3, or original, the file as it is.

    `rate` (Hz) and `channels` (mono) are those of what is sent; `source` keeps the clip's own. A clip longer than
    `max_seconds` is not sent. `content` is the clip, or a control of the same length: silence, or the clip reversed.
    Raises UserError for a form that cannot be sent.
    """

    format: str = "wav"
    rate: str = "16000"
    channels: str = "mono"
    max_seconds: float = 600.0
    content: str = "clip"

    def __post_init__(self) -> None:
        for name, known in _KNOWN.items():
            if getattr(self, name) not in known:
                raise UnknownName(f"audio {name}", getattr(self, name), known)
        if self.max_seconds <= 0:
            raise UserError(f"audio(max_seconds={self.max_seconds:g}): give a number of seconds above 0")
        if self.format == "original":
            for name in ("rate", "channels"):
                object.__setattr__(self, name, "source")
        rates: Sequence[int] = _RATES
        words = "8000 to 192000"
        if self.format == "mp3":
            rates, words = _MP3_RATES, ", ".join(map(str, _MP3_RATES))
        if self.rate != "source" and self.rate not in map(str, rates):
            raise UserError(f"audio(rate={self.rate}): give source, or a rate in Hz: {words}")


def describe(path: Path, form: AudioForm) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a description of the audio that is sent for a clip, and the notes of its decoding.

    The description has the format, rate in Hz, channels, seconds, and a control's content. Raises ClipError for a clip
    that cannot be decoded or sent in this form, or is longer than the form allows.
    """
    blocks = audio.blocks(path, None, 30.0, mono=False)
    seconds = 0.0
    for block in blocks:
        seconds += len(block) / blocks.rate
        if seconds > form.max_seconds:
            raise ClipError(f"{path.name}: longer than the {form.max_seconds:g} s of audio(max_seconds=…)")
    kind, rate, channels = form.format, blocks.rate, blocks.channels
    if kind == "original":
        kind = "wav"
        if form.content == "clip":
            kind = _kind_of_file(path)
    if form.rate != "source":
        rate = int(form.rate)
    if form.channels == "mono":
        channels = 1
    if form.format == "mp3" and (rate not in _MP3_RATES or channels > 2):
        raise ClipError(f"{path.name}: mp3 takes no {channels} channels at {rate} Hz; give audio(rate=…,channels=mono)")
    about = {"format": kind, "rate": rate, "channels": channels, "seconds": round(seconds, 3)}
    if form.content != "clip":
        about["content"] = form.content
    return about, blocks.meta


def _kind_of_file(path: Path) -> str:
    """Return the format of a file by its first bytes. Raises ClipError for one that no endpoint takes."""
    with path.open("rb") as file:
        head = file.read(12)
    if head[4:8] == b"ftyp":
        return "m4a"
    if head[:3] == b"ID3" or (head[:1] == b"\xff" and head[1:2] >= b"\xe0"):
        return "mp3"
    if head[:4] not in _KINDS:
        raise ClipError(f"{path.name}: neither wav, mp3, flac, ogg, m4a nor webm, so it cannot be sent as it is")
    return _KINDS[head[:4]]


def encode(path: Path, form: AudioForm) -> tuple[bytes, str]:
    """Return the bytes that are sent for a clip, and their format. `describe` must have accepted the clip before.

    Raises ClipError for a clip that cannot be decoded.
    """
    import numpy as np

    if form.format == "original" and form.content == "clip":
        return path.read_bytes(), _kind_of_file(path)
    rate = None if form.rate == "source" else int(form.rate)
    blocks = audio.blocks(path, rate, 30.0, mono=form.channels == "mono")
    samples = np.concatenate(list(blocks))
    if form.content == "silence":
        samples = np.zeros_like(samples)
    elif form.content == "reversed":
        samples = samples[::-1]
    if form.format == "mp3":
        return _mp3(samples, blocks.rate), "mp3"
    return wav(samples, blocks.rate), "wav"


def wav(samples: Samples, rate: int) -> bytes:
    """Return samples in [-1, 1], of shape (frames,) or (frames, channels), as a WAV file of 16 bits.

    Samples outside this range are clipped. Raises ClipError for samples that no WAV file can hold.
    """
    import numpy as np

    check_wav_size(2 * samples.size)
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setparams((1 if samples.ndim == 1 else samples.shape[1], 2, rate, len(samples), "NONE", ""))
        file.writeframes(np.round(np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
    return buffer.getvalue()


def check_wav_size(size: int) -> None:
    """Raise ClipError where samples of `size` bytes are more than a WAV file can hold."""
    if size > _LARGEST_WAV:
        raise ClipError("this is more than the 4 GB that a WAV file can hold; a shorter part or a lower rate fits")


def _mp3(samples: Samples, rate: int) -> bytes:
    """Return samples as an MP3 file without tags; see `wav`."""
    import av
    import numpy as np

    planes = np.ascontiguousarray(np.clip(samples, -1, 1).reshape(len(samples), -1).T)
    layout, buffer = ["mono", "stereo"][len(planes) - 1], io.BytesIO()
    with av.open(buffer, "w", format="mp3", options={"id3v2_version": "0", "fflags": "+bitexact"}) as container:
        stream = container.add_stream("libmp3lame", rate=rate, layout=layout, bit_rate=_MP3_BITS * len(planes))
        frame = av.AudioFrame.from_ndarray(planes, format="fltp", layout=layout)
        frame.sample_rate, frame.pts = rate, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return buffer.getvalue()


def audio_part(data: bytes, kind: str) -> dict[str, Any]:
    """Return the part of a chat message that carries a clip, as OpenAI, Gemini and vLLM take it (through litellm)."""
    return {"type": "input_audio", "input_audio": {"data": base64.b64encode(data).decode(), "format": kind}}
