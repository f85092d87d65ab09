"""Clips sent to models elsewhere, over real HTTP to a server that checks what it gets, through the real litellm."""

from __future__ import annotations

import base64
import io
import json
import threading
import time
import wave
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from cascade.captioners.registry import Engine
from cascade.captioners.remote.client import RecentClips
from cascade.captioning import bundles, generate
from cascade.captioning.backends import local
from cascade.captioning.cache import CaptionCache
from cascade.errors import ClipError, ProviderStop, UnknownName, UserError
from cascade.io.digests import digest_file
from cascade.prompting import templates
from cascade.types import Caption, Execution, Failure, Host, Item
from tests.support import clips
from tests.support.commands import cascade
from tests.support.stub_server import Reply, Stub

np = pytest.importorskip("numpy")
if find_spec("litellm") is None:  # importing it here would send it to the network for prices
    pytest.skip("litellm is not installed", allow_module_level=True)
pytest.importorskip("soundfile")
pytest.importorskip("soxr")

KEY = "sk-not-a-real-key-0123456789"


def decoded(data: bytes) -> tuple[int, Any]:
    """The rate and samples of a mono WAV file of 16 bits."""
    with wave.open(io.BytesIO(data)) as file:
        assert (file.getnchannels(), file.getsampwidth()) == (1, 2)
        return file.getframerate(), np.frombuffer(file.readframes(file.getnframes()), "<i2") / 32767


def loudest(samples: Any, rate: int) -> float:
    """The strongest frequency in Hz."""
    return float(np.abs(np.fft.rfft(samples)).argmax() * rate / len(samples))


def hear(name: str, given: dict[str, Any], paths: Sequence[Path], stub: Stub | None, **how: Any) -> dict[Path, Any]:
    spec, _ = Engine(name).specify("sound", given)
    endpoints = {spec.params["model"]: stub.url} if stub else {}
    host = Host(endpoints=endpoints, **{"retries": 0, "timeout": 20.0, **how})
    return dict(local.run(spec, host, paths))


def tones(folder: Path, *hertz: int, seconds: float = 1.0) -> list[Path]:
    return [clips.write(folder / f"secret-answer-{pitch}.wav", clips.tone(pitch, seconds)) for pitch in hertz]


def sent(request: dict[str, Any]) -> tuple[int, Any]:
    """The audio in a chat request."""
    sound = request["messages"][-1]["content"][-1]
    assert sound["type"] == "input_audio" and sound["input_audio"]["format"] == "wav"
    return decoded(base64.b64decode(sound["input_audio"]["data"]))


def by_pitch(request: dict[str, Any], number: int) -> Reply:
    rate, samples = sent(request)
    return Reply(text=f"<think>Hm.</think> A tone of {loudest(samples, rate):.0f} Hz.")


def test_a_chat_model_hears_each_clip_and_no_name_goes_out(tmp_path: Path) -> None:
    paths = tones(tmp_path, 300, 500, 700, 900)
    stereo = clips.write(tmp_path / "stereo.flac", [clips.tone(400, 1)] * 2)
    with Stub(by_pitch) as stub:
        results = hear("audio-llm", {"model": "gpt-4o-audio-preview", "rate": 8000}, [*paths, stereo], stub)
    assert [results[path].text for path in [*paths, stereo]] == [
        f"A tone of {hertz} Hz." for hertz in (300, 500, 700, 900, 400)
    ]
    request = stub.asked[0]
    assert request["model"] == "gpt-4o-audio-preview" and (request["temperature"], request["max_tokens"]) == (0, 1024)
    assert request["messages"][0]["content"][0]["text"].startswith("Describe this audio clip")
    assert sent(request)[0] == 8000 and len(sent(request)[1]) == 8000
    assert "secret" not in json.dumps(stub.asked)
    meta = results[paths[0]].meta
    json.dumps(meta, allow_nan=False)
    assert (meta["input_tokens"], meta["output_tokens"], meta["finish"], meta["duration_s"]) == (11, 7, ["stop"], 1.0)
    assert stub.url not in json.dumps(meta)


