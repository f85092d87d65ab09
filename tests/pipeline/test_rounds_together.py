"""Rounds together with models that think, with earlier runs of unknown cost, and with the other commands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.pipeline.test_rounds import LISTENERS, ask, by_calls, dataset
from tests.support.commands import cascade, log_of
from tests.support.stub_server import Reply, Stub

__all__ = ["dataset"]
THOUGHT = {"type": "thinking", "thinking": "I need the words.", "signature": "c2lnbmVk"}
HIDDEN = {"type": "redacted_thinking", "data": "aGlkZGVu"}


def claude(content: list[dict[str, Any]], stop: str) -> Reply:
    """Return a message in the form of Anthropic's endpoint."""
    message = {"id": "1", "type": "message", "role": "assistant", "model": "claude", "content": content}
    return Reply(
        raw=json.dumps({**message, "stop_reason": stop, "usage": {"input_tokens": 9, "output_tokens": 5}}).encode()
    )


def thinking(request: dict[str, Any], number: int) -> Reply:
    """Call a function, and refuse its result unless the thoughts before the call come back unchanged."""
    messages: list[dict[str, Any]] = [{"role": "", "content": []}, *request["messages"]]
    before, last = messages[-2:]
    if not isinstance(last["content"], list) or last["content"][0]["type"] != "tool_result":
        call = {"type": "tool_use", "id": "toolu_1", "name": "transcribe", "input": {"start": 0, "end": 0.5}}
        return claude([THOUGHT, HIDDEN, call], "tool_use")
    if before["content"][:2] != [THOUGHT, HIDDEN]:
        return Reply(status=400, text="Expected thinking or redacted_thinking, but found tool_use")
    heard = str(last["content"][0]["content"])
    return claude([{"type": "text", "text": "Answer: rain" if "rains" in heard else "Answer: a bell"}], "end_turn")


def test_thoughts_before_a_call_are_sent_back(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-0123456789abcdef")
    with Stub(thinking) as server:
        done = cascade(
            *("run", "--llm", "anthropic/claude-sonnet-4-20250514", "--api-base", server.url, "--dataset", dataset),
            *("--captions", "none", "--thinking-budget", "1024", "--max-tokens", "4096", "--limit", "2"),
            *("--rounds", "2", "--rounds-with", LISTENERS, "--out", "run", "--retries", "0"),
        )
        assert done.exit_code == 0, done.output
    answers = [line for line in log_of(Path("run")) if line["result"]["type"] == "completion"]
    assert [line["result"]["text"] for line in answers] == ["Answer: rain"] * 2
    assert answers[0]["rounds"][0]["reply"]["thinking_blocks"] == [THOUGHT, HIDDEN]
    assert "thinking_blocks" not in answers[0]["result"]
    assert cascade("verify", "run").exit_code == 0


def test_earlier_rounds_of_unknown_cost_count_on_resume(dataset: Path) -> None:
    def broken(request: dict[str, Any], number: int) -> Reply:
        reply = by_calls(request, number)
        return reply if reply.calls else Reply(status=500, text="down")

    flags = ["--rounds", "1", "--limit", "2", "--max-tokens", "7", "--concurrency", "1"]
    with Stub(broken) as server:
        assert ask(server, dataset, *flags).exit_code == 3  # One round of each of two items, of unknown price.
        server.script = by_calls
        price = ["--price", "0,10000"]  # 0.07 a call: the two rounds took 0.14.
        stopped = ask(server, dataset, *flags, *price, "--budget", "0.2")
        assert stopped.exit_code == 4 and "$0.1400 is spent" in stopped.output
        assert ask(server, dataset, *flags, *price, "--budget", "0.28").exit_code == 0
        stopped = ask(server, dataset, "--rounds", "1", "--max-tokens", "7", *price, "--budget", "0.28")
        assert stopped.exit_code == 4 and "$0.2800 is spent" in stopped.output
