"""Clips as samples: decoded once, mixed to mono, resampled.

PyAV (FFmpeg) decodes what it knows, soundfile what FFmpeg lacks. The rules, the same for every format:

* What can be decoded is decoded, and `Blocks.notes` says how much is lost. If nothing is decoded, it is a bad clip.
* Times are those that a player shows: silence stands for gaps, and before audio that begins after the video.
* Of several audio tracks the default one is decoded, then the one that FFmpeg ranks first.
* Mono is the mean of the channels. While they cancel each other in it, one channel takes its place.
* A sample that is not a number, or is far beyond full scale, makes a bad clip: no value is invented for it. Float files
  may pass ±1. Integers that were written as floats are refused, because their full scale would be a guess.
* A clip makes FFmpeg open no other file and no address. One too short for a sample at the rate is one of silence.

numpy, soundfile, soxr and PyAV are imported on first use.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from cascade.errors import ClipError
from cascade.io.files import open_regular

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Samples = npt.NDArray[np.float32]
    _Notes = defaultdict[str, float]
    _Chunks = Iterator[tuple[int, Samples]]  # the rate in Hz, samples of shape (frames, channels)

_FRAMES = 65536  # that soundfile decodes at a time
_RATES = range(1_000, 1_000_001)  # Hz; a header outside it is damage, and would make a resampler as large as it says
_OPUS_RATE = 48_000  # Hz, the rate of Opus
_LOUDEST = 100.0  # 40 dB above full scale: speech in 16-bit integers passes it, a hot mix in floats does not
_GAP = 0.1  # seconds; timestamps of ordinary files are nearer to the samples
_SILENCE = 600.0  # seconds that gaps may add to a clip; larger ones are damaged timestamps
_WINDOW = 0.25  # seconds in which the power of the mix is compared with that of the channels
_CANCELLED = 0.01  # of the loudest channel's power (-20 dB): no ordinary window of 392 stereo files has less in its mix
_PADDING = 4  # bytes; a shorter packet holds no frame of any codec: it is a line break or padding
_STREAMED = 0x7FFF_0000  # bytes; a WAV header that claims more was written before the size was known
_ERRORS = 10  # in a row, after which the rest of a file is lost
_FULL_SCALE = {"u8": 2.0**7, "s16": 2.0**15, "s32": 2.0**31, "flt": 1.0, "dbl": 1.0}
_EXACT = ("flac", "mov,mp4,m4a,3gp,3g2,mj2", "ogg", "tta", "wv", "ape")  # FFmpeg's duration of them is no estimate
# What FFmpeg decodes to noise: big-endian WAV, and the ADPCM of NMS and of G.721 and G.723 in WAV and AU.
_SOUNDFILE = re.compile(rb"RIFX|RIFF....WAVEfmt ....[\x38\x40]\0|\.snd.{8}\0\0\0[\x17\x19\x1a]", re.DOTALL)
_XING = re.compile(rb"(?:Xing|Info)\0\0\0[\1\3\5\7\x09\x0b\x0d\x0f](.{4})", re.DOTALL)  # it has a count of frames
_OPTIONS = {
    "protocol_whitelist": "none",
    # Files of media; FFmpeg also knows playlists, session descriptions and scripts.
    "format_whitelist": "3gp,aac,ac3,adx,aea,aiff,amr,amrnb,amrwb,ape,asf,ast,au,avi,avr,caf,dsf,dts,dtshd,eac3,epaf,"
    "flac,flv,g722,gsm,iamf,iff,ircam,lc3,loas,matroska,mlp,mmf,mov,mp3,mpc,mpc8,mpeg,mpegts,mxf,nistsphere,nut,ogg,"
    "oma,pvf,qcp,qoa,rm,sds,shn,sln,sox,spdif,swf,tak,truehd,tta,voc,vqf,w64,wav,wtv,wv,xwma",
    "max_size": "32768",  # bytes of PCM at a time; FFmpeg's own choice, a tenth of a second, takes thrice the time
    "max_probe_packets": "4",  # of PCM, in which FFmpeg looks for DTS; its own choice is the whole clip
}


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
        """The notes as a part of a caption's `meta`: {} for an ordinary clip."""
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

    Raises ClipError if nothing can be decoded; the iterator raises it for samples that are no sound.
    """
    notes: _Notes = defaultdict(int)
    decoded = _decode(path, notes)
    stored, first = next(decoded)
    channels, target = first.shape[1], rate or stored
    chunks = _checked(path, chain([first], (chunk for _, chunk in decoded)))
    if mono:
        chunks = _mixed(chunks, channels, stored, notes)
    if target != stored:
        chunks = _resampled(chunks, stored, target, 1 if mono else channels)
    return Blocks(_regrouped(chunks, max(1, round(seconds * target))), target, channels, notes)


def _decode(path: Path, notes: _Notes) -> _Chunks:
    """Yield samples, always of the same rate and channels. Raises ClipError, with the reason, for what is no clip."""
    import av

    # PyAV before 19 raises for metadata that is not UTF-8.
    lenient: Any = {"metadata_errors": "replace"} if int(av.__version__.partition(".")[0]) < 19 else {}
    try:
        file = open_regular(path)
    except OSError as error:
        reasons = {FileNotFoundError: "no such file", IsADirectoryError: "is a folder, not a clip"}
        raise ClipError(f"{path.name}: {reasons.get(type(error), error.strerror)}") from None
    with file:
        head = file.read(_FRAMES)
        if not head:
            raise ClipError(f"{path.name}: empty file (0 bytes)")
        is_empty, reason = True, "holds no audio samples"
        if not _SOUNDFILE.match(head):
            try:
                # FFmpeg gets the open file, not its name, which it could take for a protocol.
                file.seek(0)
                with av.open(file, options=_OPTIONS, **lenient) as container:
                    track = container.streams.best("audio")
                    if track is None:
                        reason = "holds no audio"
                    else:
                        for rate, chunk in _from_av(container, track, head, notes):
                            if rate not in _RATES:
                                raise ClipError(f"{path.name}: claims {rate} Hz and {chunk.shape[1]} channels")
                            is_empty = False
                            yield rate, chunk
            except av.FFmpegError as error:
                reason = f"cannot be decoded ({error.strerror})"
        if is_empty:
            file.seek(0)
            for rate, chunk in _from_soundfile(file, head, notes):
                is_empty = False
                yield rate, chunk
        if is_empty:
            raise ClipError(f"{path.name}: {reason}")


def _from_av(container: Any, track: Any, head: bytes, notes: _Notes) -> _Chunks:
    """Yield the rate and samples of a track, with silence where its timestamps leave a gap."""
    import av
    import numpy as np

    first, form, resampler = None, None, None
    begin = origin = (container.start_time or 0) / av.time_base  # seconds; the timestamp of the first sample
    rate, count, lost = 1, 0, 0.0
    for frame in _frames(container, track, notes):
        if first is None:
            first, rate = frame, frame.sample_rate
        gap = 0.0 if frame.time is None else frame.time - origin - count / rate
        if abs(gap) > _GAP and not 0 < gap + notes["lost_s"] + notes["delay_s"] <= _SILENCE:
            origin += gap  # The clock of a joined file begins anew, or a timestamp is damaged.
        elif gap > _GAP or (gap > 0 and notes["lost_packets"] > lost):
            notes["lost_s" if count else "delay_s"] += gap
            missing = round(gap * rate)
            for start in range(0, missing, _FRAMES):
                yield rate, np.zeros((min(_FRAMES, missing - start), first.layout.nb_channels), np.float32)
            count += missing
        lost = notes["lost_packets"]
        parts = [frame]
        if form != (frame.sample_rate, frame.layout.name, frame.format.name):
            # The first frame sets rate and channels; frames of another kind are converted to it.
            form, resampler = (frame.sample_rate, frame.layout.name, frame.format.name), None
            if form[:2] != (rate, first.layout.name) or form[2].rstrip("p") not in _FULL_SCALE:
                resampler = av.AudioResampler("fltp", first.layout, rate)
        if resampler:
            parts = resampler.resample(frame)
        for part in parts:
            if part.samples:
                count += part.samples
                yield rate, _samples(part)
    missing_s = _claimed(container, track, head, count / rate, begin) - count / rate
    if missing_s > (0 if notes["lost_packets"] else _GAP):
        notes["lost_s"] += missing_s


def _frames(container: Any, track: Any, notes: _Notes) -> Iterator[Any]:
    """Yield the frames of a track; count in `notes` the packets that cannot be decoded."""
    import av

    packets, errors = container.demux(track), 0
    while errors < _ERRORS:
        try:
            packet = next(packets, None)
        except av.FFmpegError:
            packets, errors = container.demux(track), errors + 1
            notes["lost_packets"] += errors == 1
            continue
        if packet is None:
            return
        errors = 0
        try:
            yield from packet.decode()
        except av.FFmpegError:
            notes["lost_packets"] += packet.size >= _PADDING


def _samples(frame: Any) -> Samples:
    """Return a frame's samples, float32 of shape (frames, channels)."""
    import numpy as np

    array = frame.to_ndarray()
    array = array.T if frame.format.is_planar else array.reshape(frame.samples, -1)
    form = frame.format.name.rstrip("p")
    samples: Samples = array.astype(np.float32)
    if form == "u8":
        samples -= 128
    return samples * np.float32(1 / _FULL_SCALE[form])


