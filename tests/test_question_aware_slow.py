"""Question-aware evidence with a listener that really hears, and a run of listener, digest and model that is killed."""

from __future__ import annotations

import base64
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from cascade.captioners.registry import Engine
from cascade.captioning.backends import local
from cascade.types import Caption, Host
from tests.support import clips
from tests.support.commands import ROOT, cascade, rows, write
from tests.support.stub_server import Reply, Stub

pytestmark = pytest.mark.slow
pytest.importorskip("litellm")
pytest.importorskip("soundfile")


class Hearing:
    """A listener by the packaged Whisper and by signal measures, and a model that answers by words in common.

    Without the question the listener says which kind of sound it is; with it also the words and the measures.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.kept: dict[str, str] = {}  # by clip

    def __call__(self, request: dict[str, Any], number: int) -> Reply:
        content = request["messages"][-1]["content"]
        if isinstance(content, list):
            heard = self.hear(content[-1]["input_audio"]["data"], f"{number}.wav")
            return Reply(text=heard if "Question:" in content[0]["text"] else " ".join(heard.split()[:4]))
        evidence, _, question = content.partition("Question: ")
        words = Counter(re.findall(r"\w+", evidence.lower()))
        choices = question.partition("Choices:\n")[2].partition("\n\n")[0].splitlines()
        common = [sum(bool(words[word]) for word in set(re.findall(r"\w+", choice.lower()))) for choice in choices]
        return Reply(text=f"Answer: {choices[common.index(max(common))]}")

    def hear(self, data: str, name: str) -> str:
        if data not in self.kept:
            (self.folder / name).write_bytes(base64.b64decode(data))
            texts = []
            for slot in ("faster-whisper", "signal"):
                spec, files = Engine(slot).specify("any", {})
                ((_, caption),) = local.run(
                    spec, Host(files={key: Path(path) for key, path in files.items()}), [self.folder / name]
                )
                assert isinstance(caption, Caption)
                texts.append(caption.text or "No words.")
            self.kept[data] = " ".join(texts)
        return self.kept[data]


def test_what_is_asked_for_is_heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("faster_whisper")
    pytest.importorskip("librosa")
    monkeypatch.chdir(tmp_path)
    with Stub(Hearing(tmp_path)) as stub:
        words = ["--dataset", "demo", "--limit", "8", "--captions", "a=audio-llm(model=la,question=true)"]
        words += ["--caption-param", f"a.api_base={stub.url}", "--llm", "gpt-x", "--api-base", stub.url]
        result = cascade(
            "ablate", *words, "--concurrency", "2", "--arms", "question", "--out", "arms", "--format", "json"
        )
    assert result.exit_code == 0, result.output
    accuracy = {member["name"]: member["accuracy"] for member in json.loads(result.stdout)["members"]}
    assert accuracy["all: a"] > accuracy["question-blind"]


def test_kills_cost_at_most_what_was_in_flight(tmp_path: Path) -> None:
    write(tmp_path / "mini.jsonl", list(rows(40)))
    for number in range(40):
        clips.write(tmp_path / f"{number}.wav", clips.tone(300 + 10 * number, 0.2))

    def answer(request: dict[str, Any], number: int) -> Reply:
        content = request["messages"][-1]["content"]
        asked = content[0]["text"] if isinstance(content, list) else content
        return Reply(text=f"Noted {len(asked)}, {re.findall(r'clip (?:[0-9]+)', asked)[-1:]}.", delay=0.05)

    draw = random.Random(7)
    with Stub(answer) as stub:
        params = [f"{slot}.api_base={stub.url}" for slot in ("a", "digest")]
        command = [sys.executable, "-m", "cascade", "run", "--dataset", "mini.jsonl", "--concurrency", "4"]
        command += ["--captions", "a=audio-llm(model=la,question=true)", "--digest", "d", "--digest-question"]
        command += [word for param in params for word in ("--caption-param", param)]
        command += ["--llm", "gpt-x", "--api-base", stub.url, "--out", "killed"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        kills = 8
        for _ in range(kills):
            run = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=-3, stderr=-3)
            time.sleep(draw.uniform(2.0, 12.0))
            run.send_signal(signal.SIGKILL)
            run.wait(timeout=30)
        assert subprocess.run(command, cwd=tmp_path, env=environment, stdout=-3, stderr=-3, check=False).returncode == 0
        assert 3 * 40 <= len(stub.asked) <= 3 * 40 + kills * 4
        again = len(stub.asked)
        assert subprocess.run(command, cwd=tmp_path, env=environment, stdout=-3, stderr=-3, check=False).returncode == 0
        assert len(stub.asked) == again
    verified = subprocess.run(
        [sys.executable, "-m", "cascade", "verify", "killed"], cwd=tmp_path, env=environment, stdout=-3, check=False
    )
    assert verified.returncode == 0
