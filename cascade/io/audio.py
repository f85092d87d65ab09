"""Clips as samples: decoded once (`decoding` has the rules for damaged files), mixed to mono, resampled.

* Mono is the mean of the channels. While the channels cancel each other, one channel is used instead.
* A sample that is not a number, or is far beyond full scale, makes the clip bad: no value replaces it. Float files
  may exceed ±1. Integers that were written as floats are refused, because their full scale would be a guess.
* A clip too short to leave one sample at the wanted rate is one sample of silence.

numpy, soundfile, soxr and PyAV are imported on first use.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cascade.errors import ClipError
from cascade.io.decoding import decode

if TYPE_CHECKING:
    from cascade.io.decoding import Notes
    from cascade.io.decoding import Samples as Samples

_OPUS_RATE = 48_000  # Hz, the rate of Opus
_LOUDEST = 100.0  # 40 dB above full scale: speech in 16-bit integers passes it, a hot mix in floats does not
_WINDOW = 0.25  # seconds in which the power of the mix is compared with that of the channels
_CANCELLED = 0.01  # of the loudest channel's power (-20 dB): no ordinary window of 392 stereo files has less in its mix


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """The properties of a file: `duration_s` in seconds, `sample_rate` in Hz, `channels` as stored (1 is mono)."""

    duration_s: float
    sample_rate: int
    channels: int


@dataclass(frozen=True, slots=True)
class Blocks(Iterator["Samples"]):
    """The samples of a clip, block after block; one block is held at a time.

    `rate` is their sample rate in Hz, `channels` the number in the file. `notes` is complete after the last block:
    `lost_s`, seconds that are missing or damaged (silence stands for them, but not at the end); `lost_packets`, pieces
    of the file that could not be decoded; `delay_s`, seconds of silence before audio that begins after the video;
    `cancelled_s`, seconds in which one channel stands for a mix that cancels.
    """

    blocks: Iterator[Samples]
    rate: int
    channels: int
    notes: Mapping[str, float]

    def __next__(self) -> Samples:
        return next(self.blocks)

    @property
    def meta(self) -> dict[str, Any]:
        """Return the notes as a part of a caption's `meta`, or {} for an ordinary clip."""
        notes = {name: round(value, 3) for name, value in self.notes.items() if value}
        return {"decoding": notes} if notes else {}


def probe(path: Path) -> Clip:
    """Return length, rate and channels of what is decoded; a header may say another length. Raises ClipError."""
    clip = blocks(path, None, 30.0, mono=False)
    frames = sum(map(len, clip))
    return Clip(duration_s=frames / clip.rate, sample_rate=clip.rate, channels=clip.channels)


def read(path: Path, rate: int | None, *, mono: bool = True) -> Samples:
    """Return the whole clip at `rate` Hz (None: its own), float32, nominally in [-1, 1], of shape (samples,).

    With `mono=False` the channels stay apart: shape (samples, channels). Raises ClipError for a clip that cannot be
    decoded. Holds the clip in memory; `blocks` does not.
    """
    import numpy as np

    return np.concatenate(list(blocks(path, rate, 30.0, mono=mono)))


def blocks(path: Path, rate: int | None, seconds: float, *, mono: bool = True) -> Blocks:
    """Return an iterator of the samples of `read` in consecutive blocks of `seconds`, the last one shorter.

    Raises ClipError if nothing can be decoded; the iterator raises it for samples that are not sound.
    """
    notes: Notes = defaultdict(int)
    decoded = decode(path, notes)
    stored, first = next(decoded)
    channels, target = first.shape[1], rate or stored
    chunks = _checked(path, chain([first], (chunk for _, chunk in decoded)))
    if mono:
        chunks = _mixed(chunks, channels, stored, notes)
    if target != stored:
        chunks = _resampled(chunks, stored, target, 1 if mono else channels)
    return Blocks(_regrouped(chunks, max(1, round(seconds * target))), target, channels, notes)


def _checked(path: Path, chunks: Iterable[Samples]) -> Iterator[Samples]:
    """Yield the chunks. Raises ClipError for a sample that is not a number or far beyond full scale."""
    import numpy as np

    for chunk in chunks:
        peak = np.abs(chunk).max()
        if not np.isfinite(peak):
            raise ClipError(f"{path.name}: holds samples that are not numbers (NaN or infinite)")
        if peak > _LOUDEST:
            hint = "; if they are 16-bit integers that were written as floats, divide them by 32768"
            known = hint if peak <= 2**15 else ""
            raise ClipError(f"{path.name}: holds samples of {peak:.3g} where full scale is 1{known}")
        yield chunk


def _mixed(chunks: Iterator[Samples], channels: int, rate: int, notes: Notes) -> Iterator[Samples]:
    """Yield the mean of the channels; one channel for the windows in which they cancel each other."""
    import numpy as np

    if channels == 1:
        yield from (chunk[:, 0] for chunk in chunks)
        return
    for window in _regrouped(chunks, max(1, round(_WINDOW * rate))):
        by_channel = np.ascontiguousarray(window.T)
        mix: Samples = by_channel.mean(axis=0, dtype=np.float32)
        powers = np.square(by_channel).mean(axis=1)
        if np.square(mix).mean() < _CANCELLED * powers.max():
            # The first channel that is not much weaker than the loudest is used, so that the choice stays the same.
            mix = by_channel[(powers >= powers.max() / 2).argmax()]
            notes["cancelled_s"] += len(window) / rate
        yield mix


def _resampled(chunks: Iterable[Samples], source: int, target: int, channels: int) -> Iterator[Samples]:
    import numpy as np
    import soxr

    stream = soxr.ResampleStream(source, target, channels, dtype="float32", quality="HQ")
    end = np.zeros((0, channels), np.float32)
    total = 0
    for chunk in chunks:
        end = chunk[:0]
        part = stream.resample_chunk(np.ascontiguousarray(chunk))
        total += len(part)
        yield part
    part = stream.resample_chunk(end, last=True)
    yield part if total + len(part) else np.zeros((1, *end.shape[1:]), np.float32)


def _regrouped(chunks: Iterable[Samples], size: int) -> Iterator[Samples]:
    """Yield the same samples in arrays of `size`, the last one shorter."""
    import numpy as np

    pending: list[Samples] = []
    count = 0
    for chunk in chunks:
        while count + len(chunk) >= size:
            cut = size - count
            yield np.concatenate([*pending, chunk[:cut]])
            pending, count, chunk = [], 0, chunk[cut:]
        pending.append(chunk)
        count += len(chunk)
    if count:
        yield np.concatenate(pending)


def opus(path: Path, bitrate: int = 24_000) -> bytes:
    """Return a small mono copy of the clip, Opus in WebM, which current browsers play. Raises ClipError."""
    from io import BytesIO

    import av

    copy = BytesIO()
    with av.open(copy, "w", format="webm") as container:
        stream = container.add_stream("libopus", rate=_OPUS_RATE, layout="mono", bit_rate=bitrate)
        start = 0
        for block in blocks(path, _OPUS_RATE, 10.0):
            frame = av.AudioFrame.from_ndarray(block.reshape(1, -1), format="fltp", layout="mono")
            frame.sample_rate, frame.pts = _OPUS_RATE, start
            start += len(block)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return copy.getvalue()