@pytest.mark.parametrize(("name", "given"), [("audio-llm", {"model": "m"}), ("asr-api", {"format": "json"})])
def test_what_a_clip_lacks_is_in_meta(name: str, given: dict[str, Any], tmp_path: Path) -> None:
    path = clips.write_cut(tmp_path / "a.wav")
    with Stub(by_pitch if name == "audio-llm" else transcription()) as stub:
        caption = hear(name, given, [path], stub)[path]
    assert caption.meta["decoding"] == {"lost_s": 1.0}


def test_a_long_clip_goes_out_in_windows_and_is_told_with_times(tmp_path: Path) -> None:
    path = clips.write(tmp_path / "a.wav", np.concatenate([clips.tone(300, 4), clips.silence(1), clips.tone(500, 4)]))
    with Stub(by_pitch) as stub:
        caption = hear("audio-llm", {"model": "m", "window": "6", "prompt": "none"}, [path], stub)[path]
    assert [request["messages"][0]["content"][0]["type"] for request in stub.asked] == ["input_audio"] * 2
    windows = caption.meta["windows"]
    assert [window["text"] for window in windows] == ["A tone of 300 Hz.", "A tone of 500 Hz."]
    assert 4 < windows[0]["end"] == windows[1]["start"] < 5 and windows[1]["end"] == 9.0
    assert caption.text == "0-4 s: A tone of 300 Hz. 4-9 s: A tone of 500 Hz."
    assert sum(len(sent(request)[1]) for request in stub.asked) == 9 * 16_000


def test_gemini_gets_the_clip_in_its_own_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEMINI_API_KEY", "not-a-real-key-0123456789")
    reply = {"candidates": [{"content": {"parts": [{"text": "Rain."}], "role": "model"}, "finishReason": "STOP"}]}
    counted = {**reply, "usageMetadata": {"promptTokenCount": 9, "candidatesTokenCount": 2, "totalTokenCount": 11}}
    (path,) = tones(tmp_path, 300)
    with Stub(lambda request, number: Reply(raw=json.dumps(counted).encode())) as stub:
        caption = hear("audio-llm", {"preset": "gemini"}, [path], stub)[path]
    assert not isinstance(caption, Failure), (caption, stub.asked)
    assert caption.text == "Rain." and caption.meta["input_tokens"] == 9
    words, sound = stub.asked[0]["contents"][0]["parts"]
    assert words["text"].startswith("Describe this audio clip")
    inline = sound.get("inline_data") or sound["inlineData"]
    rate, samples = decoded(base64.b64decode(inline["data"]))
    assert loudest(samples, rate) == 300
    assert stub.asked[0]["generationConfig"]["temperature"] == 0


def test_calls_are_side_by_side_up_to_the_bound(tmp_path: Path) -> None:
    paths = tones(tmp_path, *range(300, 312), seconds=0.1)
    with Stub(delay=0.2) as stub:
        results = hear("audio-llm", {"model": "m"}, paths, stub, concurrency=4)
    assert len(results) == 12 and stub.most_at_once == 4


def test_a_failure_costs_one_clip_and_one_call(tmp_path: Path) -> None:
    paths = tones(tmp_path, 300, 500, 700, 900)
    (tmp_path / "bad.mp3").write_text("no sound")

    def script(request: dict[str, Any], number: int) -> Reply:
        pitch = round(loudest(sent(request)[1], 16_000))
        return {500: Reply(text="", finish="content_filter"), 700: Reply(text="")}.get(pitch, Reply(text="Rain."))

    with Stub(script) as stub:
        results = hear("audio-llm", {"model": "m"}, [*paths, tmp_path / "bad.mp3"], stub, concurrency=1)
    kinds = [result.kind if isinstance(result, Failure) else result.text for result in results.values()]
    assert kinds == ["Rain.", "content_filter", "empty", "Rain.", "audio"] and len(stub.asked) == 4


def test_passing_faults_are_tried_again(tmp_path: Path) -> None:
    (path,) = tones(tmp_path, 300)
    faults = [Reply(status=429, text="slow", headers={"Retry-After": "0"}), Reply(raw=b"{"), Reply(text="Rain.")]
    with Stub(lambda request, number: faults[number]) as stub:
        results = hear("audio-llm", {"model": "m"}, [path], stub, retries=2)
    assert results[path].text == "Rain." and len(stub.asked) == 3


