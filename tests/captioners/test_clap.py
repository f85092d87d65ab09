"""The CLAP engines over random weights of the real architecture: the same words as msclap, and only its own weights."""

from __future__ import annotations

import json
import pickle
import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec.structs import replace

from cascade.captioners.clap import clapcap
from cascade.captioners.clap import music as clap_music
from cascade.captioners.clap import sound as clap_sound
from cascade.captioners.registry import Engine
from cascade.captioning.backends import local
from cascade.errors import UserError
from cascade.io import audio
from cascade.types import Caption, CaptionInput, Failure, Host

np = pytest.importorskip("numpy")
torch = pytest.importorskip("torch")
if find_spec("msclap") is None:  # importing it needs what _clap does
    pytest.skip("msclap is not installed", allow_module_level=True)
soundfile = pytest.importorskip("soundfile")

from cascade.captioners import speech  # noqa: E402
from cascade.captioners.clap import model, tags  # noqa: E402
from cascade.captioners.clap import windows as clap_windows  # noqa: E402
from tests.support import clap_weights, clips  # noqa: E402

ENGINES = {"clapcap": clapcap, "clap-sound": clap_sound, "clap-music": clap_music}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clap_weights.write(tmp_path_factory.mktemp("clap"))


@pytest.fixture(scope="module")
def host(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Host:
    return Host(device="cpu", threads=1, files={"b2:w": weights}, scratch=tmp_path_factory.mktemp("scratch"))


@pytest.fixture(scope="module")
def clap(host: Host) -> Any:
    return model.Clap("clapcap", "b2:w", "", host, "sound")


@pytest.fixture(scope="module")
def caption(host: Host) -> Any:
    return clapcap.make(clapcap.Params(weights="b2:w", entry_length=20), host)


@pytest.fixture(scope="module")
def music(host: Host) -> Any:
    return clap_music.make(clap_music.Params(weights="b2:w"), host)


def windows_of(clip: Path) -> Iterator[tuple[float, float, Any]]:
    return clap_windows.windows(audio.blocks(clip, clap_windows.RATE, 7.0))


def sound(folder: Path, name: str, seconds: float, rate: int = 44_100) -> Path:
    return clips.write(folder / name, 0.2 * np.sin(np.arange(round(seconds * rate)) ** 1.5 / 3000), rate)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_same_caption_as_msclap_for_a_mono_clip_of_seven_seconds(clap: Any, tmp_path: Path, seed: int) -> None:
    path = clips.write(tmp_path / "a.wav", np.resize(clips.noise(5, 0.1, seed), 7 * 44_100), 44_100)
    wrapper = clap.wrapper
    wrapper.read_audio = lambda path, resample: (torch.from_numpy(soundfile.read(path, dtype="float32")[0]), 44_100)
    # Random weights are dull: a louder last layer makes beams that differ, part and stop.
    gpt = clap.model.gpt
    before = gpt.transformer.ln_f.weight.data.clone()
    torch.manual_seed(seed)
    gpt.transformer.ln_f.weight.data = before + 8 * torch.randn_like(before)
    try:
        theirs = wrapper.generate_caption([path], entry_length=30)[0]
        ((_, _, samples),) = windows_of(path)
        ((ours, _),) = clapcap.sentences(clapcap.Params(entry_length=30), clap, samples[None])
    finally:
        gpt.transformer.ln_f.weight.data = before
    assert ours == clapcap.tidy(theirs) and len(theirs) > 5


@pytest.fixture
def lively(clap: Any) -> Iterator[Any]:
    """GPT-2 with a louder last layer, and its usual word in the stop token's place: beams differ, part and stop."""
    gpt, stop = clap.model.gpt, clap.wrapper.tokenizer.encode(clapcap.STOP)[0]
    norm, words = gpt.transformer.ln_f.weight, gpt.transformer.wte.weight
    before = norm.data.clone(), words.data.clone()
    torch.manual_seed(0)
    norm.data += 8 * torch.randn_like(norm)
    torch.manual_seed(1)
    shown = torch.randn(8, 40, 768) * torch.linspace(0.5, 3, 8)[:, None, None]
    usual = Counter(token for tokens, _ in clapcap.search(gpt, shown, -1, 5, 15) for token in set(tokens))
    (often, _), *_ = usual.most_common(1)
    words.data[[stop, often]] = words.data[[often, stop]]
    gpt.lm_head.weight = words
    yield SimpleNamespace(gpt=gpt, stop=stop, shown=shown)
    norm.data, words.data = before


def test_the_same_beams_as_msclap_where_they_stop(clap: Any, lively: Any) -> None:
    lengths = set()
    for shown in lively.shown[:3]:
        theirs = clap.wrapper._generate_beam(embed=shown[None], entry_length=15)[0]
        ((tokens, score),) = clapcap.search(lively.gpt, shown[None], lively.stop, 5, 15)
        assert clap.wrapper.tokenizer.decode(tokens) == theirs and score < 0
        lengths.add(len(tokens))
    assert len(lengths) > 1 and max(lengths) < 15


@pytest.mark.parametrize("fixed", [False, True])
def test_windows_side_by_side_have_the_beams_they_have_alone(lively: Any, fixed: bool) -> None:
    alone = [clapcap.search(lively.gpt, shown[None], lively.stop, 5, 15)[0] for shown in lively.shown]
    together = clapcap.search(lively.gpt, lively.shown, lively.stop, 5, 15, fixed=fixed)
    assert len({len(tokens) for tokens, _ in alone}) > 2
    assert [tokens for tokens, _ in together] == [tokens for tokens, _ in alone]
    assert [score for _, score in together] == pytest.approx([score for _, score in alone], abs=1e-4)


def test_windows_have_times_and_fill_seven_seconds_as_msclap_does(tmp_path: Path) -> None:
    windows = list(windows_of(sound(tmp_path, "a.wav", 16.0)))
    assert [(start, end) for start, end, _ in windows] == [(0.0, 7.0), (7.0, 14.0), (14.0, 16.0)]
    assert all(samples.shape == (7 * 44_100,) and samples.dtype == np.float32 for _, _, samples in windows)
    last = windows[-1][2]
    np.testing.assert_array_equal(last[: 2 * 44_100], last[2 * 44_100 : 4 * 44_100])
    assert len(list(windows_of(sound(tmp_path, "b.wav", 7.3)))) == 1  # 0.3 s more are no window
    assert len(list(windows_of(sound(tmp_path, "c.wav", 0.2)))) == 1
    left = sound(tmp_path, "d.wav", 2.0)
    both = clips.write(tmp_path / "e.wav", [soundfile.read(left)[0]] * 2, 44_100)
    ((_, _, mono),), ((_, _, mixed),) = windows_of(left), windows_of(both)
    np.testing.assert_allclose(mono, mixed, atol=1e-6)


def test_what_a_clip_lacks_is_in_meta(caption: Any, music: Any, tmp_path: Path) -> None:
    for engine in (caption, music):
        assert engine([clips.write_cut(tmp_path / "a.wav")])[0].meta["decoding"] == {"lost_s": 1.0}


def plain(caption: Caption) -> tuple[str, dict[str, Any]]:
    return caption.text, {**caption.meta, "seconds": 0}


def test_a_caption_is_alike_in_any_company(caption: Any, music: Any, tmp_path: Path) -> None:
    paths = [sound(tmp_path, "a.wav", 9), clips.write(tmp_path / "b.wav", clips.noise(2)), sound(tmp_path, "c.wav", 1)]
    for engine in (caption, music):
        alone = [plain(engine([path])[0]) for path in paths]
        assert [plain(made) for made in engine(paths[::-1])[::-1]] == alone
        json.dumps([meta for _, meta in alone], allow_nan=False)
    meta = caption(paths)[0].meta
    assert [(window["start"], window["end"]) for window in meta["windows"]] == [(0.0, 7.0), (7.0, 9.0)]
    assert {"msclap", "torch", "transformers", "device", "compute", "weights", "seconds"} <= meta.keys()


@pytest.mark.parametrize("name", ["clapcap", "clap-sound"])
def test_lanes_and_rows_say_the_same(name: str, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bad.mp3").write_text("no sound")
    paths = [sound(tmp_path, "0.wav", 8), tmp_path / "bad.mp3", sound(tmp_path, "1.wav", 3)]
    given = {"entry_length": "3"} if name == "clapcap" else {"vocabulary": vocabulary()}
    spec, files = Engine(name).specify("sound", {"weights": str(weights), **given})
    results = [
        dict(local.run(spec, Host(device="cpu", threads=threads, files=files), order))
        for threads, order in ((1, paths), (3, paths[::-1]))
    ]
    expected = [result(results[0][path]) for path in paths]
    assert [result(results[1][path]) for path in paths] == expected
    assert [type(results[0][path]) for path in paths] == [Caption, Failure, Caption]
    # As on a GPU: the windows of all clips are rows of one batch.
    monkeypatch.setattr(model.Clap, "fixed", property(lambda clap: True))
    monkeypatch.setattr(clap_windows, "ROWS", 4)
    engine = Engine(name).build(spec, Host(device="cpu", files=files))
    assert [result(made)[0] for made in engine(paths)] == [text for text, _ in expected]


def result(made: Caption | Failure) -> tuple[str, Any]:
    return plain(made) if isinstance(made, Caption) else (made.message, made.kind)


@pytest.mark.parametrize(
    ("parts", "line"),
    [
        ([(0.0, 5.0, "A dog barks.")], "A dog barks."),
        ([(0.0, 7.0, "Rain."), (7.0, 14.0, "Rain.")], "Rain."),
        ([(0.0, 7.0, "Rain."), (7.0, 14.0, "Rain."), (14.0, 16.4, "A bell.")], "0-14 s: Rain. 14-16 s: A bell."),
    ],
)
def test_the_line_of_a_clip(parts: list[tuple[float, float, str]], line: str) -> None:
    assert speech.join_windows(parts) == line


@pytest.mark.parametrize(
    ("text", "tidy"),
    [("A dog barks . <|endoftext|>", "A dog barks."), ("Wind", "Wind."), (" ", ""), ("Oh , no!", "Oh, no!")],
)
def test_sentences_are_tidied(text: str, tidy: str) -> None:
    assert clapcap.tidy(text) == tidy


def test_bad_clips_cost_a_failure_each(weights: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.wav").write_bytes(b"")
    (tmp_path / "text.mp3").write_text("no sound")
    stereo = clips.write(tmp_path / "stereo.wav", [clips.noise(1), -clips.noise(1)], 96_000, "PCM_24")
    single = clips.write(tmp_path / "one.wav", np.zeros(1))
    paths = [tmp_path / "empty.wav", stereo, tmp_path / "text.mp3", single, tmp_path]
    for name in ("clapcap", "clap-sound"):
        given = {"weights": str(weights)} | ({"entry_length": 5} if name == "clapcap" else {"vocabulary": vocabulary()})
        spec, files = Engine(name).specify("sound", given)
        results = dict(local.run(spec, Host(device="cpu", threads=1, files=files), paths))
        assert [type(results[path]) for path in paths] == [Failure, Caption, Failure, Caption, Failure]


def vocabulary() -> str:
    path = Path("small.txt").absolute()
    path.write_text("# few\n[sound] the sound of {}\nrain\na bell\nwind\n")
    return str(path)


def test_tags_are_shares_of_their_group(host: Host, music: Any, tmp_path: Path) -> None:
    path = sound(tmp_path, "a.wav", 9)
    caption = music([path])[0]
    groups = tags.read_vocabulary(clap_music.VOCABULARY)
    assert [group.name for group in groups] == ["genre", "instruments", "mood", "vocals", "tempo", "texture"]
    assert all(f"{group.name.capitalize()}: " in caption.text for group in groups)
    assert set(caption.meta["tags"]) == {group.name for group in groups} and len(caption.meta["windows"]) == 2
    clap = model.Clap("2023", "b2:w", "", host, "music")
    tagger = tags.Tagger(clap, groups, host.scratch)
    (shares,) = tagger.shares(next(windows_of(path))[2][None])
    assert [len(share) for share in shares] == [len(group.phrases) for group in groups]
    assert [share.sum() for share in shares] == pytest.approx([1.0] * len(groups))


def test_what_is_told_of_tags() -> None:
    assert tags.list_tags([["rain", 0.4], ["wind", 0.06], ["bell", 0.01]], 0.05) == "rain (0.40), wind (0.06)"
    assert tags.list_tags([["rain", 0.01]], 0.05) == "rain (0.01)"
    windows = [
        {"start": 0.0, "end": 7.0, "tags": {"sound": [["rain", 0.4]]}},
        {"start": 7.0, "end": 9.0, "tags": {"sound": [["bell", 0.4]]}},
    ]
    text = clap_sound.describe(clap_sound.Params(), {"sound": [["rain", 0.3], ["bell", 0.2]]}, windows)
    assert text == "Likeliest sounds: rain (0.30), bell (0.20). In time: 0-7 s rain; 7-9 s bell."


def test_audioset_is_whole() -> None:
    (group,) = tags.read_vocabulary(clap_sound.VOCABULARY)
    assert len(group.phrases) == 527 and group.phrases[0] == "Speech" and "Civil defense siren" in group.phrases


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("rain\n", r"v\.txt:1: 'rain' stands before the first"),
        ("[a] {}\nrain\nrain\n", r"v\.txt:3: 'rain' stands twice"),
        ("[a] {} and {}\nrain\n", r"v\.txt:1: a group stands once"),
        ("[a]\nx\ny\n[a]\nz\nw\n", r"v\.txt:4: a group stands once"),
        ("[a]\nrain\n", "two phrases or more"),
        ("", "two phrases or more"),
        ("\udcff", "cannot be read as a vocabulary"),
    ],
)
def test_a_vocabulary_that_cannot_be_used(tmp_path: Path, text: str, match: str) -> None:
    (tmp_path / "v.txt").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(UserError, match=match):
        tags.read_vocabulary(tmp_path / "v.txt")


def test_the_vocabulary_in_use_is_in_the_spec() -> None:
    shipped, files = Engine("clap-music").specify("music", {})
    assert files[shipped.params["vocabulary"]] == clap_music.VOCABULARY
    mine, _ = Engine("clap-music").specify("music", {"vocabulary": vocabulary()})
    assert mine.params["vocabulary"].startswith("b2:") and mine.params != shipped.params
    with pytest.raises(UserError, match="no such file"):
        Engine("clap-music").specify("music", {"vocabulary": "./gone.txt"})


def test_texts_are_embedded_once_and_an_altered_file_is_not_believed(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clap = model.Clap("2023", "b2:w", "", host, "music")
    first = clap.embed_texts(["rain", "wind", "a bell"], tmp_path)
    assert first.shape == (3, 1024) and np.linalg.norm(first, axis=1) == pytest.approx([1, 1, 1], abs=1e-5)
    calls: list[int] = []
    preprocess = clap.wrapper.preprocess_text

    def counted(texts: list[str]) -> Any:
        calls.append(len(set(texts)))
        return preprocess(texts)

    monkeypatch.setattr(clap.wrapper, "preprocess_text", counted)
    np.testing.assert_array_equal(clap.embed_texts(["rain", "wind", "a bell"], tmp_path), first)
    assert calls == []
    clap.embed_texts(["rain", "wind"], tmp_path)
    (file,) = (path for path in tmp_path.glob("*.npy") if len(np.load(path)) == 3)
    file.write_bytes(file.read_bytes()[:-4] + b"\0\0\0\0")
    np.testing.assert_array_equal(clap.embed_texts(["rain", "wind", "a bell"], tmp_path), first)
    assert calls == [2, 3]
    (tmp_path / "file").write_text("in the way")
    clap.embed_texts(["rain", "wind"], tmp_path / "file")  # cannot be written, and need not be


class _Trap:
    def __reduce__(self) -> Any:
        return (Path("trapped").write_text, ("code has run",))


def _with(weights: Path, folder: Path, change: Any) -> Host:
    """A folder of weights whose captioner was changed."""
    (folder / "gpt2").symlink_to(weights / "gpt2")
    state = torch.load(weights / "clapcap_weights_2023.pth", weights_only=True, mmap=True)
    torch.save(change(state), folder / "clapcap_weights_2023.pth")
    return Host(device="cpu", files={"b2:w": folder})


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (
            lambda s: {"model": {k: v for k, v in s["model"].items() if "clap_project" not in k}},
            r"lacks weights: clap_p",
        ),
        (
            lambda s: {"model": s["model"] | {"clap.extra": torch.zeros(1)}},
            r"unknown weights: clap\.extra \(1 in all\)",
        ),
        (lambda s: {"model": s["model"] | {"clap_project.linear.bias": torch.zeros(1)}}, "size mismatch"),
        (lambda s: {"state": 1}, "cannot be loaded as clapcap"),
        (lambda s: {"model": s["model"], "trap": _Trap()}, "cannot be loaded as clapcap"),
    ],
)
def test_weights_of_another_model_are_named_and_no_code_is_run(
    weights: Path, tmp_path: Path, change: Any, match: str
) -> None:
    with pytest.raises(UserError, match=match) as caught:
        clapcap.make(clapcap.Params(weights="b2:w"), _with(weights, tmp_path, change))
    assert "\n" not in str(caught.value) and not Path("trapped").exists()


