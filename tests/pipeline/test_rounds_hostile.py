"""Rounds with models, listeners, files and logs that nobody would wish for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.pipeline.test_rounds import ask, dataset
from tests.support.commands import cascade, log_of
from tests.support.hearing_server import text_of
from tests.support.stub_server import Reply, Script, Stub

__all__ = ["dataset"]
HALF = "\ud83d rain"  # half of a surrogate pair, as of a reply that was cut in an emoji

Line = dict[str, Any]


def ears(heard: str, question: str = "What is it?") -> Script:
    """Return the script of a model that asks a listener once, and of the listener."""

    def script(request: dict[str, Any], number: int) -> Reply:
        if request["model"] == "ears":
            return Reply(text=heard)
        if request.get("tool_choice") == "auto":
            return Reply(text=HALF, calls=(("listen", {"question": question, "end": 0.5}),))
        return Reply(text="Answer: rain")

    return script


def listen(server: Stub, dataset: Path) -> Line:
    """Run one item with a listener in one round; return the last line of its log."""
    flags = ("--rounds", "1", "--limit", "1", "--rounds-with", f"listen=audio-llm(model=ears,api_base={server.url})")
    done = ask(server, dataset, *flags)
    assert done.exit_code == 0, done.output
    return log_of(Path("run"))[-1]


def test_half_a_surrogate_pair_is_sent_on_as_a_question_mark(dataset: Path) -> None:
    with Stub(ears(HALF, question=HALF)) as server:
        answer = listen(server, dataset)
        _, to_ears, last = server.asked
    assert text_of(to_ears).startswith("Listen to this part of a recording")
    assert "Question: ? rain<clip>" in text_of(to_ears)
    assert [message["content"] for message in last["messages"][-2:]] == ["? rain", "? rain"]
    assert answer["rounds"][0]["reply"]["text"] == HALF  # The log has what was said.
    assert cascade("verify", "run").exit_code == 0


def test_half_a_surrogate_pair_in_a_caption_does_not_stop_a_run(dataset: Path) -> None:
    with Stub(ears(HALF)) as server:
        captions = f"sound=audio-llm(model=ears,api_base={server.url})"
        command = ("run", "--llm", "gpt-x", "--api-base", server.url, "--dataset", dataset, "--limit", "1")
        done = cascade(*command, "--captions", captions, "--out", "run")
        assert done.exit_code == 0, done.output
        assert "? rain" in text_of(server.asked[-1])
