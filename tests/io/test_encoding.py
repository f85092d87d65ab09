"""Clips as they are sent, decoded again by another library."""

from __future__ import annotations

import io
import time
import wave
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from cascade.errors import ClipError, UserError
from cascade.io import audio, encoding
from cascade.io.encoding import AudioForm

np = pytest.importorskip("numpy")
av = pytest.importorskip("av")
soundfile = pytest.importorskip("soundfile")
pytest.importorskip("soxr")

from tests.support.clips import glide, noise, silence, tone, write  # noqa: E402
from tests.support.hearing_server import pitch  # noqa: E402


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Four seconds in stereo at 48 kHz: a tone on the left, another on the right."""
    rate = 48_000
    time = np.arange(4 * rate) / rate
    return write(tmp_path / "The answer is a bell.flac", [0.3 * np.sin(2 * np.pi * f * time) for f in (440, 660)], rate)


def decoded(data: bytes) -> tuple[Any, int]:
    """Samples of shape (channels, frames), by FFmpeg's decoders."""
    with av.open(io.BytesIO(data)) as container:
        plain = av.AudioResampler(format="fltp")
        frames = [part for frame in container.decode(audio=0) for part in plain.resample(frame)]
        return np.concatenate([frame.to_ndarray() for frame in frames], axis=1), frames[0].sample_rate


def test_a_wav_file_holds_the_decoded_samples(clip: Path) -> None:
    samples, rate = decoded(encoding.encode(clip, AudioForm())[0])
    assert (samples.shape, rate) == ((1, 64_000), 16_000)
    assert np.abs(samples[0] - audio.read(clip, 16_000)).max() <= 1 / 32767


def test_source_keeps_rate_and_channels_to_the_bit(clip: Path) -> None:
    sent, _ = encoding.encode(clip, AudioForm(rate="source", channels="source"))
    with wave.open(io.BytesIO(sent)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (48_000, 2, 2)
        frames = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, 2)
    expected, _ = soundfile.read(clip, dtype="int16")
    assert np.abs(frames.astype(int) - expected).max() <= 1


@pytest.mark.parametrize("channels", ["mono", "source"])
def test_an_mp3_file_has_the_tones_and_no_name(clip: Path, channels: str) -> None:
    sent, kind = encoding.encode(clip, AudioForm(format="mp3", channels=channels))
    samples, rate = decoded(sent)
    assert (kind, rate, len(samples)) == ("mp3", 16_000, 1 if channels == "mono" else 2)
    assert abs(samples.shape[1] - 64_000) < 2 * 1152
    assert {round(pitch(channel, rate), -1) for channel in samples} <= {440, 660}
    assert b"bell" not in sent and len(sent) < 70_000
    assert sent == encoding.encode(clip, AudioForm(format="mp3", channels=channels))[0]


def test_original_is_the_file_by_its_first_bytes(clip: Path, tmp_path: Path) -> None:
    renamed = clip.rename(tmp_path / "no-ending")
    form = AudioForm(format="original", rate="8000")
    sent, kind = encoding.encode(renamed, form)
    assert (form.rate, form.channels) == ("source", "source")
    assert (kind, sent) == ("flac", renamed.read_bytes())
    aiff = tmp_path / "clip.aiff"
    soundfile.write(aiff, silence(1), 16_000)
    with pytest.raises(ClipError, match=r"clip\.aiff: neither wav, mp3"):
        encoding.encode(aiff, form)


@pytest.mark.parametrize("form", [AudioForm(), AudioForm(format="mp3")])
def test_the_controls_are_as_long_as_the_clip(tmp_path: Path, form: AudioForm) -> None:
    clip = write(tmp_path / "clip.wav", glide(200, 2000, 3) + noise(3, 0.01))
    plain, rate = decoded(encoding.encode(clip, form)[0])
    quiet, _ = decoded(encoding.encode(clip, encoding.AudioForm(format=form.format, content="silence"))[0])
    backwards, _ = decoded(encoding.encode(clip, encoding.AudioForm(format=form.format, content="reversed"))[0])
    assert plain.shape == quiet.shape == backwards.shape
    assert np.abs(quiet).max() < 1e-4
    assert pitch(backwards[0][:rate], rate) > 1000 > pitch(plain[0][:rate], rate)


def test_a_clip_that_is_too_long_is_a_clip_error(tmp_path: Path) -> None:
    clip = write(tmp_path / "clip.wav", tone(440, 2.5))
    assert encoding.describe(clip, AudioForm(max_seconds=2.5))[0]["seconds"] == 2.5
    with pytest.raises(ClipError, match=r"clip\.wav: longer than the 2 s of audio"):
        encoding.describe(clip, AudioForm(max_seconds=2))


def test_mp3_takes_two_channels_and_its_own_rates(tmp_path: Path) -> None:
    clip = write(tmp_path / "clip.wav", [tone(440, 1)] * 3)
    with pytest.raises(ClipError, match="mp3 takes no 3 channels at 16000 Hz"):
        encoding.describe(clip, AudioForm(format="mp3", channels="source"))


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"format": "ogg"}, "unknown audio format 'ogg'"),
        ({"channels": "5"}, "unknown audio channels '5'"),
        ({"content": "noise"}, "unknown audio content 'noise'"),
        ({"rate": "7999"}, "audio(rate=7999): give source, or a rate in Hz: 8000 to 192000"),
        ({"rate": "-1"}, "audio(rate=-1)"),
        ({"rate": "44000", "format": "mp3"}, "24000, 32000, 44100, 48000"),
        ({"max_seconds": 0}, "audio(max_seconds=0): give a number of seconds above 0"),
    ],
)
def test_a_form_that_cannot_be_is_one_line(params: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as error:
        AudioForm(**params)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_what_was_lost_in_decoding_is_told(tmp_path: Path) -> None:
    clip = tmp_path / "clip.flac"
    soundfile.write(clip, noise(6), 16_000)
    clip.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    about, notes = encoding.describe(clip, AudioForm())
    assert about["seconds"] < 6 and notes["decoding"]["lost_s"] > 1
    assert encoding.encode(clip, AudioForm())[1] == "wav"


def test_the_last_four_clips_are_encoded_once_each(tmp_path: Path) -> None:
    paths = [write(tmp_path / f"{pitch}.wav", tone(pitch, 0.1)) for pitch in (300, 400, 500, 600, 700)]
    encoded: list[Path] = []

    def encode(clip: Path) -> bytes:
        encoded.append(clip)
        time.sleep(0.05)
        return clip.read_bytes()

    recent = encoding.RecentClips(encode)
    with ThreadPoolExecutor(16) as threads:
        assert set(threads.map(recent, [paths[0]] * 16)) == {paths[0].read_bytes()}
    assert encoded == paths[:1]
    for path in [*paths[1:4], paths[0], paths[4], paths[0], paths[1]]:
        recent(path)
    assert encoded == [*paths, paths[1]]  # the second clip was the one that had not been used for longest
    write(paths[0], tone(800, 0.2))
    assert recent(paths[0]) == paths[0].read_bytes()


def test_every_thread_learns_why_a_clip_cannot_be_encoded(tmp_path: Path) -> None:
    path = write(tmp_path / "300.wav", tone(300, 0.1))

    def encode(clip: Path) -> bytes:
        time.sleep(0.05)
        raise ClipError("no sound")

    recent = encoding.RecentClips(encode)
    with ThreadPoolExecutor(4) as threads:
        failures = [threads.submit(recent, path).exception(timeout=10) for _ in range(4)]
    assert [str(failure) for failure in failures] == ["no sound"] * 4
