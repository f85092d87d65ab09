"""Damaged and unusual files: what can be decoded is, the notes say what is missing, and nothing else is opened."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from cascade.errors import ClipError
from cascade.io import audio

np = pytest.importorskip("numpy")
soundfile = pytest.importorskip("soundfile")
av = pytest.importorskip("av")
pytest.importorskip("soxr")

from tests.support import clips  # noqa: E402

HTML = b"<!DOCTYPE html><html><body>" + b"503 Service Unavailable. " * 20 + b"</body></html>\n"
JUNK: bytes = np.random.default_rng(0).bytes(100)


def encoded(
    form: str, codec: str, seconds: float = 2.0, rate: int = 44_100, layout: str = "mono", hertz: float = 440
) -> bytes:
    """A tone in a container and codec that PyAV writes."""
    file = BytesIO()
    with av.open(file, "w", format=form) as container:
        add_tone(container, container.add_stream(codec, rate=rate, layout=layout), seconds, hertz)
    return file.getvalue()


def add_tone(
    container: Any, stream: Any, seconds: float, hertz: float = 440, level: float = 0.3, start: float = 0
) -> None:
    wave = clips.tone(hertz, seconds, level).astype(np.float32)[None]
    frame = av.AudioFrame.from_ndarray(wave, format="fltp", layout="mono")
    frame.sample_rate = clips.RATE
    fit = av.AudioResampler(stream.format, stream.layout, stream.rate, stream.codec_context.frame_size or 1024)
    at = round(start * stream.rate)
    for part in (*fit.resample(frame), None):
        if part is not None:
            part.pts, at = at, at + part.samples
        container.mux(stream.encode(part))


def add_video(container: Any, stream: Any, seconds: int) -> None:
    stream.width = stream.height = 16
    stream.pix_fmt = "yuv420p"
    for number in range(seconds):
        frame = av.VideoFrame.from_ndarray(np.zeros((24, 16), np.uint8), format="yuv420p")
        frame.pts = number
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def wav(seconds: float = 2.0, **options: Any) -> bytes:
    file = BytesIO()
    soundfile.write(file, clips.tone(440, seconds), clips.RATE, format="WAV", **options)
    return file.getvalue()


def flac(seconds: float = 2.0) -> bytes:
    file = BytesIO()
    soundfile.write(file, clips.noise(seconds), clips.RATE, format="FLAC")
    return file.getvalue()


def sized(data: bytes, size: int) -> bytes:
    at = data.index(b"data") + 4
    return data[:at] + struct.pack("<I", size) + data[at + 4 :]


def middle(data: bytes, insert: bytes, drop: int = 0) -> bytes:
    half = len(data) // 2
    return data[:half] + insert + data[half + drop :]


def mp3(**options: Any) -> bytes:
    return encoded("mp3", "libmp3lame", **options)


def aac() -> bytes:
    return encoded("adts", "aac")


def ogg(subtype: str = "VORBIS", seconds: float = 2.0, rate: int = 16_000) -> bytes:
    file = BytesIO()
    soundfile.write(file, clips.noise(seconds), rate, format="OGG", subtype=subtype)
    return file.getvalue()


def listed(data: bytes) -> bytes:
    return data + b"LIST" + struct.pack("<I", 400) + JUNK * 4


def tagged(data: bytes) -> bytes:
    return b"ID3\x03\0\0\0\0\0\x0a" + bytes(10) + data


# The bytes, the seconds that are heard, and the notes; `lost_s` to a tenth, and packets as they are counted.
KINDS: dict[str, tuple[Callable[[], bytes], float, dict[str, float]]] = {
    "mp3-newline": (lambda: mp3() + b"\r\n", 2.0, {}),
    "mp3-html-behind": (lambda: mp3() + HTML, 2.0, {"lost_packets": 1}),
    "mp3-junk-inside": (lambda: middle(mp3(), JUNK), 2.0, {"lost_packets": 5, "lost_s": 0.2}),
    "mp3-html-before": (lambda: HTML + mp3(), 2.0, {}),
    "mp3-zeros-inside": (lambda: middle(mp3(), bytes(6000), 6000), 1.25, {"lost_packets": 1, "lost_s": 0.7}),
    "mp3-joined": (lambda: mp3() + mp3(hertz=660), 4.0, {"lost_packets": 1, "lost_s": 0.0}),
    "mp3-joined-other-rate": (lambda: mp3() + mp3(rate=22_050), 4.0, {"lost_packets": 1, "lost_s": 0.0}),
    "mp3-joined-stereo": (lambda: mp3() + mp3(layout="stereo"), 4.0, {"lost_packets": 1, "lost_s": 0.0}),
    "mp3-cut": (lambda: mp3()[: 2 * len(mp3()) // 3], 1.3, {"lost_s": 0.6}),
    "mp3-from-the-middle": (lambda: mp3()[len(mp3()) // 2 + 33 :], 1.0, {}),
    "mp3-in-wav": (lambda: encoded("wav", "libmp3lame"), 2.0, {}),
    "flac-lacks-ten-bytes": (lambda: flac()[:-10], 1.8, {"lost_packets": 1, "lost_s": 0.2}),
    "flac-cut": (lambda: flac()[: 2 * len(flac()) // 3], 1.3, {"lost_packets": 1, "lost_s": 0.7}),
    "flac-junk-inside": (lambda: middle(flac(), JUNK), 2.0, {"lost_s": 0.3}),
    "flac-joined": (lambda: flac() + flac(), 4.0, {}),
    "flac-id3": (lambda: tagged(flac()), 2.0, {}),
    "aac-lacks-ten-bytes": (lambda: aac()[:-10], 2.0, {"lost_packets": 1}),
    "aac-junk-inside": (lambda: middle(aac(), JUNK), 2.0, {"lost_packets": 3, "lost_s": 0.1}),
    "aac-from-the-middle": (lambda: aac()[len(aac()) // 2 + 33 :], 1.0, {}),
    "vorbis-joined": (lambda: ogg() + ogg(), 4.0, {}),
    "opus-joined": (lambda: ogg("OPUS") + ogg("OPUS"), 4.0, {}),
    "vorbis-joined-other-rate": (lambda: ogg() + ogg(rate=32_000), 2.0, {"lost_packets": 1}),
    "vorbis-cut": (lambda: ogg(seconds=6)[: len(ogg(seconds=6)) // 2], 1.8, {}),
    "wav-size-0": (lambda: sized(wav(), 0), 2.0, {}),
    "wav-size-largest": (lambda: sized(wav(), 0xFFFF_FFFF), 2.0, {}),
    "wav-size-largest-signed": (lambda: sized(wav(), 0x7FFF_FFFF), 2.0, {}),
    "wav-cut": (lambda: wav()[: 44 + 32_001], 1.0, {"lost_s": 1.0}),
    "wav-list-behind": (lambda: listed(wav()), 2.0, {}),
    "wav-riff-size": (lambda: b"RIFF" + b"\x4d\0\0\0" + wav()[8:], 2.0, {}),
    "wav-block-align-0": (lambda: wav()[:28] + bytes(6) + wav()[34:], 2.0, {}),
    "wav-id3-before": (lambda: tagged(wav()), 2.0, {}),
    "wav-big-endian": (lambda: wav(endian="BIG"), 2.0, {}),
    "wav-gsm": (lambda: wav(subtype="GSM610"), 2.0, {}),
    "wav-a-law": (lambda: wav(subtype="ALAW"), 2.0, {}),
    "wav-mu-law": (lambda: wav(subtype="ULAW"), 2.0, {}),
    "wav-ms-adpcm": (lambda: wav(subtype="MS_ADPCM"), 2.0, {}),
    "wav-ima-adpcm": (lambda: wav(subtype="IMA_ADPCM"), 2.0, {}),
    "wav-nms-adpcm": (lambda: wav(subtype="NMS_ADPCM_32"), 2.0, {}),
    "wav-g721": (lambda: wav(subtype="G721_32"), 2.0, {}),
    "m4a-zeros-inside": (
        lambda: middle(encoded("mp4", "aac"), bytes(300), 300),
        2.0,
        {"lost_packets": 2, "lost_s": 0.0},
    ),
    "matroska-cut": (lambda: encoded("matroska", "aac")[:-7_000], 1.2, {"lost_s": 0.8}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_can_be_decoded_is(tmp_path: Path, kind: str, capfd: pytest.CaptureFixture[str]) -> None:
    make, seconds, notes = KINDS[kind]
    path = tmp_path / "clip.bin"
    path.write_bytes(make())
    blocks = audio.blocks(path, 16_000, 10.0)
    samples = np.concatenate(list(blocks))
    assert len(samples) / 16_000 == pytest.approx(seconds, abs=0.12)
    found = {name: round(value, 1) for name, value in blocks.meta.get("decoding", {}).items()}
    # Another release of FFmpeg may lose a packet more.
    assert found == notes or int(av.__version__.partition(".")[0]) != 18
    assert np.abs(samples).max() < 2
    assert np.sqrt(np.mean(samples**2)) > 0.05
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("form", ["W64", "RF64", "AIFF", "AU", "CAF", "VOC", "NIST", "MAT5", "HTK", "MPC2K"])
def test_formats_of_either_decoder_give_the_same_samples(tmp_path: Path, form: str) -> None:
    path = tmp_path / "clip.wav"  # The name does not matter.
    soundfile.write(path, clips.noise(0.5), clips.RATE, format=form, subtype="PCM_16")
    expected = np.round(clips.noise(0.5) * 32767) / 32768
    np.testing.assert_allclose(audio.read(path, None)[:7900], expected[:7900], atol=4e-5)


def test_a_header_of_large_size_is_a_loss_and_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "clip.wav"
    path.write_bytes(sized(wav(0.1), 0x7000_0000))
    blocks = audio.blocks(path, 16_000, 10.0)
    assert sum(map(len, blocks)) == 1600
    assert blocks.meta["decoding"]["lost_s"] > 10_000


@pytest.mark.parametrize(("name", "form"), [("a.mp4", "mp4"), ("a.mkv", "matroska"), ("a.ts", "mpegts")])
def test_audio_that_begins_after_the_video_keeps_its_times(tmp_path: Path, name: str, form: str) -> None:
    path = tmp_path / name
    with av.open(str(path), "w", format=form) as container:
        video, sound = container.add_stream("mpeg4", rate=1), container.add_stream("aac", rate=44_100, layout="mono")
        add_video(container, video, 6)
        add_tone(container, sound, 2.0, start=3.0)
    blocks = audio.blocks(path, 16_000, 10.0)
    samples = np.concatenate(list(blocks))
    assert blocks.meta["decoding"] == {"delay_s": pytest.approx(3.0, abs=0.1)}
    assert len(samples) / 16_000 == pytest.approx(5.0, abs=0.15)
    assert np.flatnonzero(np.abs(samples) > 0.1)[0] / 16_000 == pytest.approx(3.0, abs=0.1)


@pytest.mark.parametrize(("name", "form"), [("a.mp4", "mp4"), ("a.mkv", "matroska")])
def test_the_default_track_is_heard(tmp_path: Path, name: str, form: str) -> None:
    path = tmp_path / name
    with av.open(str(path), "w", format=form) as container:
        streams = [container.add_stream("aac", rate=44_100, layout="mono") for _ in range(2)]
        streams[0].disposition = av.stream.Disposition(0)
        streams[1].disposition = av.stream.Disposition.default
        for stream, level in zip(streams, (0.0, 0.3), strict=True):
            add_tone(container, stream, 2.0, level=level)
    assert np.abs(audio.read(path, 16_000)[8000:24_000]).max() == pytest.approx(0.3, abs=0.05)


@pytest.mark.parametrize(
    ("right", "cancelled"), [(-1.0, 2.0), (-0.9, 2.0), (-0.5, 0.0), (0.0, 0.0), (1.0, 0.0)], ids=str
)
def test_channels_that_cancel_are_heard_from_one(tmp_path: Path, right: float, cancelled: float) -> None:
    tone = clips.tone(440, 2)
    path = clips.write(tmp_path / "a.wav", [tone, right * tone], subtype="FLOAT")
    blocks = audio.blocks(path, None, 0.7)
    samples = np.concatenate(list(blocks))
    assert blocks.notes.get("cancelled_s", 0) == cancelled
    np.testing.assert_allclose(samples, tone if cancelled else tone * (1 + right) / 2, atol=1e-6)
    np.testing.assert_array_equal(samples, audio.read(path, None))


def test_a_channel_stands_for_the_mix_only_while_they_cancel(tmp_path: Path) -> None:
    tone, half = clips.tone(440, 2), np.repeat([1.0, -1.0], 16_000)
    blocks = audio.blocks(clips.write(tmp_path / "a.wav", [tone, half * tone], subtype="FLOAT"), None, 10.0)
    np.testing.assert_allclose(next(blocks), tone, atol=1e-6)
    assert blocks.meta == {"decoding": {"cancelled_s": 1.0}}


def test_float_samples_above_full_scale_are_kept(tmp_path: Path) -> None:
    samples = audio.read(clips.write(tmp_path / "a.wav", clips.tone(440, 0.1, 20.0), subtype="FLOAT"), None)
    assert np.abs(samples).max() == pytest.approx(20, abs=0.1)


def test_a_tag_that_is_no_unicode_is_no_damage(tmp_path: Path) -> None:
    path = tmp_path / "a.m4a"
    with av.open(str(path), "w", format="mp4") as container:
        container.metadata["title"] = "XXXXXXXX"
        add_tone(container, container.add_stream("aac", rate=44_100, layout="mono"), 1.0)
    path.write_bytes(path.read_bytes().replace(b"XXXXXXXX", b"\xff\xfe\xe9\xe8" * 2))
    assert len(audio.read(path, 16_000)) / 16_000 == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize(
    "name", ["-i.wav", "concat:a.wav", "file:a.wav", "http:a.wav", "a\nb.wav", "%03d.wav", "b\udcff.wav"]
)
def test_a_name_is_only_a_name(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    try:
        Path(os.fsdecode(os.fsencode(name))).write_bytes(wav(0.5))
    except (OSError, UnicodeError):
        pytest.skip("the file system has no such name")
    assert len(audio.read(Path(name), 16_000)) == 8000


HOSTILE = {
    "a.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:6,\nfile://{secret}\n#EXT-X-ENDLIST\n",
    "b.wav": "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:6,\n{secret}\n#EXT-X-ENDLIST\n",
    "c.ffconcat": "ffconcat version 1.0\nfile '{secret}'\n",
    "d.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\n",
    "e.sbg": "-SE\noff: -\nts: 300+4/20 pink/40\n0:00 ts\n9:00 off ->\n",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_clip_opens_no_other_file_or_address(tmp_path: Path, name: str) -> None:
    secret, path = tmp_path / "secret.wav", tmp_path / name
    secret.write_bytes(wav())
    path.write_text(HOSTILE[name].format(secret=secret))
    with pytest.raises(ClipError, match="cannot be decoded"):
        audio.read(path, 16_000)


def test_an_hour_is_not_held(tmp_path: Path) -> None:
    path = tmp_path / "long.flac"
    minute = clips.tone(440, 60).astype(np.float32)
    with soundfile.SoundFile(path, "w", 16_000, 2) as file:
        for _ in range(60):
            file.write(np.stack([minute, minute], 1))
    code = (
        "import resource, sys; from pathlib import Path; from cascade.io import audio\n"
        "list(zip(audio.blocks(Path(sys.argv[1]), None, 10), range(2)))\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "n = sum(len(block) for block in audio.blocks(Path(sys.argv[1]), None, 10))\n"
        "print(n, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True)
    samples, grown = map(int, done.stdout.split())
    assert samples == 3600 * 16_000
    assert grown < 20_000  # kB; the clip would be 460 MB
