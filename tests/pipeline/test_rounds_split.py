"""`--rounds-when split`: samples are asked without rounds, and items whose samples disagree again with them."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import cascade as interface
from cascade.report.items import details
from cascade.report.load import load_report
from tests.pipeline.test_rounds import LISTENERS, ask, by_calls, dataset, right
from tests.support.commands import ROOT, cascade, forge, log_of
from tests.support.stub_server import Reply, Stub

__all__ = ["dataset"]
SPLIT = ["--rounds", "1", "--rounds-when", "split", "--samples", "2", "--param", "temperature=1", "--param", "seed=0"]


def doubter(request: dict[str, Any], number: int) -> Reply:
    """Answer a bell for clips 0 to 3, another choice in each sample for clips 4 and 5, and no choice for the others.

    With tools, ask for a transcript, and then answer rain. Each sample has its own seed.
    """
    if "tools" in request:
        return by_calls(request, number)
    clip = int(re.findall(r"clip (\d)", str(request["messages"]))[0])
    if clip > 5:
        return Reply(text="I cannot know.")
    return Reply(text="Answer: wind" if clip > 3 and request["seed"] == 1 else "Answer: a bell")


def again(run: str | Path) -> dict[str, list[dict[str, Any]]]:
    """Return the log lines of the samples that were asked again, by item."""
    lines: dict[str, list[dict[str, Any]]] = {}
    for line in log_of(Path(run)):
        if "first" in line:
            lines.setdefault(line["item"], []).append(line)
    return lines


def test_only_items_whose_samples_disagree_are_asked_again(dataset: Path) -> None:
    with Stub(doubter) as server:
        done = ask(server, dataset, *SPLIT)
        assert done.exit_code == 0, done.output
        assert "asked again with rounds: 4 items, whose samples disagree\n" in done.stderr
        assert "asked again with rounds: 4 items, whose samples disagreed\n" in done.stdout
        assert len(server.asked) == 8 * 2 + 4 * 2 * 2
        assert ["tools" in request for request in server.asked] == [False] * 16 + [True] * 16
        assert ask(server, dataset, *SPLIT).exit_code == 0
        assert len(server.asked) == 32  # The second start asks nothing.
    lines = again("run")
    assert sorted(lines) == ["q4", "q5", "q6", "q7"]  # Samples without a choice do not agree.
    answers = [line for own in lines.values() for line in own if line["result"]["type"] == "completion"]
    assert [line["result"]["text"] for line in answers] == ["Answer: rain"] * 8
    assert {line["first"]["text"] for line in answers} == {"Answer: a bell", "Answer: wind", "I cannot know."}
    assert right("run") == 2  # q1, whose samples agree on a bell, and q4, whose answers with rounds are rain
    figures = json.loads(cascade("score", "run", "--format", "json").stdout)
    assert figures["asked_again"] == 4 and figures["prompt"] == "default, 1 round if split"
    assert figures["tokens"] == {"input": 32 * 11, "output": 32 * 7, "reasoning": 0}
    verdict = cascade("verify", "run")
    assert verdict.exit_code == 0, verdict.output


def test_a_forged_reply_without_rounds_is_found(dataset: Path) -> None:
    def change(lines: list[dict[str, Any]]) -> None:
        lines[-1]["first"]["text"] = "Answer: rain"

    with Stub(doubter) as server:
        assert ask(server, dataset, *SPLIT).exit_code == 0
    forge(Path("run/log.jsonl"), change)
    verdict = cascade("verify", "run")
    assert verdict.exit_code == 2
    assert "its first reply is not the one that was logged without rounds" in " ".join(verdict.output.split())


def test_the_report_shows_rounds_of_the_items_that_have_them(dataset: Path) -> None:
    with Stub(doubter) as server:
        assert ask(server, dataset, *SPLIT).exit_code == 0
    assert cascade("report", "run", "--out", "page.html").exit_code == 0
    report = load_report([Path("run")])
    clips = {item.audio: place for place, item in enumerate(report.main.run.items)}
    replies = [item["replies"][0] for item in details(report, clips)]
    assert ["rounds" in reply for reply in replies] == [False] * 4 + [True] * 4
    assert [reply.get("first") for reply in replies[3:6]] == [None, "Answer: a bell", "Answer: a bell"]
    assert all(reply["same"] for reply in replies)  # Each prompt has the digest that the log has.


def test_a_run_with_rounds_if_split_differs_from_one_with_rounds_for_every_item(dataset: Path) -> None:
    with Stub(doubter) as server:
        always = [*SPLIT[:2], *SPLIT[4:]]
        assert ask(server, dataset, *always, "--limit", "1", out="always").exit_code == 0
        assert ask(server, dataset, *always, "--limit", "1", "--rounds-when", "always", out="always").exit_code == 0
        refused = ask(server, dataset, *SPLIT, "--limit", "1", out="always")
    assert refused.exit_code == 2 and "rounds.when is None there, 'split' here" in refused.output
    assert "when" not in json.loads(Path("always/run.json").read_text())["spec"]["rounds"]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--rounds", "1", "--rounds-when", "split"], "one sample cannot disagree; give --samples 2 or more"),
        (["--rounds", "1", "--rounds-when", "seldom"], "give --rounds-when always or split"),
        (["--rounds-when", "split", "--samples", "2"], "say in how many --rounds"),
    ],
)
def test_flags_that_contradict_each_other_are_refused(dataset: Path, flags: list[str], words: str) -> None:
    with Stub() as server:
        command = ["run", "--llm", "gpt-x", "--api-base", server.url, "--dataset", dataset, "--captions", "none"]
        refused = cascade(*command, *flags)
    assert refused.exit_code == 2 and words in refused.output


def plan(server: Stub, dataset: Path) -> str:
    return ask(server, dataset, *SPLIT, "--dry-run").stdout


def test_a_plan_assumes_that_the_samples_of_every_item_disagree(dataset: Path) -> None:
    with Stub(doubter) as server:
        words = (
            "calls     16 (8 questions, 2 samples each; 0 answered already); with rounds up to 48 if the samples of "
        )
        assert words + "every item disagree" in plan(server, dataset)
        assert ask(server, dataset, *SPLIT, "--limit", "4").exit_code == 0
        assert "8 answered already); with rounds up to 40 if" in plan(server, dataset)
        assert ask(server, dataset, *SPLIT).exit_code == 0
        assert "calls     0 (8 questions, 2 samples each; 16 answered already)\n" in plan(server, dataset)


def test_a_sample_that_failed_leaves_its_item_undecided(dataset: Path) -> None:
    def failing(request: dict[str, Any], number: int) -> Reply:
        reply = doubter(request, number)
        return Reply(status=500, text="down") if "wind" in reply.text else reply

    with Stub(failing) as server:
        done = ask(server, dataset, *SPLIT)
        assert done.exit_code == 3 and sorted(again("run")) == ["q6", "q7"]
        server.script = lambda request, number: (
            by_calls(request, number) if "tools" in request else Reply(text="Answer: wind")
        )
        assert ask(server, dataset, *SPLIT).exit_code == 0
    assert sorted(again("run")) == ["q4", "q5", "q6", "q7"]


def test_a_failure_with_rounds_is_no_answer_and_is_tried_again_with_rounds(dataset: Path) -> None:
    def broken(request: dict[str, Any], number: int) -> Reply:
        return Reply(status=500, text="down") if request.get("tool_choice") == "none" else doubter(request, number)

    with Stub(broken) as server:
        assert ask(server, dataset, *SPLIT).exit_code == 3
        figures = json.loads(cascade("score", "run", "--format", "json").stdout)
        assert (figures["failed"], figures["asked_again"]) == (4, 4)
        assert cascade("verify", "run").exit_code == 0
        server.script, before = doubter, len(server.asked)
        assert ask(server, dataset, *SPLIT).exit_code == 0
        assert [request["tool_choice"] for request in server.asked[before:]] == ["none"] * 8
    assert {line["first"]["text"] for own in again("run").values() for line in own} == {
        *("Answer: a bell", "Answer: wind", "I cannot know.")
    }


def test_a_budget_counts_the_replies_before_and_after(dataset: Path) -> None:
    price = ["--price", "0,10000", "--max-tokens", "7", "--concurrency", "1"]  # 0.07 a call, and no more
    with Stub(doubter) as server:
        stopped = ask(server, dataset, *SPLIT, *price, "--budget", "1.25")
        assert stopped.exit_code == 4 and len(server.asked) == 17
        assert cascade("verify", "run").exit_code == 0
        again = ask(server, dataset, *SPLIT, *price, "--budget", "1.25")
        assert again.exit_code == 4 and len(server.asked) == 17
        assert ask(server, dataset, *SPLIT, *price, "--budget", "2.25").exit_code == 0
        assert len(server.asked) == 32
    figures = json.loads(cascade("score", "run", "--format", "json").stdout)
    assert figures["cost"] == pytest.approx(32 * 0.07)


def start(server: Stub, dataset: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "cascade", "run", "--llm", "gpt-x", "--api-base", server.url, "--retries", "0"]
    command += ["--dataset", str(dataset), "--captions", "none", "--rounds-with", LISTENERS, "--out", "run", *SPLIT]
    command += ["--concurrency", "4"]
    return subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.DEVNULL)


_SLOW = pytest.mark.slow


@pytest.mark.parametrize("kind", [pytest.param("plain", marks=_SLOW), pytest.param("auto", marks=_SLOW), "none"])
def test_after_a_kill_only_the_calls_in_flight_are_repeated(dataset: Path, kind: str) -> None:
    """The process is killed while four calls of a kind are in flight: before, during or after the rounds."""
    held, lock, counts = threading.Event(), threading.Lock(), Counter[str]()

    def hanging(request: dict[str, Any], number: int) -> Reply:
        now = str(request.get("tool_choice", "plain"))
        with lock:
            counts[now] += 1
            late = now == kind and counts[now] > 4
        if late:
            held.wait(60)
        return doubter(request, number)

    with Stub(hanging) as server:
        process = start(server, dataset)
        deadline = time.monotonic() + 60
        while counts[kind] < 8 and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        process.wait()
        held.set()
        server.script = doubter
        assert ask(server, dataset, *SPLIT).exit_code == 0
        assert len(server.asked) == 32 + 4
    assert sorted(again("run")) == ["q4", "q5", "q6", "q7"]
    assert right("run") == 2 and cascade("verify", "run").exit_code == 0


def test_split_is_an_arm_of_a_run_with_several_samples(dataset: Path) -> None:
    with Stub(doubter) as server:
        family = interface.ablate(
            *("gpt-x", dataset),
            arms="rounds",
            api_base=server.url,
            captions="none",
            rounds=3,
            rounds_with=LISTENERS,
            samples=2,
            param=["temperature=1", "seed=0"],
            price="0,10000",
            out="family",
        )
    assert [(member.name, Path(member.run).name) for member in family.members] == [
        ("all: no captions, 3 rounds", "all"),
        ("blind", "without-rounds"),
        ("no captions, 1 round", "1-round"),
        ("no captions, 3 rounds if split", "split"),
    ]
    assert [member.item_cost for member in family.members] == [
        *map(pytest.approx, (8 * 0.07, 2 * 0.07, 4 * 0.07, 6 * 0.07))
    ]


def test_the_python_interface_has_the_flag(dataset: Path) -> None:
    with Stub(doubter) as server:
        run = interface.run(
            *("gpt-x", dataset),
            captions="none",
            rounds=1,
            rounds_when="split",
            rounds_with=LISTENERS,
            samples=2,
            param=["temperature=1", "seed=0"],
            api_base=server.url,
            out="run",
        )
    assert interface.score(run.path).asked_again == 4
    assert [row["input_tokens"] for row in run.to_rows()].count(33) == 8