def test_weights_that_are_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, module in ENGINES.items():
        with pytest.raises(UserError, match=r"lacks CLAP_weights_2023.pth and gpt2/|lacks clapcap_weights"):
            module.make(module.Params(weights="b2:w"), Host(device="cpu", files={"b2:w": tmp_path}))
        (tmp_path / "gpt2").mkdir(exist_ok=True)
        (tmp_path / "gpt2" / "config.json").write_text("{}")
        for file in model.FILES.values():
            (tmp_path / file).write_bytes(pickle.dumps(_Trap()))
        with pytest.raises(UserError, match=f"cannot be loaded as {'clapcap' if name == 'clapcap' else '2023'}"):
            module.make(module.Params(weights="b2:w"), Host(device="cpu", files={"b2:w": tmp_path}))
        for file in [*model.FILES.values(), "gpt2/config.json"]:
            (tmp_path / file).unlink()
    assert not Path("trapped").exists()
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.snapshot_download", _unreachable)
    with pytest.raises(UserError, match=r"cannot be had from the hub .*sound\.weights=DIR$"):
        clapcap.make(clapcap.Params(), Host(device="cpu"))


def _unreachable(*_: Any, **__: Any) -> str:
    raise ConnectionError("no route")


@pytest.mark.parametrize("params", [{"compute": "int8"}, {"beam_size": 1}, {"entry_length": 0}])
def test_parameters_that_cannot_be(params: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="clapcap computes in float32"):
        clapcap.make(clapcap.Params(**params), Host())
    for module in (clap_sound, clap_music):
        with pytest.raises(UserError, match="compute is float32"):
            module.make(module.Params(compute="int8", top=3), Host())


