"""Fetching a benchmark from a hub on loopback: whole, broken off, damaged, hostile, and out of reach."""

from __future__ import annotations

import io
import json
import os
import random
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cascade.datasets import hub, mmar, registry
from cascade.errors import DatasetError, MissingExtra
from tests.support.commands import cascade
from tests.support.hub_server import Hub

pytest.importorskip("huggingface_hub")

ROWS = [
    {
        "id": f"q{number}",
        "audio_path": f"./audio/{number}.wav",
        "question": "What is heard?",
        "choices": ["rain", "a bell"],
        "answer": "rain",
        "modality": "sound",
        "category": "Perception Layer",
    }
    for number in range(5)
]
NOISE = random.Random(0).randbytes(300_000)


def packed(*extra: tuple[tarfile.TarInfo, bytes]) -> bytes:
    """An archive as the benchmark's is, and whatever else is put into it."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as archive:
        for name, content in [("._audio", b"x"), *((f"audio/{n}.wav", b"%d" % n + NOISE) for n in range(5))]:
            member = tarfile.TarInfo(f"./{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        for member, content in extra:
            archive.addfile(member, io.BytesIO(content))
    return made.getvalue()


def files(*extra: tuple[tarfile.TarInfo, bytes]) -> dict[str, bytes]:
    return {"MMAR-meta.json": json.dumps(ROWS).encode(), "mmar-audio.tar.gz": packed(*extra)}


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[Hub], None]:
    def point_at(server: Hub) -> None:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setenv("CASCADE_DATA", str(tmp_path / "data"))
        monkeypatch.setenv("HF_TOKEN", "hf_canary")

    return point_at


def test_it_is_fetched_once(start: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with Hub(files()) as server:
        start(server)
        dataset = registry.load("mmar")
        asked = len(server.asked)
        assert registry.load("mmar").items == dataset.items and len(server.asked) == asked
    folder = mmar.SOURCE.folder
    assert dataset.root == folder.resolve() and [item.audio for item in dataset.items[:2]] == [
        "audio/0.wav",
        "audio/1.wav",
    ]
    assert all((folder / item.audio).read_bytes()[1:] == NOISE for item in dataset.items)
    kept = {path.name for path in folder.iterdir()} - {".lock"}
    assert kept == {"MMAR-meta.json", "audio", "fetched.json"} and mmar.where() == folder
    assert json.loads((folder / "fetched.json").read_text())["clips"] == 5
    printed = capsys.readouterr()
    assert printed.out == "" and "3.0 GB from BoJack/MMAR" in printed.err and "hf_canary" not in printed.err
    assert len(printed.err.splitlines()) == 2


def test_without_audio_only_the_metadata_are_fetched(start: Any) -> None:
    with Hub(files()) as server:
        start(server)
        assert len(registry.load("mmar", audio=False).items) == 5
        assert {name for _, name, _ in server.asked} == {"MMAR-meta.json"} and mmar.where() is None
        blind = cascade("run", "--llm", "fake", "--captions", "none")
        assert blind.exit_code == 0 and "5 items: 5 answered" in blind.stdout
        assert {name for _, name, _ in server.asked} == {"MMAR-meta.json"}
        captioned = cascade("run", "--llm", "fake", "--captions", "sound=fake")
        assert captioned.exit_code == 0 and mmar.where()


def test_a_broken_transfer_goes_on_where_it_broke(start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1000)
    monkeypatch.setattr("time.sleep", lambda _: None)
    content = files()
    with Hub(content, cut={"mmar-audio.tar.gz": [100_000, 1000]}) as server:
        start(server)
        assert len(registry.load("mmar").items) == 5
        ranges = [asked for method, name, asked in server.asked if method == "GET" and "audio" in name]
        assert ranges[0] == "" and all(asked.startswith("bytes=") for asked in ranges[1:]) and len(ranges) == 3
        assert server.sent == sum(map(len, content.values()))


_FETCH = "from cascade.datasets import registry; print(len(registry.load('mmar').items))"


def test_a_killed_fetch_goes_on(start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = files()
    with Hub(whole) as server:
        start(server)
        dying = "import os; from cascade.datasets import hub; hub._unpack = lambda *_: os.kill(os.getpid(), 9); "
        killed = subprocess.run([sys.executable, "-c", dying + _FETCH], capture_output=True, text=True, check=False)
        assert killed.returncode == -9 and mmar.where() is None
        dying = "import os; from cascade.datasets import hub; hub.Path.rename = lambda *_: os.kill(os.getpid(), 9); "
        killed = subprocess.run([sys.executable, "-c", dying + _FETCH], capture_output=True, text=True, check=False)
        assert killed.returncode == -9 and mmar.where() is None
        assert list(mmar.SOURCE.folder.glob(".unpacking"))
        done = subprocess.run([sys.executable, "-c", _FETCH], capture_output=True, text=True, check=True)
        assert done.stdout == "5\n" and "Traceback" not in done.stderr
        assert server.sent == sum(map(len, whole.values()))  # what had arrived was not fetched again
    assert not list(mmar.SOURCE.folder.glob(".unpacking"))


def test_damage_is_seen_and_fetched_again(start: Any) -> None:
    content = files()
    other = content["mmar-audio.tar.gz"][:-9] + b"123456789"
    with Hub(content, swap={"mmar-audio.tar.gz": other}) as server:
        start(server)
        with pytest.raises(DatasetError, match=r"arrived damaged and was deleted; the same command") as caught:
            registry.load("mmar")
        assert "\n" not in str(caught.value) and mmar.where() is None
        server.swap.clear()
        assert len(registry.load("mmar").items) == 5


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", size: int = 0) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname, made.size = kind, link, size
    return made


def test_clips_below_another_folder_of_the_archive_are_unpacked_to_audio(start: Any) -> None:
    with Hub(
        files((member("data/audio/x/5.wav", size=4), b"five"), (member("data/notes.txt", size=4), b"note"))
    ) as server:
        start(server)
        registry.load("mmar")
    assert (mmar.SOURCE.folder / "audio/x/5.wav").read_bytes() == b"five"
    assert {path.name for path in mmar.SOURCE.folder.iterdir()} - {".lock"} == {
        "MMAR-meta.json",
        "audio",
        "fetched.json",
    }


@pytest.mark.parametrize(
    ("hostile", "match"),
    [
        (member("../escaped.wav", size=4), r"'\.\./escaped\.wav', which is no plain file"),
        (member("audio/../../escaped.wav", size=4), "no plain file"),
        (member("/tmp/escaped.wav", size=4), "no plain file"),
        (member("audio/link", tarfile.SYMTYPE, "/etc"), "no plain file"),
        (member("audio/hard", tarfile.LNKTYPE, "audio/0.wav"), "no plain file"),
        (member("audio/null", tarfile.CHRTYPE), "no plain file"),
        (member("audio/pipe", tarfile.FIFOTYPE), "no plain file"),
    ],
)
def test_a_hostile_archive_is_refused(start: Any, tmp_path: Path, hostile: tarfile.TarInfo, match: str) -> None:
    with Hub(files((hostile, b"evil"))) as server:
        start(server)
        with pytest.raises(DatasetError, match=match):
            registry.load("mmar")
    assert mmar.where() is None and not (mmar.SOURCE.folder / "audio").exists()
    assert not list(tmp_path.rglob("escaped*")) and not Path("/tmp/escaped.wav").exists()


def test_an_archive_that_grows_without_end_is_refused(start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    source = hub.Source(**{name: getattr(mmar.SOURCE, name) for name in mmar.SOURCE.__slots__} | {"bound": 1_000_000})
    with Hub(files()) as server:
        start(server)
        with pytest.raises(DatasetError, match="unpacks to more than"):
            hub.fetch(source, audio=True)


def test_a_download_that_is_no_archive_is_deleted(start: Any) -> None:
    with Hub({**files(), "mmar-audio.tar.gz": b"<html>sign in</html>"}) as server:
        start(server)
        with pytest.raises(DatasetError, match="not a complete archive"):
            registry.load("mmar")
    assert not (mmar.SOURCE.folder / "mmar-audio.tar.gz").exists()


@pytest.mark.parametrize(
    ("status", "why"),
    [
        (401, "401: HF_TOKEN is wrong"),
        (403, "403: HF_TOKEN has no access"),
        (404, "404)"),
        (429, "429: too many requests"),
        (500, "500)"),
        (503, "503: the hub is out of order"),
    ],
)
def test_a_hub_that_refuses_is_one_line(start: Any, status: int, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    with Hub(files(), status=status) as server:
        start(server)
        result = cascade("run", "--llm", "fake", "--captions", "sound=fake")
    assert result.exit_code == 2 and len(result.stderr.splitlines()) == 1
    assert f"(status {why}" in result.stderr
    assert "download http://127.0.0.1" in result.stderr and "give --data DIR" in result.stderr
    assert "hf_canary" not in result.stderr


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:9", "http://nowhere.invalid", "http://127.0.0.1:9/mirror/"])
def test_a_hub_out_of_reach_is_one_line(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    result = cascade("caption", "--captions", "sound=fake")
    assert result.exit_code == 2 and len(result.stderr.splitlines()) == 1
    assert f"download {endpoint.rstrip('/')}/datasets/BoJack/MMAR/resolve/3bd05112" in result.stderr


def test_a_missing_hf_transfer_is_named(start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_ENABLE_HF_TRANSFER", True)
    monkeypatch.setitem(sys.modules, "hf_transfer", None)
    with Hub(files()) as server:
        start(server)
        result = cascade("run", "--llm", "fake", "--captions", "none")
    assert result.exit_code == 2 and len(result.stderr.splitlines()) == 1
    assert "HF_HUB_ENABLE_HF_TRANSFER is set, and its package is missing: unset it, or pip" in result.stderr


def test_a_proxy_is_honoured(start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with Hub(files()) as server:
        start(server)
        monkeypatch.setenv("HF_ENDPOINT", "http://hub.invalid")
        monkeypatch.setenv("HTTP_PROXY", server.url)
        monkeypatch.setenv("http_proxy", server.url)
        assert len(registry.load("mmar").items) == 5


def test_offline_is_honoured() -> None:
    with Hub(files()) as server:
        changes = {"HF_ENDPOINT": server.url, "HF_HUB_OFFLINE": "1"}
        script = "import sys; from cascade.cli.app import app; app(['caption', '--captions', 'sound=fake'])"
        run = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=False, env={**os.environ, **changes}
        )
        assert run.returncode == 2 and server.asked == [] and "give --data DIR" in run.stderr


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cascade.plugins.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"fetching mmar \(or give --data DIR.*pip install 'audio-cascade\[hub\]'"):
        registry.load("mmar")


def test_the_list_of_datasets_has_their_folders(start: Any) -> None:
    listed = {row["name"]: row for row in json.loads(cascade("datasets", "--format", "json").stdout)}
    assert listed["mmar"]["where"] is None and listed["mmar"]["size"] == "3.0 GB" and listed["mmar"]["items"] == 1000
    assert listed["demo"]["items"] == len(registry.load("demo").items) and Path(listed["demo"]["where"]).is_dir()
    with Hub(files()) as server:
        start(server)
        registry.load("mmar")
    shown = cascade("datasets").stdout
    assert str(mmar.SOURCE.folder) in shown and "CC BY-NC 4.0" in shown
