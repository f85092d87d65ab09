"""What backends do with a failing batch, and how workers are counted; test_ray.py uses a real Ray."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from threading import Thread
from types import SimpleNamespace

import pytest

import cascade
from cascade.captioners.registry import Engine
from cascade.captioning.backends import local, ray, ray_cluster
from cascade.captioning.backends.local import Clip, Worker, _locate_files
from cascade.errors import UserError
from cascade.types import Caption, CaptionerSpec, Failure, Host
from tests.support.commands import cascade as command

CLIPS = [Path(f"{number}.wav") for number in range(16)]
SPEC = CaptionerSpec(slot="speech", name="whisper", version="1", params={})
FAKE, _ = Engine("fake").specify("sound", {"text": "hello"})
NODES = [{"CPU": 64.0, "GPU": 8.0}, {"CPU": 16.0, "GPU": 2.0}, {"CPU": 16.0}, {"memory": 1.0}]


class Narrow:
    """An engine that holds `most` clips at once, and cannot hear some."""

    def __init__(self, most: int, bad: Sequence[str] = ()) -> None:
        self.most, self.bad, self.sizes = most, bad, list[int]()

    def __call__(self, clips: Sequence[Path]) -> list[Caption]:
        self.sizes.append(len(clips))
        if len(clips) > self.most:
            raise MemoryError("too much at once")
        if any(clip.name in self.bad for clip in clips):
            raise RuntimeError("index out of range")
        return [Caption(text=clip.name) for clip in clips]


def test_what_is_too_much_at_once_is_halved() -> None:
    engine = Narrow(most=4)
    results = list(local.caption_clips(engine, CLIPS, 16, 0))
    assert [clip for clip, _ in results] == CLIPS
    assert all(isinstance(result, Caption) for _, result in results)
    assert engine.sizes == [16, 8, 4, 4, 8, 4, 4]


def test_a_bad_clip_is_found_by_halving_and_is_the_only_failure() -> None:
    engine = Narrow(most=16, bad=["5.wav"])
    results = dict(local.caption_clips(engine, CLIPS, 16, 0))
    failures = {clip.name: result for clip, result in results.items() if isinstance(result, Failure)}
    assert failures == {"5.wav": Failure(kind="engine", message="5.wav: RuntimeError: index out of range")}
    assert engine.sizes == [16, 8, 4, 4, 2, 1, 1, 2, 8]


def test_a_clip_that_is_too_much_alone_is_a_failure() -> None:
    results = dict(local.caption_clips(Narrow(most=0), CLIPS[:3], 16, 0))
    assert [result.message for result in results.values() if isinstance(result, Failure)] == [
        f"{number}.wav: MemoryError: too much at once" for number in range(3)
    ]


@pytest.mark.parametrize(
    ("settings", "device", "resources", "workers"),
    [
        ({}, "auto", {"num_cpus": 1, "num_gpus": 1}, 10),
        ({"num_gpus": 0.5}, "auto", {"num_cpus": 1, "num_gpus": 0.5}, 20),
        ({"num_gpus": 0.5, "speech.num_gpus": 2}, "auto", {"num_cpus": 1, "num_gpus": 2}, 5),
        ({"sound.num_gpus": 2}, "auto", {"num_cpus": 1, "num_gpus": 1}, 10),
        ({"num_cpus": 32}, "auto", {"num_cpus": 32, "num_gpus": 1}, 2),
        ({}, "cpu", {"num_cpus": 8, "num_gpus": 0}, 12),
        ({"num_gpus": 16}, "auto", {"num_cpus": 1, "num_gpus": 16}, 0),
        ({"num_cpus": 0}, "cpu", {"num_cpus": 0, "num_gpus": 0}, 4),
    ],
)
def test_what_a_worker_takes_and_how_many_there_is_room_for(
    settings: dict[str, float], device: str, resources: dict[str, float], workers: int
) -> None:
    assert ray.worker_resources(SPEC, Host(device=device, workers=settings), NODES) == resources
    assert ray.capacity(NODES, resources) == workers


def test_an_engine_without_a_gpu_takes_none() -> None:
    assert ray.worker_resources(FAKE, Host(), NODES) == {"num_cpus": 8, "num_gpus": 0}


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"the backend 'ray' needs the module 'ray'.*audio-cascade\[ray\]"):
        list(ray.run(FAKE, Host(), CLIPS))


def test_an_engine_that_asks_elsewhere_stays_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "run", lambda spec, host, clips: iter([(clips[0], Caption(text="here"))]))
    asr = CaptionerSpec(slot="speech", name="asr-api", version="1", params={})
    assert list(ray.run(asr, Host(), CLIPS)) == [(CLIPS[0], Caption(text="here"))]


def sent(clip: Path, content: bytes | None = None) -> Clip:
    status = clip.stat()
    return Clip(path=clip, size=status.st_size, modified_ns=status.st_mtime_ns, content=content)


def test_a_worker_asks_for_bytes_where_the_file_is_another(tmp_path: Path) -> None:
    clip = tmp_path / "a.wav"
    clip.write_bytes(b"sound")
    worker = Worker()
    assert worker.build(FAKE, Host(), cascade.__version__) == ""
    copy = sent(clip)
    assert worker.caption([copy]) == [Caption(text="hello")]
    clip.write_bytes(b"another sound")
    assert worker.caption([copy]) is None
    clip.unlink()
    assert worker.caption([copy]) is None
    same_name = [Clip(path=clip, size=1, modified_ns=1, content=text) for text in (b"one", b"two")]
    assert worker.caption(same_name) == [Caption(text="hello")] * 2


def test_a_worker_says_what_is_in_the_way(tmp_path: Path) -> None:
    assert "this run is made with 0.0: install 0.0 there" in Worker().build(FAKE, Host(), "0.0")
    (tmp_path / "w").write_bytes(b"weights")
    spec, files = Engine("whisper").specify("speech", {"model": str(tmp_path / "w")})
    assert _locate_files(spec, Host(files=files)) == files
    (tmp_path / "w").write_bytes(b"other weights")
    assert "is not there, or is another file" in Worker().build(spec, Host(files=files), cascade.__version__)


def test_weights_that_ship_with_the_package_are_found_wherever_it_lies() -> None:
    spec, files = Engine("clap-music").specify("music", {})
    elsewhere = {digest: Path("/not/here") / path.name for digest, path in files.items()}
    assert _locate_files(spec, Host(files=elsewhere)) == files


def test_what_rays_threads_print_is_no_result(capsys: pytest.CaptureFixture[str]) -> None:
    with redirect_stdout(ray_cluster._StdoutWithoutRay()):
        sys.stdout.write("ours\n")
        thread = Thread(target=print, args=["(raylet) A worker died"], name="ray_listen_error_messages")
        thread.start()
        thread.join()
    assert capsys.readouterr().out == "ours\n"


@pytest.mark.parametrize("address", ["127.0.0.1:1", "[::1]:1", "127.0.0.1:99999"])
def test_an_address_where_nobody_is_stands_in_one_line(address: str) -> None:
    with pytest.raises(UserError, match=r"nobody answers at RAY_ADDRESS=.*:\d+ \(.*(refused|Cannot assign|range)"):
        ray_cluster._check_listening(address)


@pytest.mark.parametrize(("address", "is_local"), [("", True), ("local", True), ("auto", False), ("head:6379", False)])
def test_which_cluster_is_local(monkeypatch: pytest.MonkeyPatch, address: str, is_local: bool) -> None:
    monkeypatch.setenv("RAY_ADDRESS", address)
    assert ray_cluster.is_local() is is_local


class NoToken(Exception):
    """Ray's own exception."""