def test_importing_msclap_leaves_the_process_as_it_was(host: Host) -> None:
    before = list(warnings.filters)
    model.Clap("2023", "b2:w", "", host, "sound")
    assert list(warnings.filters) == before
    assert "torchaudio" not in sys.modules or hasattr(sys.modules["torchaudio"], "__file__")  # no stand-in is left


def test_the_labels_of_an_item_are_its_choices_and_the_words_of_its_question(host: Host, tmp_path: Path) -> None:
    spec, _ = Engine("clap-sound").specify("sound", {"weights": "b2:w", "labels": "choices"})
    plain, _ = Engine("clap-sound").specify("sound", {"weights": "b2:w"})
    assert spec.params["labels"] == "choices" and "labels" not in plain.params
    assert Engine("clap-sound").with_question(plain, asks=True) == spec
    given = CaptionInput(
        clip=sound(tmp_path, "a.wav", 1.0), question="Which animal barks at the gate?", choices=("a dog", "a wolf")
    )
    bare = CaptionInput(clip=given.clip, question="What barks?", choices=given.choices)
    results = dict(local.run(spec, host, [given, bare]))
    asked, short = results[given], results[bare]
    assert isinstance(asked, Caption) and isinstance(short, Caption)
    assert sorted(name for name, _ in asked.meta["tags"]["the choices"]) == ["a dog", "a wolf"]
    assert sorted(name for name, _ in asked.meta["tags"]["the question's words"]) == ["animal", "barks", "gate"]
    assert asked.text.startswith("Likeliest of the choices: a ") and "something is always likeliest" in asked.text
    assert list(short.meta["tags"]) == ["the choices"]  # a single word would have the share 1 whatever is heard
    with pytest.raises(UserError, match=r"sound.labels=words: choices, or nothing"):
        Engine("clap-sound").build(replace(spec, params={**spec.params, "labels": "words"}), host)
