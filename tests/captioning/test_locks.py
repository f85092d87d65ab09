"""Who may write at the same time: several processes a cache, one a run; and no cache lies on a network file system."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from cascade.captioning import cache as module
from cascade.captioning.cache import CaptionCache
from cascade.errors import RunError
from cascade.io import jsonl
from tests.support.commands import ROOT, cascade, rows, write
from tests.support.ray_cluster import until


def start(folder: Path, *args: str) -> subprocess.Popen[str]:
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-m", "cascade", *args], cwd=folder, env=env, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def test_processes_that_fill_one_new_cache_together(tmp_path: Path) -> None:
    """Four at once, two of them for the same captions; a fifth is killed on the way."""
    write(tmp_path / "mini.jsonl", list(rows(300)))
    fixed = ["caption", "--dataset", "mini.jsonl", "--cache", "cache", "--format", "jsonl"]
    jobs = [start(tmp_path, *fixed, "--captions", f"speech=fake(text={text})") for text in ("a", "a", "b", "c")]
    killed = start(tmp_path, *fixed, "--captions", "sound=fake")
    until(lambda: (tmp_path / "cache" / "cache.db").exists())
    killed.kill()
    killed.communicate()
    for job, text in zip(jobs, "aabc", strict=True):
        out, err = job.communicate(timeout=60)
        assert job.returncode == 0, err
        assert [json.loads(line)["text"] for line in out.splitlines()] == [text] * 300
    with closing(CaptionCache(tmp_path / "cache")) as cache:
        assert list(cache.verify()) == []
        assert 900 <= len(cache) <= 1200
    assert cascade("cache", "verify", "--cache", tmp_path / "cache").exit_code == 0


TABLE = """/dev/sda1 / ext4 rw 0 0
tmpfs {root}/tmp tmpfs rw 0 0
server:/home {root}/home nfs4 rw 0 0
/dev/sdb1 {root}/home/fast xfs rw 0 0
scratch {root}/our\\040scratch lustre rw 0 0
"""


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("tmp/cache", "tmpfs"),
        ("home/me/cache", "nfs4"),
        ("home", "nfs4"),
        ("home/fast/cache", "xfs"),
        ("homely", "ext4"),
        ("our scratch/cache", "lustre"),
        ("link/cache", "nfs4"),
    ],
)
def test_the_disk_that_a_folder_is_on(tmp_path: Path, folder: str, kind: str) -> None:
    (tmp_path / "mounts").write_text(TABLE.format(root=tmp_path))
    (tmp_path / "home").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "home")
    assert module._file_system(tmp_path / folder, tmp_path / "mounts") == kind
    assert module._file_system(tmp_path / folder, tmp_path / "absent") == ""


def test_a_cache_on_a_network_file_system_says_how_captions_travel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_file_system", lambda folder: "nfs4")
    write(tmp_path / "mini.jsonl", list(rows(2)))
    result = cascade(
        "caption", "--dataset", tmp_path / "mini.jsonl", "--captions", "speech=fake", "--cache", tmp_path / "c"
    )
    assert result.exit_code == 2
    assert "is on a network file system (nfs4)" in result.stderr and "cascade cache export FILE" in result.stderr


def test_a_disk_without_locks_is_no_second_writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(handle: Any, how: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", none)
    with pytest.raises(RunError, match=r"its disk keeps no locks \(No locks available\).*give --out"):
        jsonl.RecordLog(tmp_path / "log.jsonl")


def test_the_second_of_two_runs_in_one_directory_stops_at_once(tmp_path: Path) -> None:
    write(tmp_path / "mini.jsonl", list(rows(4)))
    fixed = ["run", "--dataset", "mini.jsonl", "--captions", "none", "--llm", "fake", "--out", "run"]
    first = start(tmp_path, *fixed)
    first.communicate(timeout=60)
    assert first.returncode == 0
    before = {file.name: file.read_bytes() for file in (tmp_path / "run").iterdir()}
    with jsonl.RecordLog(tmp_path / "run" / "log.jsonl"):
        second = start(tmp_path, *fixed, "--limit", "2")
        _, err = second.communicate(timeout=60)
    assert second.returncode == 2
    assert "run: another process is writing this run; wait for it, or give --out" in err
    assert {file.name: file.read_bytes() for file in (tmp_path / "run").iterdir()} == before