@pytest.mark.parametrize("name", ["audio-llm", "asr-api"])
def test_a_wrong_key_stops_at_once_and_is_not_shown(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    paths = tones(tmp_path, *range(300, 340, 2), seconds=0.1)
    refusing = Stub(lambda request, number: Reply(status=401, text=f"Incorrect key {KEY}"))
    with refusing as stub, pytest.raises(ProviderStop, match=r"model=openai/m: the key is wrong") as caught:
        hear(name, {"model": "openai/m"}, paths, stub, concurrency=2)
    assert KEY not in str(caught.value) and len(stub.asked) <= 4
    assert all(request["Authorization"] == f"Bearer {KEY}" for request in stub.headers)
    assert not [thread for thread in threading.enumerate() if thread.name == "remote"]


def test_leaving_in_the_middle_lets_go(tmp_path: Path) -> None:
    spec, _ = Engine("audio-llm").specify("sound", {"model": "m"})
    with Stub(lambda request, number: Reply(delay=0.0 if number == 0 else 30.0)) as stub:
        running = local.run(
            spec, Host(endpoints={"m": stub.url}, concurrency=2), tones(tmp_path, 300, 500, 700, seconds=0.1)
        )
        next(running)
        running.close()  # type: ignore[attr-defined]  # it is a generator
    assert not [thread for thread in threading.enumerate() if thread.name == "remote"]


SEGMENTS = [
    {"id": 0, "start": 0.0, "end": 1.0, "text": " Hello.", "avg_logprob": -0.2, "no_speech_prob": 0.1},
    {"id": 1, "start": 1.0, "end": 9.0, "text": " Thank you.", "avg_logprob": -1.2, "no_speech_prob": 0.9},
]


def transcription(**fields: Any) -> Callable[[dict[str, Any], int], Reply]:
    return lambda request, number: Reply(raw=json.dumps({"text": "Hello. Thank you.", **fields}).encode())


def test_a_transcription_goes_through_the_gate(tmp_path: Path) -> None:
    path = clips.write(tmp_path / "secret.flac", clips.tone(300, 2), 48_000)
    given = {"model": "whisper-1", "language": "en", "hint": "Ada"}
    with Stub(transcription(language="english", duration=2.0, segments=SEGMENTS)) as stub:
        caption = hear("asr-api", given, [path], stub)[path]
        timed = hear("asr-api", {**given, "times": "true"}, [path], stub)[path]
    assert caption.text == "Hello." and timed.text == "0.0-0.7 s: Hello."  # 2 s at 48 kHz, as the clip's header says
    assert [segment["dropped"] for segment in caption.meta["segments"]] == ["", "improbable"]
    assert caption.meta["raw"] == "Hello. Thank you." and caption.meta["language"] == "english"
    request = stub.asked[0]
    assert stub.paths[0] == "/v1/audio/transcriptions"
    fields = {name: request[name] for name in ("model", "response_format", "language", "prompt", "temperature")}
    assert fields == {
        "model": "whisper-1", "response_format": "verbose_json", "language": "en", "prompt": "Ada", "temperature": "0",
    }  # fmt: skip
    name, content = request["file"]
    rate, samples = decoded(content)
    assert name == "clip.wav" and rate == 16_000 and loudest(samples, rate) == pytest.approx(900, abs=2)


def test_a_transcription_without_segments(tmp_path: Path) -> None:
    paths = tones(tmp_path, 300, 500)
    with Stub(transcription()) as stub:
        results = hear("asr-api", {"format": "json", "model": "openai/gpt-4o-transcribe"}, paths, stub)
    assert {caption.text for caption in results.values()} == {"Hello. Thank you."}
    assert stub.asked[0]["response_format"] == "json" and "language" not in stub.asked[0]
    with Stub(lambda request, number: Reply(raw=b'{"text": ""}')) as stub:
        results = hear("asr-api", {}, paths, stub)
    assert {caption.text for caption in results.values()} == {""}  # silence is a finding


@pytest.mark.parametrize(
    "reply", [Reply(raw=b"[]"), Reply(raw=b'{"no": "text"}'), Reply(raw=b'{"text": "a", "segments": [3]}')]
)
def test_a_transcription_that_cannot_be_read_is_a_failure(tmp_path: Path, reply: Reply) -> None:
    (path,) = tones(tmp_path, 300)
    with Stub(lambda request, number: reply) as stub:
        failure = hear("asr-api", {}, [path], stub)[path]
    assert isinstance(failure, Failure) and "\n" not in failure.message


PAGE = b"<!DOCTYPE html>\n<html><body>Sign in</body></html>"
OTHER_FORMATS = {
    "a page": Reply(raw=PAGE, headers={"Content-Type": "text/html"}),
    "a page called JSON": Reply(raw=PAGE),
    "a text": Reply(raw=b"Hello.", headers={"Content-Type": "text/plain"}),
    "a JSON text": Reply(raw=b'"Hello."'),
    "a page in JSON": Reply(raw=json.dumps({"text": PAGE.decode()}).encode()),
    "a page in a completion": Reply(text=PAGE.decode()),
    "JSON in JSON": Reply(raw=json.dumps({"text": '{"error": "busy"}'}).encode()),
    "subtitles": Reply(raw=json.dumps({"text": "1\n00:00:00,000 --> 00:00:01,000\nHello."}).encode()),
    "no number": Reply(raw=b'{"text": "Hello.", "segments": [{"start": NaN, "end": 1}]}'),
    "broken off": Reply(finish="abort"),
}


@pytest.mark.parametrize("name", OTHER_FORMATS)
@pytest.mark.parametrize(
    "engine", [("asr-api", {}), ("asr-api", {"format": "json"}), ("audio-llm", {"model": "openai/x"})]
)
def test_what_is_not_the_format_asked_for_is_no_caption(engine: tuple[str, Any], name: str, tmp_path: Path) -> None:
    if engine[0] == "audio-llm" and name == "no number":
        pytest.skip("a chat has no segments")
    (path,) = tones(tmp_path, 300)
    with Stub(lambda request, number: OTHER_FORMATS[name]) as stub:
        failure = hear(*engine, [path], stub)[path]
    assert isinstance(failure, Failure) and failure.kind in ("unreadable", "server")


def test_a_page_for_a_transcript_is_tried_again(tmp_path: Path) -> None:
    (path,) = tones(tmp_path, 300)
    good = Reply(raw=b'{"text": "Hello."}')
    with Stub(lambda request, number: good if number else OTHER_FORMATS["a page"]) as stub:
        assert hear("asr-api", {}, [path], stub, retries=1)[path].text == "Hello."


@pytest.mark.parametrize("part", [{}, {"segments": [{"text": PAGE.decode()}]}])
def test_a_page_in_the_cache_is_named_and_made_again(
    part: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = tones(tmp_path, 300, 500)
    spec, _ = Engine("asr-api").specify("speech", {})
    cache = CaptionCache(tmp_path / "cache")
    for path, text in zip(paths, ["Hello." if part else PAGE.decode(), "Good day."], strict=True):
        cache.put(spec, digest_file(path), Caption(text=text, meta=part if path == paths[0] else {}))
    cache.close()
    items = [Item(id=path.stem, audio=path.name, question="q", choices=("a",), answer="a") for path in paths]
    with Stub(lambda request, number: Reply(raw=b'{"text": "Good evening."}')) as stub:
        how = Execution(
            cache=tmp_path / "cache", runs=tmp_path, host=Host(endpoints={"whisper-1": stub.url}, retries=0)
        )
        for _ in range(2):
            records = generate.caption(items, tmp_path, [spec], how)
            assert [record.text for record in records] == ["Good evening.", "Good day."]
        assert len(stub.asked) == 1
    notes = capsys.readouterr().err.splitlines()
    assert notes == [f"speech by asr-api: 1 cached captions are pages or errors, and not used: {paths[0].name}"]


@pytest.mark.parametrize(
    "meta", [{"cost": "much"}, {"cost": [1]}, {"cost": -5}, {"windows": [1, None]}, {"windows": 7}]
)
def test_meta_of_any_shape_is_read(meta: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bundle may be anybody's."""
    monkeypatch.chdir(tmp_path)
    (path,) = tones(tmp_path, 300)
    spec, _ = Engine("asr-api").specify("speech", {})
    with closing(CaptionCache(tmp_path / "cache")) as cache:
        cache.put(spec, digest_file(path), Caption(text="Hello.", meta=meta))
        bundles.export_bundle(tmp_path / "captions.jsonl", cache.entries())
    row = {"id": "q", "audio_path": path.name, "question": "What?", "choices": ["a", "b"], "answer": "a"}
    (tmp_path / "mini.jsonl").write_text(json.dumps(row))
    run = ["run", "--dataset", "mini.jsonl", "--captions", "captions.jsonl", "--llm", "fake", "--out", "r"]
    for command in (run, ["verify", "r"], ["score", "r"], ["report", "r"], ["caption", *run[1:5]]):
        done = cascade(*command)
        assert done.exit_code == 0, done.stderr
    assert json.loads(cascade("score", "r", "--format", "json").stdout)["captions_cost"] is None


ODD_PARTS: list[Any] = [{}, {"segments": [{"text": PAGE.decode()}]}, {"segments": 5, "windows": ["a", None]}]


@pytest.mark.parametrize("part", ODD_PARTS)
def test_a_page_in_a_bundle_is_no_caption(part: dict[str, Any], tmp_path: Path) -> None:
    paths = tones(tmp_path, 300, 500)
    spec, _ = Engine("asr-api").specify("speech", {})
    texts = [PAGE.decode() if not part else "Hello.", "Good day."]
    with closing(CaptionCache(tmp_path / "cache")) as cache:
        for path, text in zip(paths, texts, strict=True):
            cache.put(spec, digest_file(path), Caption(text=text, meta=part if path == paths[0] else {}))
        file = tmp_path / "captions.jsonl"
        bundles.export_bundle(file, cache.entries())
    items = [Item(id=path.stem, audio=path.name, question="q", choices=("a",), answer="a") for path in paths]
    how = Execution(cache=tmp_path / "none", runs=tmp_path, bundles={"speech": file})
    first, second = generate.caption(items, tmp_path, [spec], how)
    assert second.text == "Good day."
    if part == ODD_PARTS[2]:
        assert first.text == "Hello."
    else:
        assert first.failure and first.failure.message == "captions.jsonl: the speech caption is a page or an error"


def test_presets_and_prompts_are_spelled_out_in_the_spec(tmp_path: Path) -> None:
    spec, _ = Engine("audio-llm").specify("sound", {"preset": "qwen3-omni-captioner", "max_tokens": "9"})
    assert spec.params == {
        "model": "hosted_vllm/Qwen/Qwen3-Omni-30B-A3B-Captioner", "prompt": "", "temperature": "0", "max_tokens": 9,
        "rate": 16_000, "window": 30.0,
    }  # fmt: skip
    shipped, _ = Engine("audio-llm").specify("sound", {"preset": "gemini"})
    assert shipped.params["prompt"] == templates.captioning_prompt("caption") and "Describe" in shipped.params["prompt"]
    mine = tmp_path / "mine.md"
    mine.write_text("# system\nBe brief.\n\n# user\nWhat is heard?\n")
    own, _ = Engine("audio-llm").specify("sound", {"model": "m", "prompt": str(mine)})
    assert own.params["prompt"] == mine.read_text()
    bare, _ = Engine("audio-llm").specify("sound", {"model": "m", "prompt": "What is heard?"})
    assert bare.params["prompt"] == "What is heard?"
    from cascade.captioners.remote import audio_llm

    system, user = audio_llm.messages(own.params["prompt"], b"RIFF")
    assert system == {"role": "system", "content": "Be brief."}
    assert user["content"][0] == {"type": "text", "text": "What is heard?"} and len(user["content"]) == 2
    assert audio_llm.messages("What is heard?", b"")[0]["content"][0]["text"] == "What is heard?"
    with pytest.raises(UnknownName, match=r"unknown preset 'gemni' .did you mean 'gemini'"):
        Engine("audio-llm").specify("sound", {"preset": "gemni"})
    with pytest.raises(UserError, match=r"sound\.model is needed"):
        Engine("audio-llm").specify("sound", {})
    with pytest.raises(UserError, match=r"prompt=\./none\.md: cannot be read"):
        Engine("audio-llm").specify("sound", {"model": "m", "prompt": "./none.md"})


@pytest.mark.parametrize(
    ("name", "given", "match"),
    [
        (
            "audio-llm",
            {"preset": "gpt-4o-audio"},
            "key of gpt-4o-audio-preview-2025-06-03 is missing: export OPENAI_API_KEY",
        ),
        (
            "audio-llm",
            {"preset": "qwen2-audio"},
            "address that serves hosted_vllm/Qwen/Qwen2.* is missing: .*api_base=URL",
        ),
        ("asr-api", {}, "the key of whisper-1 is missing: export OPENAI_API_KEY"),
        ("audio-llm", {"model": "openai/m", "temperature": "hot"}, "temperature=hot: a number, or none"),
        ("audio-llm", {"model": "openai/m", "rate": "3"}, "rate=3: 8000 to 48000 Hz"),
        ("asr-api", {"window": "0.1"}, "window=0.1: 1 to 600 seconds"),
        ("asr-api", {"format": "srt"}, "format=srt: verbose_json or json"),
    ],
)
def test_what_cannot_be_is_one_line_before_anything_is_sent(
    name: str, given: dict[str, Any], match: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "missing" not in match:
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with pytest.raises(UserError, match=match) as caught:
        hear(name, given, tones(tmp_path, 300), None)
    assert "\n" not in str(caught.value)


def test_an_unknown_model_is_named_and_leaves_no_thread(tmp_path: Path) -> None:
    with pytest.raises(ProviderStop, match="audio-llm's model=nobody: litellm knows no such model"):
        hear("audio-llm", {"model": "nobody"}, tones(tmp_path, 300), None)
    assert not [thread for thread in threading.enumerate() if thread.name == "remote"]


def test_the_last_four_clips_are_encoded_once_each(tmp_path: Path) -> None:
    paths, encoded = tones(tmp_path, 300, 400, 500, 600, 700, seconds=0.1), list[Path]()

    def encode(clip: Path) -> bytes:
        encoded.append(clip)
        time.sleep(0.05)
        return clip.read_bytes()

    recent = RecentClips(encode)
    with ThreadPoolExecutor(16) as threads:
        assert set(threads.map(recent, [paths[0]] * 16)) == {paths[0].read_bytes()}
    assert encoded == paths[:1]
    for path in [*paths[1:4], paths[0], paths[4], paths[0], paths[1]]:
        recent(path)
    assert encoded == [*paths, paths[1]]  # The second clip was the least recently used.
    clips.write(paths[0], clips.tone(800, 0.2))
    assert recent(paths[0]) == paths[0].read_bytes()


def test_every_thread_gets_the_error_of_a_clip_that_cannot_be_encoded(tmp_path: Path) -> None:
    (path,) = tones(tmp_path, 300)

    def encode(clip: Path) -> bytes:
        time.sleep(0.05)
        raise ClipError("no sound")

    recent = RecentClips(encode)
    with ThreadPoolExecutor(4) as threads:
        failures = [threads.submit(recent, path).exception(timeout=10) for _ in range(4)]
    assert [str(failure) for failure in failures] == ["no sound"] * 4


def test_samples_beyond_full_scale_are_clipped() -> None:
    from cascade.io import encoding

    rate, samples = decoded(encoding.wav(np.array([0.0, 2.0, -2.0, 0.5], np.float32), 16_000))
    assert rate == 16_000 and samples == pytest.approx([0, 1, -1, 0.5], abs=1e-4)


def test_captions_are_captions(tmp_path: Path) -> None:
    with Stub() as stub:
        results = hear("audio-llm", {"model": "m"}, tones(tmp_path, 300), stub)
    assert all(isinstance(caption, Caption) for caption in results.values())


def test_one_model_has_one_address() -> None:
    engine = "asr-api(model=whisper-1,api_base=http://127.0.0.1:{}/v1)"
    both = f"speech={engine.format(1)},words={engine.format(2)}"
    result = cascade("caption", "--dataset", "demo", "--captions", both)
    assert result.exit_code == 2 and "whisper-1 is at http://127.0.0.1:1/v1 already" in result.stderr
