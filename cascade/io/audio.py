"""Clips as samples: decoded once, mixed to the mean of their channels, resampled.

soundfile decodes what it can. PyAV decodes the rest (m4a, mp4, webm, …) and MPEG audio, for which soundfile's decoder
writes notes to stderr. The rules for unusual files are:

* A file that ends early is decoded up to its end; damage that its decoder reports makes it a bad clip.
* A sample that is not a number (NaN or infinite, in float files) makes it a bad clip: no value is invented for it.
* Samples beyond ±1, which float files may hold, are kept.
* A clip too short to leave one sample at the wanted rate is one sample of silence.

numpy, soundfile, soxr and PyAV are imported on first use.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cascade.errors import ClipError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Samples = npt.NDArray[np.float32]

_FRAMES = 65536  # decoded at a time
_UNKNOWN = 1 << 40  # frames; a streamed FLAC file claims more, and soundfile cannot read it to its end
_MPEG = {".mp1", ".mp2", ".mp3", ".mpa", ".mpga"}
_RATES = range(1_000, 1_000_001)  # Hz; a header outside it is damage, and would make a resampler as large as it says
_OPUS_RATE = 48_000  # Hz, the rate of Opus


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """The properties of a file: `duration_s` in seconds, `sample_rate` in Hz, `channels` as stored (1 is mono)."""

    duration_s: float
    sample_rate: int
    channels: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Source:
    """An opened file: `chunks` of shape (frames, channels), and the header's count of `frames`, None if unknown."""

    rate: int
    channels: int
    frames: int | None
    chunks: Iterator[Samples]


def probe(path: Path) -> Clip:
    """Return length, rate and channels, from the header where it has them, else by decoding. Raises ClipError."""
    with _opened(path) as source:
        frames = source.frames
        if frames is None:
            frames = sum(len(chunk) for chunk in source.chunks)
        return Clip(duration_s=frames / source.rate, sample_rate=source.rate, channels=source.channels)


def read(path: Path, rate: int | None, *, mono: bool = True) -> Samples:
    """Return the whole clip at `rate` Hz (None: its own), float32, nominally in [-1, 1], of shape (samples,).

    With `mono=False` the channels stay apart: shape (samples, channels). Raises ClipError for a clip that cannot be
    decoded. Holds the clip in memory; `blocks` does not.
    """
    import numpy as np

    return np.concatenate(list(blocks(path, rate, 30.0, mono=mono)))


def blocks(path: Path, rate: int | None, seconds: float, *, mono: bool = True) -> Iterator[Samples]:
    """Yield the samples of `read` as consecutive blocks of `seconds`, the last one shorter; holds one block at a time.

    Raises ClipError where it meets damage, which may be after some blocks.
    """
    with _opened(path) as source:
        chunks: Iterable[Samples] = _finite(path, source.chunks, mono)
        target = rate or source.rate
        if target != source.rate:
            chunks = _resampled(chunks, source.rate, target, 1 if mono else source.channels)
        yield from _regrouped(chunks, max(1, round(seconds * target)))


@contextmanager
def _opened(path: Path) -> Iterator[_Source]:
    """Open a clip with the decoder that suits it. Raises ClipError, with the reason, for what is no clip."""
    if path.is_dir():
        raise ClipError(f"{path.name}: is a folder, not a clip")
    if path.exists() and not path.is_file():
        raise ClipError(f"{path.name}: is not a regular file")
    try:
        with path.open("rb") as file:
            head = file.read(4)
    except FileNotFoundError:
        raise ClipError(f"{path.name}: no such file") from None
    except OSError as error:
        raise ClipError(f"{path.name}: cannot be opened ({error.strerror})") from None
    if not head:
        raise ClipError(f"{path.name}: empty file (0 bytes)")
    mpeg = path.suffix.lower() in _MPEG or head[:3] == b"ID3" or (head[0] == 0xFF and head[1:2] >= b"\xe0")
    decoder = _with_av(path) if mpeg else _with_soundfile(path)
    try:
        source = next(decoder, None)
        if source is None:
            decoder = _with_av(path)
            source = next(decoder)
        if source.rate not in _RATES or source.channels < 1:
            raise ClipError(f"{path.name}: claims {source.rate} Hz and {source.channels} channels")
        if source.frames == 0:
            raise ClipError(f"{path.name}: holds no audio samples")
        yield source
    finally:
        decoder.close()


def _with_soundfile(path: Path) -> Generator[_Source, None, None]:
    """Yield one source, or none where soundfile cannot decode the file."""
    import soundfile

    try:
        file = soundfile.SoundFile(path)
    except soundfile.LibsndfileError:
        return
    with file:
        if file.frames >= _UNKNOWN:
            return
        chunks = _from_soundfile(path, file)
        yield _Source(rate=file.samplerate, channels=file.channels, frames=file.frames, chunks=chunks)


def _from_soundfile(path: Path, file: Any) -> Iterator[Samples]:
    import soundfile

    try:
        while len(chunk := file.read(_FRAMES, dtype="float32", always_2d=True)):
            yield chunk
    except soundfile.LibsndfileError as error:
        raise ClipError(f"{path.name}: cannot be decoded ({error.error_string or 'damaged'})") from None


def _with_av(path: Path) -> Generator[_Source, None, None]:
    """Yield one source; its rate and channels are those of its first frame: a header may name half the true rate."""
    import av

    try:
        with av.open(str(path)) as container:
            if not container.streams.audio:
                raise ClipError(f"{path.name}: holds no audio")
            frames = _from_av(path, container)
            first = next(frames, None)
            if first is None:
                raise ClipError(f"{path.name}: holds no audio samples")
            rate, chunk = first
            chunks = chain([chunk], (chunk for _, chunk in frames))
            yield _Source(rate=rate, channels=chunk.shape[1], frames=None, chunks=chunks)
    except av.FFmpegError as error:
        raise ClipError(f"{path.name}: cannot be decoded ({error.strerror})") from None


def _from_av(path: Path, container: Any) -> Iterator[tuple[int, Samples]]:
    import av
    import numpy as np

    plain = av.AudioResampler(format="fltp")
    try:
        for frame in container.decode(audio=0):
            for part in plain.resample(frame):
                yield part.sample_rate, part.to_ndarray().T.astype(np.float32)
    except av.FFmpegError as error:
        raise ClipError(f"{path.name}: cannot be decoded ({error.strerror})") from None
    except ValueError:
        raise ClipError(f"{path.name}: cannot be decoded (its format changes on the way)") from None


def _finite(path: Path, chunks: Iterable[Samples], mono: bool) -> Iterator[Samples]:
    """Yield the chunks, mixed down if `mono`. Raises ClipError for a sample that is not a number."""
    import numpy as np

    for chunk in chunks:
        if not np.isfinite(chunk).all():
            raise ClipError(f"{path.name}: holds samples that are not numbers (NaN or infinite)")
        if not mono:
            yield chunk
        elif chunk.shape[1] == 1:
            yield chunk[:, 0]
        else:
            yield chunk.mean(axis=1, dtype=np.float32)


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
