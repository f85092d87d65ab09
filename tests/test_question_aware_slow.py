"""Question-aware evidence with a listener that really hears."""

from __future__ import annotations

import base64
import json
import re
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from cascade.captioners.registry import Engine
from cascade.captioning.backends import local
from cascade.types import Caption, Host
from tests.support.commands import cascade
from tests.support.stub_server import Reply, Stub

pytestmark = [pytest.mark.slow, pytest.mark.skipif(find_spec("litellm") is None, reason="litellm is not installed")]
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
