"""Measured facts: what is synthesised is what is measured, and silence, noise and scraps are no trouble."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from cascade.captioners.signal import engine
from cascade.errors import ClipError
from cascade.types import Caption, Host

np = pytest.importorskip("numpy")
pytest.importorskip("soundfile")
pytest.importorskip("soxr")
pytest.importorskip("av")
pytest.importorskip("librosa")

from cascade.captioners.signal import measures  # noqa: E402
from tests.support import clips  # noqa: E402

SCALE = (60, 62, 64, 65, 67, 69, 71, 72)
A_MINOR = ((57, 60, 64), (62, 65, 69), (64, 67, 71), (57, 60, 64)) * 4


@pytest.fixture
def describe(tmp_path: Path) -> Any:
    """A function from samples (or rows of channels) to their caption."""
    caption: Any = engine.make(engine.Params(), Host())

    def hear(samples: Any, rate: int = clips.RATE) -> Caption:
        result: Caption = caption([clips.write(tmp_path / "clip.wav", samples, rate)])[0]
        json.dumps(result.meta, allow_nan=False)
        assert 0 < len(result.text.split()) < 120
        return result

    return hear


def test_the_golden_text_of_a_scale(describe: Any) -> None:
    expected = """\
The clip lasts 4.0 s (mono, 16000 Hz). Its level is -19 dBFS (peak -10) and steady.
There are 8 distinct onsets, at 0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5 s. They follow a regular pulse of about 120 a \
minute. The sound is tonal. The notes fit C major best. A single clear pitch sounds in 96% of it, from C4 (262 Hz) to \
C5 (523 Hz), rising."""
    assert describe(clips.melody(SCALE)).text == expected


def test_meta_has_what_the_contract_names(describe: Any) -> None:
    samples = clips.melody(SCALE)
    meta = describe(samples).meta
    assert meta["duration_s"] == 4.0 and meta["sample_rate"] == 16_000 and meta["channels"] == 1
    assert meta["key"] == "C major" and meta["tempo_bpm"] == pytest.approx(120, rel=0.03)
    assert meta["rms_db"] == pytest.approx(10 * np.log10((samples**2).mean()), abs=0.01)
    assert meta["device"] == "cpu" and {"librosa", "numpy", "soxr", "seconds"} <= meta.keys()


@pytest.mark.parametrize("beats", [60, 75, 90, 100, 120, 140, 170])
def test_tempo_and_count_of_clicks(describe: Any, beats: int) -> None:
    meta = describe(clips.clicks(beats, 12)).meta
    assert meta["tempo_bpm"] == pytest.approx(beats, rel=0.03)
    assert meta["onsets"] == len(np.arange(0.3, 11.9, 60 / beats))
    assert meta["onset_times"][0] == pytest.approx(0.3, abs=0.03)


@pytest.mark.parametrize("shift", range(0, 12, 3))
@pytest.mark.parametrize("mode", ["major", "minor"])
def test_keys(describe: Any, shift: int, mode: str) -> None:
    steps = (0, 2, 4, 5, 7, 9, 11, 12) if mode == "major" else (0, 2, 3, 5, 7, 8, 11, 12)
    tonic = ("C", "Eb", "F#", "A")[shift // 3]
    assert (
        describe(clips.melody([60 + shift + step for step in (*steps, *reversed(steps))])).meta["key"]
        == f"{tonic} {mode}"
    )


def test_chords_have_a_key_and_no_single_pitch(describe: Any) -> None:
    result = describe(clips.chords(A_MINOR))
    assert result.meta["key"] == "A minor" and result.meta["onsets"] == 16
    assert "pitch" not in result.text


@pytest.mark.parametrize("count", [1, 2, 3, 6, 11])
def test_beeps_are_counted(describe: Any, count: int) -> None:
    result = describe(np.concatenate([clips.silence(0.5), clips.beeps(count)]))
    assert result.meta["onsets"] == count
    assert result.meta["onset_times"] == pytest.approx([0.5 + 0.8 * index for index in range(count)], abs=0.03)
    assert "One steady pitch sounds, B5 (1000 Hz)." in result.text
    assert result.meta["key"] is None


def test_knocks_are_counted_and_percussive(describe: Any) -> None:
    knock = np.concatenate([clips.noise(0.125, 0.2) * np.exp(-np.arange(2000) / 150), clips.silence(0.6)])
    result = describe(np.concatenate([clips.silence(1), *[knock] * 4]))
    assert result.meta["onsets"] == 4
    assert "percussive and noise-like" in result.text
    assert result.meta["silences"][0] == [0.0, 1.0]


@pytest.mark.parametrize("level", [0.001, 0.1])
def test_noise_is_noise_like_and_nothing_more(describe: Any, level: float) -> None:
    result = describe(clips.noise(10, level))
    assert "steady" in result.text and "noise-like" in result.text
    assert result.meta["tempo_bpm"] is None and result.meta["key"] is None and result.meta["pitch_hz"] is None


def test_silence_is_said(describe: Any) -> None:
    result = describe(clips.silence(3))
    assert result.text.endswith("The whole clip is silent: nothing in it is louder than -70 dBFS.")
    assert result.meta["tempo_bpm"] is None and result.meta["key"] is None and result.meta["rms_db"] == -120.0


def test_silences_within_a_clip(describe: Any) -> None:
    result = describe(np.concatenate([clips.tone(440, 2), clips.silence(1.5), clips.tone(440, 1)]))
    assert result.meta["silences"] == [pytest.approx([2.0, 3.5], abs=0.1)]
    assert "It is silent from 2.0 to 3.5 s." in result.text


@pytest.mark.parametrize(
    ("first", "last", "word"), [(200, 800, "rising"), (800, 200, "falling")], ids=["rising", "falling"]
)
def test_contour_and_loudness_follow(describe: Any, first: int, last: int, word: str) -> None:
    fade = np.geomspace(*((0.05, 1) if word == "rising" else (1, 0.05)), 5 * clips.RATE)
    result = describe(clips.glide(first, last, 5) * fade)
    assert f", {word} from -" in result.text and result.text.endswith(f", {word}.")
    assert result.meta["pitch_hz"] == [pytest.approx(218, rel=0.03), pytest.approx(782, rel=0.03)]


def test_louder_in_the_middle(describe: Any) -> None:
    result = describe(np.concatenate([clips.tone(440, 2, level) for level in (0.05, 0.5, 0.05)]))
    assert "loudest in the middle" in result.text


@pytest.mark.parametrize(
    ("left", "right", "says"),
    [
        (1.0, 0.2, "14 dB louder on the left"),
        (0.0, 1.0, "only on the right"),
        (1.0, 1.0, "Both channels are the same"),
        (1.0, -0.9, "equally loud"),
    ],
)
def test_stereo(describe: Any, left: float, right: float, says: str) -> None:
    wave = clips.tone(440, 3)
    assert says in describe([left * wave, right * wave]).text


def test_a_sound_that_moves(describe: Any) -> None:
    angle = np.linspace(0, np.pi / 2, 6 * clips.RATE)
    result = describe([clips.tone(440, 6) * np.cos(angle), clips.tone(440, 6) * np.sin(angle)])
    assert "The sound moves: left 0.0-2.5 s, centre 2.5-3.5 s, right 3.5-6.0 s." in result.text


def test_channels_that_cancel(describe: Any) -> None:
    result = describe([clips.tone(440, 2), -clips.tone(440, 2)])
    assert "The channels cancel each other when mixed.\n" in result.text
    assert "One steady pitch sounds, A4 (440 Hz)." in result.text
    assert result.meta["decoding"] == {"cancelled_s": 2.0}


def test_clipping_is_a_share(describe: Any) -> None:
    result = describe(np.clip(clips.tone(220, 2, 2.0), -1, 1))
    assert result.meta["flat_tops"] == pytest.approx(0.6, abs=0.1)
    assert "flat tops" in result.text
    assert "flat tops" not in describe(clips.tone(50, 2, 0.2)).text


@pytest.mark.parametrize("samples", [1, 2, 3, 100, 441, 1600, 8000])
@pytest.mark.parametrize("rate", [8_000, 96_000])
def test_scraps(describe: Any, samples: int, rate: int) -> None:
    result = describe(clips.noise(1)[:samples], rate)
    assert result.meta["duration_s"] == pytest.approx(samples / rate, abs=1e-4)
    assert result.meta["tempo_bpm"] is None


def test_extremes(describe: Any, tmp_path: Path) -> None:
    huge = clips.write(tmp_path / "huge.wav", clips.tone(440, 1) * 300, subtype="FLOAT")
    caption: Any = engine.make(engine.Params(), Host())
    assert "A4 (440 Hz)" in caption([huge])[0].text
    assert "6 channels" in describe([clips.tone(440, 1)] * 6).text


def test_blocks_leave_no_seam(describe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = clips.melody(SCALE * 2)
    whole = describe(samples)
    monkeypatch.setattr(measures, "BLOCK", 0.75)
    cut = describe(samples)
    assert cut.text == whole.text
    assert {**cut.meta, "seconds": 0} == {**whole.meta, "seconds": 0}


def test_a_clip_is_alike_in_any_company(tmp_path: Path) -> None:
    paths = [clips.write(tmp_path / f"{i}.wav", made) for i, made in enumerate([clips.noise(2), clips.melody(SCALE)])]
    caption: Any = engine.make(engine.Params(), Host())
    alone = [caption([path])[0].text for path in paths]
    assert [result.text for result in caption(paths[::-1])] == alone[::-1]
    with pytest.raises(ClipError, match=r"gone\.wav: No such file"):
        caption([paths[0], tmp_path / "gone.wav"])


def test_ten_seconds_take_less_than_one(describe: Any) -> None:
    samples = clips.chords(A_MINOR)[: 10 * clips.RATE]
    describe(samples)
    began = time.perf_counter()
    describe(samples)
    assert time.perf_counter() - began < 1.0


def test_params_change_the_words(tmp_path: Path) -> None:
    path = clips.write(tmp_path / "a.wav", clips.beeps(3))
    caption: Any = engine.make(engine.Params(listed=2, shortest_silence=2.0), Host())
    brief = caption([path])[0].text
    assert "There are 3 distinct onsets, 1.2 a second." in brief and "silent" not in brief
