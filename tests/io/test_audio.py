"""Decoding: every shape of clip becomes mono float32 at the rate asked for, and a bad one says in a line why not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cascade.errors import ClipError
from cascade.io import audio

np = pytest.importorskip("numpy")
soundfile = pytest.importorskip("soundfile")
av = pytest.importorskip("av")
pytest.importorskip("soxr")

from tests.support import clips  # noqa: E402


def test_mono_is_the_mean_of_the_channels(tmp_path: Path) -> None:
    left, right = clips.tone(440, 0.5), clips.tone(300, 0.5)
    path = clips.write(tmp_path / "a.wav", [left, right], subtype="FLOAT")
    heard = audio.read(path, clips.RATE)
    assert heard.dtype == np.float32 and heard.shape == (8000,)
    np.testing.assert_allclose(heard, (left + right) / 2, atol=1e-6)
    assert audio.read(path, None, mono=False).shape == (8000, 2)
    assert audio.probe(path) == audio.Clip(duration_s=0.5, sample_rate=16_000, channels=2)


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "FLOAT", "DOUBLE"])
@pytest.mark.parametrize("rate", [8_000, 44_100, 96_000])
def test_every_width_and_rate_gives_the_same_tone(tmp_path: Path, subtype: str, rate: int) -> None:
    wave = 0.5 * np.sin(2 * np.pi * 440 * np.arange(rate) / rate)
    heard = audio.read(clips.write(tmp_path / "a.wav", wave, rate, subtype), 16_000)
    assert len(heard) == 16_000
    expected = 0.5 * np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000)
    np.testing.assert_allclose(heard[500:-500], expected[500:-500], atol=0.01)


@pytest.mark.parametrize("rate", [8_000, 16_000, 96_000])
def test_one_sample_is_a_clip(tmp_path: Path, rate: int) -> None:
    path = clips.write(tmp_path / "a.wav", [0.5], rate)
    assert len(audio.read(path, 16_000)) >= 1
    assert audio.read(path, 16_000, mono=False).shape[1] == 1


@pytest.mark.parametrize("seconds", [0.25, 0.7, 5.0])
@pytest.mark.parametrize("mono", [True, False])
def test_blocks_are_the_clip_cut_up(tmp_path: Path, seconds: float, mono: bool) -> None:
    path = clips.write(tmp_path / "a.wav", [clips.noise(2), clips.noise(2, seed=1)], 44_100)
    blocks = list(audio.blocks(path, 16_000, seconds, mono=mono))
    assert {len(block) for block in blocks[:-1]} <= {round(seconds * 16_000)}
    np.testing.assert_array_equal(np.concatenate(blocks), audio.read(path, 16_000, mono=mono))


def test_a_long_clip_is_not_held(tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    minute = clips.noise(60).astype(np.float32)
    with soundfile.SoundFile(path, "w", 16_000, 1) as file:
        for _ in range(20):
            file.write(minute)
    code = (
        "import resource, sys; from pathlib import Path; from cascade.io import audio\n"
        "list(zip(audio.blocks(Path(sys.argv[1]), 22050, 10), range(2)))\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "n = sum(len(block) for block in audio.blocks(Path(sys.argv[1]), 22050, 10))\n"
        "print(n, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True)
    samples, grown = map(int, done.stdout.split())
    assert samples == 1200 * 22_050
    assert grown < 20_000  # kB; the clip would be 105 MB


def _encoded(path: Path, codec: str, rate: int) -> Path:
    wave = np.stack([clips.tone(440, 1.0), clips.tone(440, 1.0)]).astype(np.float32)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, layout="stereo")
        frame = av.AudioFrame.from_ndarray(wave, format="fltp", layout="stereo")
        frame.sample_rate = clips.RATE
        fit = av.AudioResampler(stream.format, "stereo", rate, frame_size=stream.codec_context.frame_size or 1024)
        for part in (*fit.resample(frame), None):
            container.mux(stream.encode(part))
    return path


@pytest.mark.parametrize(("name", "codec", "rate"), [("a.m4a", "aac", 44_100), ("a.mkv", "pcm_s16le", 16_000)])
def test_what_soundfile_cannot_read_pyav_does(tmp_path: Path, name: str, codec: str, rate: int) -> None:
    path = _encoded(tmp_path / name, codec, rate)
    facts = audio.probe(path)
    assert (facts.sample_rate, facts.channels) == (rate, 2)
    assert facts.duration_s == pytest.approx(1.0, abs=0.1)
    heard = audio.read(path, 16_000)
    assert np.abs(heard[4000:12000]).max() == pytest.approx(0.3, abs=0.03)


def test_mp3_and_a_header_without_a_length(tmp_path: Path) -> None:
    mp3 = tmp_path / "a.mp3"
    soundfile.write(mp3, clips.tone(440, 1.0), clips.RATE, format="MP3")
    assert audio.probe(mp3).duration_s == pytest.approx(1.0, abs=0.1)
    flac = tmp_path / "a.flac"
    soundfile.write(flac, clips.tone(440, 1.0), clips.RATE)
    data = bytearray(flac.read_bytes())
    data[21] &= 0xF0
    data[22:26] = bytes(4)  # the count of samples in the header: unknown
    flac.write_bytes(data)
    assert audio.probe(flac).duration_s == 1.0
    assert len(audio.read(flac, 8_000)) == 8_000


def test_a_cut_wav_is_heard_as_far_as_it_goes(tmp_path: Path) -> None:
    path = clips.write(tmp_path / "a.wav", clips.tone(440, 1.0))
    path.write_bytes(path.read_bytes()[: 44 + 16_000])
    assert len(audio.read(path, None)) == 8_000


def _bad(folder: Path) -> dict[str, tuple[Path, str]]:
    """Bad clips by kind, with what is said of each."""
    junk = np.random.default_rng(0).bytes(4000)
    made = {
        "empty.wav": (b"", r"empty\.wav: empty file \(0 bytes\)"),
        "text.wav": (b"hello\n" * 50, r"text\.wav: cannot be decoded \("),
        "junk.mp3": (junk, r"junk\.mp3: cannot be decoded \("),
        "junk.wav": (b"RIFF" + junk, r"junk\.wav: cannot be decoded \("),
        "sync.mp3": (b"\xff\xfb" + junk, r"sync\.mp3: cannot be decoded \("),
        "byte.wav": (b"\xff", r"byte\.wav: cannot be decoded \("),
    }
    for name, (data, _) in made.items():
        (folder / name).write_bytes(data)
    bad = {name: (folder / name, match) for name, (_, match) in made.items()}
    (folder / "folder.wav").mkdir()
    holed = clips.silence(0.1)
    holed[7] = np.nan
    loud = clips.tone(440, 0.1)
    loud[7] = 1e30
    os.mkfifo(folder / "pipe.wav")
    return bad | {
        "pipe": (folder / "pipe.wav", r"pipe\.wav: is not a regular file"),
        "integers": (
            clips.write(folder / "integers.wav", clips.tone(440, 0.1) * 32768, subtype="FLOAT"),
            r"integers\.wav: holds samples of 9\.83e\+03 where full scale is 1; if they are 16-bit integers that were ",
        ),
        "loud": (
            clips.write(folder / "loud.wav", loud, subtype="DOUBLE"),
            r"loud\.wav: holds samples of 1e\+30 where full scale is 1$",
        ),
        "missing": (folder / "missing.wav", r"missing\.wav: No such file or directory"),
        "folder": (folder / "folder.wav", r"folder\.wav: Is a directory"),
        "device": (Path("/dev/null"), r"null: is not a regular file"),
        "nan": (
            clips.write(folder / "nan.wav", holed, subtype="FLOAT"),
            r"nan\.wav: holds samples that are not numbers",
        ),
        "void": (clips.write(folder / "void.wav", []), r"void\.wav: holds no audio samples"),
    }


def test_bad_clips_are_clip_errors_of_one_line_and_nothing_else(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    bad = _bad(tmp_path)
    assert len(bad) == 14
    for path, match in bad.values():
        with pytest.raises(ClipError, match=f"^{match}") as caught:
            audio.read(path, 16_000)
        assert "\n" not in str(caught.value) and str(tmp_path) not in str(caught.value)
        assert caught.value.failure().kind == "audio"
    assert capfd.readouterr() == ("", "")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file_is_a_clip_error(tmp_path: Path) -> None:
    path = clips.write(tmp_path / "a.wav", clips.tone(440, 0.1))
    path.chmod(0)
    with pytest.raises(ClipError, match=r"a\.wav: cannot be opened \(Permission denied\)"):
        audio.read(path, None)


def test_a_video_without_sound_holds_no_audio(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("rawvideo", rate=1)
        stream.width = stream.height = 16
        stream.pix_fmt = "gray"
        frame = av.VideoFrame.from_ndarray(np.zeros((16, 16), np.uint8), format="gray")
        container.mux([*stream.encode(frame), *stream.encode(None)])
    with pytest.raises(ClipError, match=r"a\.mkv: holds no audio"):
        audio.probe(path)


def test_importing_loads_no_library() -> None:
    code = "import sys, cascade.io.audio; print(sorted({'numpy', 'soundfile', 'av', 'soxr'} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