class Refusing:
    """A Ray that refuses to start for this reason."""

    exceptions = SimpleNamespace(RayError=NoToken)

    def __init__(self, reason: Exception) -> None:
        self.reason = reason

    def init(self, **given: object) -> None:
        raise self.reason


@pytest.mark.parametrize(
    "reason", [OSError("path too long"), ValueError("of another version"), NoToken("there is none")]
)
def test_a_ray_that_cannot_be_used_is_one_line(monkeypatch: pytest.MonkeyPatch, reason: Exception) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(UserError, match=rf"a local Ray cannot be used \({reason}\); RAY_TMPDIR=DIR"):
        ray_cluster._connect(Refusing(reason))
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    with pytest.raises(UserError, match=rf"RAY_ADDRESS=auto cannot be used \({reason}\).*RAY_AUTH_MODE=token"):
        ray_cluster._connect(Refusing(reason))


@pytest.mark.parametrize(
    ("node", "waited", "message"),
    [
        ({"CPU": 2.0}, 10, ""),
        ({"CPU": 2.0}, 31, r"no worker \(num_cpus=1, num_gpus=0\) is ready yet: .* or the nodes are busy"),
        ({"CPU": 0.5}, 10, r"no node of the Ray cluster has what a worker takes .*; it has 60 s to get one"),
    ],
)
def test_a_cluster_that_is_busy_or_too_small_is_waited_for_aloud_and_once(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    node: dict[str, float],
    waited: int,
    message: str,
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    cluster = SimpleNamespace(nodes=lambda: [{"Alive": True, "Resources": node}])
    monkeypatch.setitem(sys.modules, "ray", cluster)
    pool = ray._Pool(FAKE, Host(workers={"num_cpus": 1.0}), CLIPS)
    monkeypatch.setattr(pool, "_idle_since", pool._idle_since - waited)
    pool.explain_wait()
    pool.explain_wait()
    err = capsys.readouterr().err
    assert re.fullmatch(rf"sound=fake: {message}.*\n" if message else "", err), err
    if node["CPU"] < 1:
        monkeypatch.setattr(pool, "_idle_since", pool._idle_since - 61)
        with pytest.raises(UserError, match=r"sound=fake: no node .*; say less, as in --worker sound.num_gpus=0"):
            pool.explain_wait()


def test_parts_of_more_than_one_gpu_are_a_mistake() -> None:
    result = command("caption", "--dataset", "demo", "--captions", "sound=fake", "--worker", "num_gpus=1.5")
    assert result.exit_code == 2 and "--worker num_gpus=1.5: Ray gives parts of one, or whole ones" in result.stderr
