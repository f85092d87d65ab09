"""A run that is killed at any moment and started again ends as if it had never been killed.

The run has every kind of call: a listener that knows the question, a digest, a model that asks in rounds, and a
listener that it asks. Each call costs ten cents.
"""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from cascade.runs import directory
from cascade.runs.charges import charges
from cascade.types import Completion
from tests.support import clips
from tests.support.commands import ROOT, rows, write
from tests.support.stub_server import Reply, Stub

pytestmark = [pytest.mark.slow, pytest.mark.skipif(find_spec("litellm") is None, reason="litellm is not installed")]
pytest.importorskip("soundfile")

ITEMS, FLYING, KILLS = 40, 4, 20
KINDS = ("listener", "digest", "model", "finding")
# The command line, with a price for calls of servers on this machine, which would be free.
PRICED = """
from cascade.cli.app import main
from cascade.llms import litellm, origins
origins.is_loopback = lambda api_base: False
litellm._cost = lambda reply: 0.1
main()
"""


class Servers:
    """All models in one server, whose replies depend only on the request.

    `asked` counts each request. `stages` has the stage of each request of an item: 0 for listening, 1 for merging, 2
    for the first message of the model and its finding, 3 for the answer.
    """

    def __init__(self) -> None:
        self.asked: dict[str, Counter[str]] = {kind: Counter() for kind in KINDS}
        self.stages: dict[str, list[int]] = {}
        self._lock = threading.Lock()

    def __call__(self, request: dict[str, Any], number: int) -> Reply:
        content = json.dumps([request["messages"], request.get("tool_choice")], sort_keys=True)
        name = sha256(content.encode()).hexdigest()
        item = re.findall(r"in clip (\d+)\?", content)[0]
        has_finding = any(message["role"] == "tool" for message in request["messages"])
        kind, stage = "model", 2 + has_finding
        if "input_audio" in content:
            kind, stage = ("finding", 2) if "Listen to this part" in content else ("listener", 0)
        elif request["model"] == "gpt-4o-mini":
            kind, stage = "digest", 1
        with self._lock:
            self.asked[kind][name] += 1
            self.stages.setdefault(item, []).append(stage)
        if kind == "model" and not has_finding:
            part = {"question": f"What is in clip {item}?", "start": 0.1, "end": 0.3}
            return Reply(text="", finish="tool_calls", calls=(("listen", part),), delay=0.1)
        if kind == "model":
            return Reply(text=f"Answer: {('rain', 'a bell', 'a siren')[int(name, 16) % 3]}", delay=0.1)
        return Reply(text=f"Noted {name[:8]}.", delay=0.1)

    def distinct(self) -> int:
        """Return the number of different requests that were sent."""
        with self._lock:
            return sum(map(len, self.asked.values()))

    def repeated(self) -> dict[str, int]:
        """Return how many requests of each kind were sent again."""
        return {kind: counts.total() - len(counts) for kind, counts in self.asked.items()}

    def total(self) -> int:
        return sum(counts.total() for counts in self.asked.values())


def run(folder: Path, url: str, out: str) -> subprocess.Popen[bytes]:
    """Start the run, in a process group of its own."""
    listener = f"audio-llm(model=gpt-4o-audio-preview,api_base={url}"
    command = [sys.executable, "-c", PRICED, "run", "--dataset", "mini.jsonl", "--concurrency", str(FLYING)]
    command += ["--captions", f"a={listener},question=true)", "--cache", f"cache-{out}", "--out", out, "--retries", "0"]
    command += ["--digest", "gpt-4o-mini", "--digest-question", "--caption-param", f"digest.api_base={url}"]
    command += ["--rounds", "1", "--rounds-with", f"listen={listener})", "--llm", "gpt-4o", "--api-base", url]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OPENAI_API_KEY": "none", "NO_PROXY": "127.0.0.1"}
    with (folder / f"{out}.stderr").open("ab") as log:
        return subprocess.Popen(
            [*command, "--budget", "1000"],
            cwd=folder,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=log,
            start_new_session=True,
        )


def finish(folder: Path, url: str, out: str) -> None:
    assert run(folder, url, out).wait(timeout=180) == 0, (folder / f"{out}.stderr").read_text()


