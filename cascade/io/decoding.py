"""The samples of a file as they are stored: at its own rate, with its own channels, in chunks.

PyAV (FFmpeg) decodes most formats, and soundfile those that FFmpeg lacks. The same rules hold for every format:

* Damaged parts are skipped, and the notes say how much is lost. A clip of which nothing can be decoded is bad.
* Times are those that a player shows: silence fills gaps, and the time before audio that begins after the video.
* Of several audio tracks the default one is decoded, then the one that FFmpeg ranks first.
* A clip cannot make FFmpeg open another file or an address.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from cascade.errors import ClipError
from cascade.io.files import open_regular

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Samples = npt.NDArray[np.float32]
    Notes = defaultdict[str, float]  # see `audio.Blocks`
    Chunks = Iterator[tuple[int, Samples]]  # the rate in Hz, samples of shape (frames, channels)

_FRAMES = 65536  # the number that soundfile decodes at a time
_RATES = range(1_000, 1_000_001)  # Hz; another rate means a damaged header, and would need a huge resampler
_GAP = 0.1  # seconds; in ordinary files timestamps deviate less from the samples
_SILENCE = 600.0  # seconds that gaps may add to a clip; larger ones are damaged timestamps
_PADDING = 4  # bytes; a shorter packet holds no frame of any codec: it is a line break or padding
_STREAMED = 0x7FFF_0000  # bytes; a WAV header that claims more was written before the size was known
_ERRORS = 10  # successive errors after which the rest of a file is skipped
_EXACT = ("flac", "mov,mp4,m4a,3gp,3g2,mj2", "ogg", "tta", "wv", "ape")  # FFmpeg does not estimate their duration
# FFmpeg decodes these to noise: big-endian WAV, and the ADPCM of NMS and of G.721 and G.723 in WAV and AU.
_SOUNDFILE = re.compile(rb"RIFX|RIFF....WAVEfmt ....[\x38\x40]\0|\.snd.{8}\0\0\0[\x17\x19\x1a]", re.DOTALL)
_XING = re.compile(rb"(?:Xing|Info)\0\0\0[\1\3\5\7\x09\x0b\x0d\x0f](.{4})", re.DOTALL)  # holds a count of frames
_OPTIONS = {
    "protocol_whitelist": "fd",
    # Only media files; FFmpeg also reads playlists, session descriptions and scripts.
    "format_whitelist": "3gp,aac,ac3,adx,aea,aiff,amr,amrnb,amrwb,ape,asf,ast,au,avi,avr,caf,dsf,dts,dtshd,eac3,epaf,"
    "flac,flv,g722,gsm,iamf,iff,ircam,lc3,loas,matroska,mlp,mmf,mov,mp3,mpc,mpc8,mpeg,mpegts,mxf,nistsphere,nut,ogg,"
    "oma,pvf,qcp,qoa,rm,sds,shn,sln,sox,spdif,swf,tak,truehd,tta,voc,vqf,w64,wav,wtv,wv,xwma",
    "max_size": "32768",  # bytes of PCM at a time; FFmpeg's default, a tenth of a second, is three times slower
    "max_probe_packets": "4",  # packets of PCM in which FFmpeg looks for DTS; its default is the whole clip
}


def decode(path: Path, notes: Notes) -> Chunks:
    """Yield samples, always of the same rate and channels. Raises ClipError, with the reason, if it is not a clip."""
    import av

    # PyAV before 19 raises for metadata that is not UTF-8.
    lenient: Any = {"metadata_errors": "replace"} if int(av.__version__.partition(".")[0]) < 19 else {}
    try:
        file = open_regular(path)
    except OSError as error:
        raise ClipError(f"{path.name}: {error.strerror}") from None
    with file:
        head = file.read(_FRAMES)
        if not head:
            raise ClipError(f"{path.name}: empty file (0 bytes)")
        is_empty, reason = True, "holds no audio samples"
        if not _SOUNDFILE.match(head):
            try:
                # FFmpeg gets the open file, not its name, which it could take for a protocol.
                os.lseek(file.fileno(), 0, os.SEEK_SET)
                with av.open("fd:", options={**_OPTIONS, "fd": str(file.fileno())}, **lenient) as container:
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
            notes.clear()
            os.lseek(file.fileno(), 0, os.SEEK_SET)
            for rate, chunk in _from_soundfile(file, head, notes):
                is_empty = False
                yield rate, chunk
        if is_empty:
            raise ClipError(f"{path.name}: {reason}")


def _from_av(container: Any, track: Any, head: bytes, notes: Notes) -> Chunks:
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
            origin += gap  # The timestamps of a joined file restart, or one is damaged.
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
            if form[:2] != (rate, first.layout.name) or form[2].startswith(("u8", "s64")):
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


def _frames(container: Any, track: Any, notes: Notes) -> Iterator[Any]:
    """Yield the frames of a track; count in `notes` the packets that cannot be decoded."""
    import av

    packets, errors = container.demux(track), 0
    while errors < _ERRORS:
        try:
            packet = next(packets, None)
        except IndexError:  # PyAV raises this for a packet of another track that begins late.
            packets = container.demux(track)
            continue
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
    samples: Samples = array.astype(np.float32)
    if array.dtype.kind == "i":
        samples *= np.float32(-1 / np.iinfo(array.dtype).min)
    return samples


def _claimed(container: Any, track: Any, head: bytes, seconds: float, begin: float) -> float:
    """Return how many seconds the header says that a track has, 0 where it does not; `seconds` were decoded."""
    name = container.format.name
    if name == "wav":  # FFmpeg limits the duration to the file's size.
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


def _from_soundfile(file: IO[bytes], head: bytes, notes: Notes) -> Chunks:
    """Yield the rate and samples of a file in a format that FFmpeg lacks, or nothing for any other file."""
    import soundfile

    # MPEG audio is left to FFmpeg, because libsndfile's decoder writes notes to stderr.
    if head.startswith(b"\xff") or (head.startswith(b"ID3") and b"RIFF" not in head):
        return
    try:
        with soundfile.SoundFile(file.fileno(), closefd=False) as sound:
            while sound.samplerate in _RATES and len(chunk := sound.read(_FRAMES, dtype="float32", always_2d=True)):
                yield sound.samplerate, chunk
    except soundfile.LibsndfileError:
        notes["lost_packets"] += 1
