"""A run that is killed at any moment and started again ends as if it had never been killed."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.commands import ROOT, log_of, rows, write
from tests.support.stub_server import Reply, Stub

pytestmark = pytest.mark.slow


def start(folder: Path, url: str, out: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "cascade", "run", "--dataset", "mini.jsonl", "--captions", "speech=fake"]
    command += ["--llm", "gpt-x", "--api-base", url, "--concurrency", "4", "--out", out]
    quiet = subprocess.DEVNULL
    return subprocess.Popen(
        command, cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=quiet, stderr=quiet
    )


def scores(folder: Path) -> object:
    command = [sys.executable, "-m", "cascade", "score", str(folder), "--format", "json"]
    told = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, check=True)
    return json.loads(told.stdout)["scores"]


def test_twenty_kills_cost_at_most_what_was_in_flight(tmp_path: Path) -> None:
    write(tmp_path / "mini.jsonl", list(rows(160)))

    def answer(request: dict[str, object], number: int) -> Reply:
        asked = json.dumps(request["messages"])
        return Reply(text=f"Answer: {('rain', 'a bell', 'a siren')[len(asked) % 3]}", delay=0.05)

    draw = random.Random(7)
    with Stub(answer) as stub:
        assert start(tmp_path, stub.url, "whole").wait(timeout=120) == 0
        assert len(stub.asked) == 160
        for _ in range(20):
            run = start(tmp_path, stub.url, "killed")
            time.sleep(draw.uniform(0.1, 9.0))
            run.send_signal(signal.SIGKILL)
            run.wait(timeout=30)
        assert start(tmp_path, stub.url, "killed").wait(timeout=120) == 0
        paid_twice = len(stub.asked) - 2 * 160
    answered = [line["item"] for line in log_of(tmp_path / "killed")]
    assert sorted(answered) == sorted(f"q{number}" for number in range(160))
    assert 0 <= paid_twice <= 20 * 4
    assert scores(tmp_path / "killed") == scores(tmp_path / "whole")
