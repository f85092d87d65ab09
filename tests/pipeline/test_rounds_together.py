"""Rounds combined with models that think, with earlier runs of unknown cost, and with the other commands."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.pipeline.test_rounds import CALL, LISTENERS, ask, by_calls, dataset, right
from tests.pipeline.test_rounds_split import SPLIT, doubter
from tests.support import clips
from tests.support.commands import cascade, log_of, rows, write
from tests.support.stub_server import Reply, Stub

__all__ = ["dataset"]
THOUGHT = {"type": "thinking", "thinking": "I need the words.", "signature": "c2lnbmVk"}
FAMILY = ("all", "mismatched", "blind", "shuffled")
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
    answer = "Answer: rain" if "rains" in str(last["content"][0]["content"]) else "Answer: a bell"
    return claude([{"type": "text", "text": answer}], "end_turn")


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


def served(request: dict[str, Any], number: int) -> Reply:
    """Reply as a model that makes one request, as a reader that reads rain, or as a judge that gives all points."""
    if request["model"] == "reader":
        return Reply(text="Answer: rain")
    if request["model"] == "judge":
        return Reply(text=json.dumps({"scores": [{"name": "Hears it", "score": 1}]}))
    if request.get("tool_choice") == "auto":
        return replace(CALL, text="I need the words.", reasoning="What is said?")
    if "tools" in request:
        return Reply(text="It has to be the first of them.", reasoning="It rains, then.")
    return doubter(request, number)


@pytest.fixture
def rubrics(dataset: Path) -> Path:
    """The dataset, with a rubric of one criterion."""
    criterion = {"name": "Hears it", "scoring_point": "1 point for it.", "note": "", "choices": [0, 1]}
    write(dataset, list(rows(8, rubric=[criterion])))
    for number in range(8):
        clips.write(dataset.parent / f"{number}.wav", clips.tone(440, 1 + number / 10))
    return dataset


def test_a_reader_and_a_judge_see_the_answers_with_rounds(rubrics: Path) -> None:
    with Stub(served) as server:
        assert ask(server, rubrics, *SPLIT).exit_code == 0
        assert right("run") == 1  # q1, which is a bell; the replies with rounds are unread
        read = cascade("read", "run", "--reader", "reader", "--api-base", server.url)
        assert read.exit_code == 0 and [request["model"] for request in server.asked].count("reader") == 8
        judged = cascade("judge", "run", "--judge", "judge", "--api-base", server.url)
        assert judged.exit_code == 0, judged.output
    figures = json.loads(cascade("score", "run", "--format", "json").stdout)
    assert figures["scores"]["mmar read by reader"]["accuracy"] == 2 / 8  # and the rain of q4
    verdict = cascade("verify", "run")
    assert verdict.exit_code == 0 and "judge.jsonl" in verdict.output and "reader.jsonl" in verdict.output
    assert cascade("export", "run").exit_code == 0
    exported = map(json.loads, Path("run/predictions.jsonl").read_text().splitlines())
    thoughts = {row["id"]: row["thinking_prediction"] for row in exported}
    assert thoughts["q0"] == "Answer: a bell"
    words = ["What is said?", "I need the words.", "It rains, then.", "It has to be the first of them."]
    assert thoughts["q4"].startswith("\n\n".join(words))
    assert cascade("verify", "run").exit_code == 0


@pytest.mark.parametrize("when", ["always", "split"])
def test_shards_merge_into_the_run_that_was_made_at_once(dataset: Path, when: str) -> None:
    flags = [*SPLIT, "--rounds-when", when]
    with Stub(by_calls if when == "always" else doubter) as server:
        assert ask(server, dataset, *flags, out="whole").exit_code == 0
        for shard in ("1/2", "2/2"):
            assert ask(server, dataset, *flags, "--shard", shard, out=f"part-{shard[0]}").exit_code == 0
        assert cascade("merge", "part-1", "part-2", "--out", "merged").exit_code == 0
        calls = len(server.asked)
        assert ask(server, dataset, *flags, out="merged").exit_code == 0 and len(server.asked) == calls
    whole, merged = (json.loads(cascade("score", run, "--format", "json").stdout) for run in ("whole", "merged"))
    assert {**whole, "run": ""} == {**merged, "run": ""}
    assert cascade("verify", "merged").exit_code == 0


@pytest.mark.parametrize("flags", [["--answer-as", "choice"], ["--shuffle-choices"], ["--tools", "text"]])
def test_other_forms_of_questions_and_answers_have_rounds_too(dataset: Path, flags: list[str]) -> None:
    def script(request: dict[str, Any], number: int) -> Reply:
        text = str(request["messages"])
        plain = "tools" not in request and "ASK" not in text
        if plain or "rains" not in text:
            reply = doubter(request, number) if plain else Reply(text="ASK transcribe")
            reply = reply if plain or flags[0] == "--tools" else CALL
        else:
            reply = Reply(text="Answer: rain")
        if "response_format" not in request or "Answer: " not in reply.text:
            return reply
        return Reply(text=json.dumps({"reasoning": "", "answer": reply.text.removeprefix("Answer: ")}))

    with Stub(script) as server:
        assert ask(server, dataset, *SPLIT, *flags).exit_code == 0
        forced = sum("response_format" in request for request in server.asked)
    assert right("run") == 2
    assert forced == (24 if flags[0] == "--answer-as" else 0)
    assert cascade("verify", "run").exit_code == 0
    assert cascade("report", "run", "--out", "page.html").exit_code == 0


def test_controls_have_rounds_where_their_own_samples_disagree(dataset: Path) -> None:
    with Stub(doubter) as server:
        command = ["ablate", "--llm", "gpt-x", "--api-base", server.url, "--dataset", dataset, "--captions", "none"]
        kinds = ["--variants", "mismatched,blind,shuffled", "--rounds-with", "measure=signal", "--out", "family"]
        done = cascade(*command, *SPLIT, *kinds)
        assert done.exit_code == 0, done.output
    runs = {name: json.loads(cascade("score", f"family/{name}", "--format", "json").stdout) for name in FAMILY}
    assert [run.get("asked_again") for run in runs.values()] == [4, 4, None, 4]
    for name in FAMILY:
        assert cascade("verify", f"family/{name}").exit_code == 0
    assert cascade("report", "family", "--out", "page.html").exit_code == 0


def test_a_row_is_reproduced_with_rounds_that_the_user_asks_for(dataset: Path) -> None:
    with Stub(by_calls) as server:
        done = cascade(
            *("reproduce", "o3", "--models", "gpt-x", "--api-base", server.url, "--dataset", dataset),
            *("--captions", "speech=fake", "--rounds-with", LISTENERS, "--out", "rows", "--rounds", "1"),
        )
        assert done.exit_code == 0, done.output
        assert len(server.asked) == 16
    [run] = Path("rows").iterdir()
    assert cascade("verify", run).exit_code == 0
