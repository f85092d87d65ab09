"""Whole lines, whatever kills the writer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cascade.errors import RunError
from cascade.io import files, jsonl

ROOT = Path(__file__).parents[2]
VALUES: list[Any] = [{"text": "naïve ♯ 猫"}, ["a\nb", 1.5, None], "", {"half": "\ud83d"}, 0]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log.jsonl"


def test_values_come_back_as_they_went_in(log: Path) -> None:
    jsonl.write(log, VALUES)
    assert list(jsonl.read(log)) == VALUES
    assert log.read_bytes().splitlines()[:1] == ['{"text": "naïve ♯ 猫"}'.encode()]
    assert b'{"half": "\\ud83d"}\n' in log.read_bytes()


def test_only_a_growing_file_may_end_in_an_unfinished_line(log: Path) -> None:
    log.write_bytes(b'1\n{"a')
    assert list(jsonl.read(log, growing=True)) == [1]
    with pytest.raises(RunError, match=r"log\.jsonl:2: not JSON"):
        list(jsonl.read(log))


def test_a_log_cut_at_any_byte_gives_its_whole_lines_and_goes_on(log: Path) -> None:
    chain = list(jsonl.hash_chain({"value": value} for value in VALUES))
    jsonl.write(log, chain)
    whole = log.read_bytes()
    for cut in range(len(whole) + 1):
        log.write_bytes(whole[:cut])
        kept = chain[: whole[:cut].count(b"\n")]
        assert list(jsonl.read(log, growing=True)) == kept
        append(log, "next")
        assert records(log) == [*map(jsonl.without_digest, kept), {"value": "next"}]
        assert list(jsonl.broken_links(jsonl.read(log))) == []


def append(log: Path, value: Any) -> None:
    with jsonl.RecordLog(log) as opened:
        opened.append({"value": value})


def records(log: Path) -> list[Any]:
    return list(map(jsonl.without_digest, jsonl.read(log)))


@pytest.mark.parametrize("size", [1, (1 << 16) - 1, 1 << 16, 3 << 16])
def test_a_long_unfinished_line_is_cut_off(log: Path, size: int) -> None:
    append(log, "kept")
    with log.open("ab") as file:
        file.write(b"x" * size)
    append(log, "next")
    assert records(log) == [{"value": "kept"}, {"value": "next"}]


@pytest.mark.parametrize("text", ["[" * 201 + "]" * 201, '{"a":' * 400 + "1" + "}" * 400, "1e999", '{"a": [-1e999]}'])
def test_json_beyond_the_bounds_is_refused(text: str, log: Path) -> None:
    for form in (text, text.encode()):
        with pytest.raises(jsonl.OutOfBounds):
            jsonl.loads(form)
    log.write_text(text + "\n")
    with pytest.raises(RunError, match=r"log\.jsonl:1: "):
        list(jsonl.read(log))


def test_json_within_the_bounds_is_read() -> None:
    for value in ([[1]] * 500, {"a": "[" * 999}, json.loads("[" * 200 + "]" * 200)):
        assert jsonl.loads(json.dumps(value)) == value


@pytest.mark.parametrize("bad", [b"{", b"", b"\xff", b"{} {}", b'"\x00', b"[" * 100_000])
def test_a_bad_line_is_an_error_with_its_place(log: Path, bad: bytes) -> None:
    log.write_bytes(b"1\n" + bad + b"\n3\n")
    rows = jsonl.read(log)
    assert next(rows) == 1
    with pytest.raises(RunError, match=r"log\.jsonl:2: not JSON"):
        next(rows)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object()])
def test_what_is_not_json_is_not_written(log: Path, value: Any) -> None:
    with pytest.raises((ValueError, TypeError), match="JSON"):
        append(log, value)
    assert log.read_bytes() == b""


def test_a_second_writer_is_refused_here_and_from_another_process(log: Path) -> None:
    script = f"from pathlib import Path; from cascade.io import jsonl; jsonl.RecordLog(Path({str(log)!r}))"
    with jsonl.RecordLog(log) as first:
        with pytest.raises(RunError, match="another process is writing this run"):
            jsonl.RecordLog(log)
        child = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=ROOT)
        assert child.returncode == 1 and "another process is writing this run" in child.stderr
        first.append({"value": 1})
    append(log, 2)
    assert records(log) == [{"value": 1}, {"value": 2}]


def test_a_write_that_fails_leaves_the_old_file_alone(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jsonl.write(log, ["old"])

    def failing() -> Iterator[str]:
        yield "new"
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        jsonl.write(log, failing())
    with pytest.raises(UnicodeEncodeError):
        files.write_text(log, "\ud800")

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        jsonl.write(log, ["new"])
    assert list(jsonl.read(log)) == ["old"]
    assert [file.name for file in log.parent.iterdir()] == ["log.jsonl"]


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from cascade.io import files, jsonl
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
log = jsonl.RecordLog(Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (450, resource.RLIM_INFINITY))
refused = 0
for number in range(20):
    try:
        log.append({"value": number})
    except OSError:
        refused += 1
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
if len(sys.argv) > 2:
    log.append({"value": "room again"})
print(refused)
"""


@pytest.mark.parametrize("again", [[], ["room again"]])
def test_a_full_disk_costs_the_lines_that_found_no_room_and_no_other(log: Path, again: list[str]) -> None:
    command = [sys.executable, "-c", FULL_DISK, str(log), *again]
    child = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert int(child.stdout) == 13
    append(log, "after")
    assert records(log) == [{"value": value} for value in (*range(7), *again, "after")]
    assert list(jsonl.broken_links(jsonl.read(log))) == []


def test_what_is_no_plain_file_is_not_replaced(tmp_path: Path) -> None:
    kept, link, pipe = tmp_path / "kept", tmp_path / "link", tmp_path / "pipe"
    kept.write_text("kept")
    link.symlink_to(kept)
    os.mkfifo(pipe)
    for target in (link, pipe, tmp_path):
        with pytest.raises(RunError, match="is a link or no plain file, and is not replaced; name another file"):
            files.write_text(target, "lost")
    assert kept.read_text() == "kept" and link.is_symlink() and sorted(tmp_path.iterdir()) == [kept, link, pipe]


def test_a_number_too_large_for_a_float_breaks_its_line() -> None:
    chain = list(jsonl.hash_chain([{"a": 1}, {"a": 2}]))
    assert list(jsonl.broken_links([chain[0], {**chain[1], "a": float("inf")}])) == [2]