def outcome(folder: Path) -> dict[str, Any]:
    """Return the results of a run: scores, answers with their rounds, captions, and the last line of `verify`."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    commands = ["score", folder.name, "--format", "json"], ["verify", folder.name]
    score, verify = (
        subprocess.run(
            [sys.executable, "-m", "cascade", *words],
            cwd=folder.parent,
            env=environment,
            capture_output=True,
            check=True,
        ).stdout
        for words in commands
    )
    answers = {}
    for (item, _), answer in directory.last_answers(folder).items():
        assert isinstance(answer.result, Completion)
        rounds = [[(finding.text, finding.key) for finding in each.findings] for each in answer.rounds or ()]
        answers[item] = (answer.result.text, answer.captions, rounds)
    captions = [(record.item, record.slot, record.key, record.text) for record in directory.read_captions(folder)]
    verified = verify.decode().replace(folder.name, "RUN").splitlines()[-1]
    figures = json.loads(score)
    return {
        "scores": figures["scores"],
        "cost": figures["cost"],
        "captions_cost": round(figures["captions_cost"], 9),
        "answers": answers,
        "captions": captions,
        "verified": verified,
    }


def test_twenty_kills_cost_at_most_what_was_in_flight(tmp_path: Path) -> None:
    write(tmp_path / "mini.jsonl", list(rows(ITEMS)))
    for number in range(ITEMS):
        clips.write(tmp_path / f"{number}.wav", clips.tone(300 + 10 * number, 0.5))
    undisturbed, servers, draw = Servers(), Servers(), random.Random(7)
    with Stub(undisturbed) as stub:
        finish(tmp_path, stub.url, "whole")
    whole = undisturbed.distinct()
    assert {kind: len(counts) for kind, counts in undisturbed.asked.items()} == {
        "listener": ITEMS,
        "digest": ITEMS,
        "model": 2 * ITEMS,
        "finding": ITEMS,
    }
    assert undisturbed.repeated() == dict.fromkeys(KINDS, 0)
    with Stub(servers) as stub:
        for kill in range(KILLS):
            process = run(tmp_path, stub.url, "killed")
            deadline = time.monotonic() + 60
            if kill % 5 == 0:
                deadline = time.monotonic() + draw.uniform(0.2, 3)  # while it starts
            while servers.distinct() < whole * (kill + 1) / (KILLS + 1) and time.monotonic() < deadline:
                time.sleep(0.01)
            time.sleep(draw.uniform(0, 0.2))
            os.killpg(process.pid, signal.SIGKILL)
            assert process.wait(timeout=30) == -signal.SIGKILL, (tmp_path / "killed.stderr").read_text()
        finish(tmp_path, stub.url, "killed")
        paid = servers.total()
        finish(tmp_path, stub.url, "killed")
        assert servers.total() == paid
    assert servers.distinct() == whole
    # A call whose reply was used is not repeated; only calls in flight are repeated.
    assert all(stages == sorted(stages) for stages in servers.stages.values())
    repeated = servers.repeated()
    # A round is logged after its findings, so a kill can interrupt both its model's call and its listener's.
    assert repeated["listener"] + repeated["digest"] + repeated["model"] <= KILLS * FLYING
    assert repeated["finding"] <= KILLS * FLYING
    killed, expected = outcome(tmp_path / "killed"), outcome(tmp_path / "whole")
    cost, whole_cost = killed.pop("cost"), expected.pop("cost")
    assert killed == expected
    assert whole_cost == pytest.approx(12.0) and expected["captions_cost"] == 8.0
    # A finding may be cached although the process was killed before it logged the round: then it is not paid again.
    assert whole_cost - KILLS * FLYING * 0.1 <= cost <= whole_cost + 1e-9
    lost = {}
    for out, asked in (("whole", whole), ("killed", paid)):
        counted = [charge or 0.0 for charge in charges(tmp_path / out)]
        lost[out] = asked - round(sum(counted) / 0.1)
    assert lost["whole"] == 0
    # The cost of a call in flight is in no log.
    assert 0 <= lost["killed"] <= sum(repeated.values()) + KILLS * FLYING