def _claimed(container: Any, track: Any, head: bytes, seconds: float, begin: float) -> float:
    """Return how many seconds the header says that a track has, 0 where it does not; `seconds` were decoded."""
    name = container.format.name
    if name == "wav":  # FFmpeg cuts its duration to the file's size.
        at = 12
        while at < len(head) and head[at : at + 4] != b"data":
            at += 8 + int.from_bytes(head[at + 4 : at + 8], "little")
            at += at % 2
        size, present = int.from_bytes(head[at + 4 : at + 8], "little"), container.size - at - 8
        if 0 < present < size < _STREAMED:
            return float(seconds * size / present)
    elif name == "mp3" and (info := _XING.search(head)):
        # The count of frames includes the encoder's delay and padding, up to three of them.
        samples = 1152 if track.rate >= 32_000 else 576
        return (int.from_bytes(info[1], "big") - 3) * samples / int(track.rate)
    elif name in _EXACT and track.duration:
        return float(((track.start_time or 0) + track.duration) * track.time_base) - begin
    elif name == "matroska,webm" and len(container.streams) == 1 and container.duration:
        return float(container.duration / 1e6)
    return 0.0


def _from_soundfile(file: IO[bytes], head: bytes, notes: _Notes) -> _Chunks:
    """Yield the rate and samples of a file in a format that FFmpeg lacks; nothing for any other file."""
    import soundfile

    # MPEG audio, for which libsndfile's decoder writes notes to stderr, is FFmpeg's.
    if head.startswith(b"\xff") or (head.startswith(b"ID3") and b"RIFF" not in head):
        return
    try:
        with soundfile.SoundFile(file) as sound:
            while sound.samplerate in _RATES and len(chunk := sound.read(_FRAMES, dtype="float32", always_2d=True)):
                yield sound.samplerate, chunk
    except soundfile.LibsndfileError:
        notes["lost_packets"] += 1


def _checked(path: Path, chunks: Iterable[Samples]) -> Iterator[Samples]:
    """Yield the chunks. Raises ClipError for a sample that is not a number or far beyond full scale."""
    import numpy as np

    for chunk in chunks:
        peak = np.abs(chunk).max()
        if not np.isfinite(peak):
            raise ClipError(f"{path.name}: holds samples that are not numbers (NaN or infinite)")
        if peak > _LOUDEST:
            raise ClipError(
                f"{path.name}: holds samples of {peak:.3g} where full scale is 1; "
                "if they are 16-bit integers that were written as floats, divide them by 32768"
            )
        yield chunk


def _mixed(chunks: Iterator[Samples], channels: int, rate: int, notes: _Notes) -> Iterator[Samples]:
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
            # The first of those that are not much weaker than the loudest, so that it does not change on the way.
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
