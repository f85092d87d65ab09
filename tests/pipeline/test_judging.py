"""A judge against a real server that is right, late, wrong-shaped, re-ordered and dead by turns."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cascade.scoring import rubric_score
from tests.llms.test_litellm import odd
from tests.support.commands import ROOT, cascade, only_run, rows, write
from tests.support.stub_server import Reply, Script, Stub

CANARY = "sk-canary-0123456789abcdef"
RIGHT = 6  # of eight: the others answer something else
PRICED = ["--price", "0,10000", "--max-tokens", "7"]  # 0.07 a call, and no more


def rubric(number: int) -> list[dict[str, Any]]:
    """Three criteria of different worth: ten points in all."""
    worth = [[0, 1], [0, 2, 4], [0, 5]]
    names = [f"Hears {what} {number}" for what in ("rain", "wind", "a bell")]
    return [
        {"name": name, "scoring_point": f"1 point for {name}.", "note": f"secret note {number}", "choices": choices}
        for name, choices in zip(names, worth, strict=True)
    ]


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A prediction file with questions, rubrics and reasoning of its own; q6 and q7 are wrong."""
    monkeypatch.chdir(tmp_path)
    found = [
        {
            **row,
            "thinking": f"gold thought {number}",
            "rubric": rubric(number),
            "answer_prediction": row["answer"] if number < RIGHT else "thunder",
            "thinking_prediction": f"What I think of {number}.",
        }
        for number, row in enumerate(rows(8))
    ]
    write(tmp_path / "mini.jsonl", [{key: row[key] for key in row if "prediction" not in key} for row in found])
    return write(tmp_path / "theirs.jsonl", found)


def asked_of(request: dict[str, Any]) -> int:
    """The number of the item that a request is about."""
    said = re.search(r"in clip (\d+)\?", request["messages"][-1]["content"])
    assert said
    return int(said[1])


def reply(number: int, *scores: float) -> str:
    names = [one["name"] for one in rubric(number)]
    return json.dumps({"scores": [{"name": n, "score": s} for n, s in zip(names, scores, strict=True)]})


def perfect(request: dict[str, Any], number: int) -> Reply:
    return Reply(text=reply(asked_of(request), 1, 4, 5))


def by_call(replies: Callable[[int, int], Reply]) -> Script:
    """Of an item's number and which of its calls this is."""
    seen: Counter[int] = Counter()

    def script(request: dict[str, Any], number: int) -> Reply:
        item = asked_of(request)
        seen[item] += 1
        return replies(item, seen[item] - 1)

    return script


def judge(source: Path, stub: Stub, *args: str) -> Any:
    return cascade("judge", source, "--judge", "gpt-x", "--api-base", stub.url, "--retries", "0", *args)


def told(source: Path, *args: str) -> dict[str, Any]:
    done = cascade("judge", source, "--format", "json", *args)
    assert done.exit_code == 0  # reading alone, whatever the log holds
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "judge.jsonl").read_text().splitlines()]


def test_five_calls_an_item_and_the_trimmed_mean_by_hand(published: Path) -> None:
    # Of ten points: 10, 5, 3, 0 and 9; without 10 and 0 the mean is 17 / 30. Item 1 is given 10 by every call.
    calls = [(1, 4, 5), (1, 4, 0), (1, 2, 0), (0, 0, 0), (0, 4, 5)]
    script = by_call(lambda item, call: Reply(text=reply(item, *(calls[call] if item != 1 else (1, 4, 5)))))
    with Stub(script) as stub:
        done = judge(published, stub, "--concurrency", "3")
    assert done.exit_code == 0 and len(stub.asked) == 5 * RIGHT
    assert "8 items: 6 right, of which 6 judged, 0 failed" in done.stdout
    assert Path("runs/theirs-judged/judge.jsonl").exists() and "runs/theirs-judged/judge.jsonl" in done.stderr
    found = told(published)
    assert found["ours"]["whole"]["accuracy"] == pytest.approx((5 * 17 / 30 + 1) / 8)
    assert found["ours"] == found["official"] and found["accuracy"]["whole"]["accuracy"] == 0.75
    speech = found["ours"]["by"]["modality"]["speech"]  # items 1, 3, 5 and the wrong 7
    assert (speech["n"], speech["accuracy"]) == (4, pytest.approx((1 + 2 * 17 / 30) / 4))
    low, high = found["ours"]["whole"]["ci95"]
    assert 0 < low < found["ours"]["whole"]["accuracy"] < high < 1


def test_what_the_judge_sees_and_is_sent(published: Path) -> None:
    with Stub(perfect) as stub:
        judge(published, stub)
    first = next(one for one in stub.asked if asked_of(one) == 0)
    assert (first["temperature"], first["seed"], first["model"]) == (0, 42, "gpt-x")
    shown = "\n".join(message["content"] for message in first["messages"])
    for part in (
        "What is heard in clip 0?",
        "Correct answer: rain",
        "gold thought 0",
        "1 point for Hears wind 0.\n   Allowed scores: 0, 2, 4",
        "<student>\nWhat I think of 0. The answer is rain.\n</student>",
    ):
        assert part in shown
    assert "secret" not in shown and "a siren" not in shown and "0.wav" not in shown
    with Stub(perfect) as plain:
        judge(published, plain, "--param", "seed=none", "--param", "temperature=none", "--out", "plain")
    assert not {"seed", "temperature"} & plain.asked[0].keys()
    head, *calls = lines(Path("runs/theirs-judged"))
    assert head["template_digest"].startswith("b2:") and head["text"].startswith("# system")
    assert calls[0]["result"]["sent"] == {"model": "gpt-x", "temperature": 0, "seed": 42}
    assert {(one["item"], one["call"]) for one in calls} == {(f"q{n}", call) for n in range(6) for call in range(5)}


def test_right_late_misshapen_turned_and_dead_by_turns(published: Path) -> None:
    def kinds(item: int, call: int) -> Reply:
        good = json.loads(reply(item, 1, 4, 0))
        if call < 4 or item == 0:
            return Reply(text=json.dumps(good))
        return [
            Reply(),
            Reply(text=json.dumps(good), delay=0.3),
            Reply(text="It seems good to me."),
            Reply(text=json.dumps({"scores": good["scores"][::-1]})),
            Reply(status=503, text="dead"),
            Reply(drop=9),
        ][item]

    with Stub(by_call(kinds)) as stub:
        done = judge(published, stub, "--explain")
        assert done.exit_code == 3
        assert "6 right, of which 2 judged, 4 failed" in done.stdout
        assert "calls: 26 read, 2 unreadable, 2 failed; matched 26 by place" in done.stdout
        assert "the judgement of 1 item failed (unreadable: no JSON in the reply), counted as 0" in done.stderr
        assert "q4" in done.stdout and "no reply: server" in done.stdout
        found = told(published)
        # Two of eight items have 5 of 10 points; officially the failed ones leave the totals. Item 3 fails, because
        # scores go by place: the rain's 1 is no score that the bell allows.
        assert found["ours"]["whole"]["accuracy"] == pytest.approx(2 * 0.5 / 8)
        assert (found["official"]["whole"]["n"], found["official"]["whole"]["accuracy"]) == (
            4,
            pytest.approx(2 * 0.5 / 4),
        )
        assert found["why"] == {
            "unreadable: no JSON in the reply": 1,
            "unreadable: 1 is no score that 'Hears a bell 3' allows": 1,
            "no reply: server": 1,
            "no reply: connection": 1,
        }
        stub.script = perfect
        again = judge(published, stub)
    assert again.exit_code == 0 and len(stub.asked) == 30 + 4  # only what is missing
    assert told(published)["ours"]["whole"]["accuracy"] == pytest.approx(6 * 0.5 / 8)  # the best call is left out


def test_a_whole_log_asks_nothing_and_another_judge_is_refused(published: Path) -> None:
    with Stub(perfect) as stub:
        first = judge(published, stub)
        assert judge(published, stub).stdout == first.stdout and cascade("judge", published).stdout == first.stdout
        Path("mine.md").write_text("# user\n$criteria\n$response\n")
        for other in (["--judge", "gpt-y"], ["--seed", "1"], ["--judge-prompt", "./mine.md"]):
            refused = judge(published, stub, *other)
            assert refused.exit_code == 2 and "is by another judge" in refused.stderr and "--out" in refused.stderr
        assert len(stub.asked) == 30
        apart = judge(published, stub, "--judge", "gpt-y", "--out", "by-y")
        assert apart.exit_code == 0 and len(stub.asked) == 60 and lines(Path("by-y"))[0]["llm"]["model"] == "gpt-y"


def test_a_run_and_what_it_exports_are_judged_alike_and_verified(published: Path) -> None:
    cascade("run", "--dataset", "mini.jsonl", "--captions", "none", "--llm", "fake")
    run = only_run()
    cascade("export", run)
    ours = rubric_score.judge_cases(run)
    theirs = rubric_score.judge_cases(run / "predictions.jsonl")
    assert ours.cases == theirs.cases and ours.cases
    with Stub(perfect) as stub:
        done = judge(run, stub)
    assert done.exit_code == 0 and len(stub.asked) == 5 * len(ours.right) == 5 * len(ours.cases)
    assert f"replies: 0 kept, {len(stub.asked)} asked" in done.stderr
    assert (run / "judge.jsonl").exists()
    checked = cascade("verify", run)
    assert checked.exit_code == 0 and f"{5 * len(ours.right)} judgements by gpt-x, digests checked" in checked.stdout
    whole = (run / "judge.jsonl").read_text()
    (run / "judge.jsonl").write_text(whole.replace('\\"score\\": 5', '\\"score\\": 0', 1))
    assert "judge.jsonl:2: this line" in cascade("verify", run).stdout
    (run / "judge.jsonl").write_text("".join(whole.splitlines(keepends=True)[:-2]))
    assert "(gpt-x); 2 calls not made yet" in " ".join(cascade("verify", run).stdout.split())
    (run / "judge.jsonl").write_text(whole)
    log = run / "log.jsonl"
    log.write_text(log.read_text().replace("Answer: rain", "Answer:  rain"))
    assert "it was made for another answer or rubric" in cascade("verify", run).stdout
    resumed = cascade("run", "--dataset", "mini.jsonl", "--captions", "none", "--llm", "fake")
    assert resumed.exit_code == 2 and "log.jsonl: it was changed after it was written" in resumed.stderr
    before = (run / "judge.jsonl").read_bytes()
    with Stub(perfect) as stub:
        for refused in (judge(run, stub, "--same-model"), judge(run, stub, "--out", "elsewhere")):
            assert refused.exit_code == 2 and "log.jsonl: it was changed after it was written" in refused.stderr
        assert not stub.asked and (run / "judge.jsonl").read_bytes() == before and not Path("elsewhere").exists()


def test_the_folder_of_a_judged_file_is_verified_by_its_seals(published: Path) -> None:
    with Stub(perfect) as stub:
        judge(published, stub, "--out", "told")
    assert cascade("verify", "told").exit_code == 0
    file = Path("told") / "judge.jsonl"
    kept = file.read_text().splitlines(keepends=True)
    file.write_text("".join(kept[:5] + kept[6:]))
    assert cascade("verify", "told").exit_code == 2


def test_what_cannot_be_judged_is_counted_and_named(published: Path) -> None:
    given = [json.loads(line) for line in published.read_text().splitlines()]
    given[0]["thinking_prediction"] = "x" * 10_000
    given[1]["thinking_prediction"] = "x" * 9_999
    del given[2]["thinking_prediction"]
    del given[3]["rubric"]
    given[4]["rubric"][0]["choices"] = "many"
    del given[7]["answer_prediction"]
    write(published, given)
    with Stub(perfect) as stub:
        done = judge(published, stub)
    assert done.exit_code == 3 and len(stub.asked) == 5 * 2
    found = told(published, "--explain")
    assert (found["right"], found["judged"], found["failed"]) == (6, 2, 4)
    assert found["ours"]["whole"]["accuracy"] == 0.25
    assert (found["official"]["whole"]["n"], found["official"]["whole"]["accuracy"]) == (3, pytest.approx(2 / 3))
    assert found["failures"]["q0"] == "the reasoning has 10000 characters or more"
    assert found["failures"]["q2"] == "no thinking_prediction"
    assert found["failures"]["q3"] == "the item has no rubric"


def test_rubrics_may_come_from_the_dataset_and_must_come_from_somewhere(published: Path) -> None:
    bare = [json.loads(line) for line in published.read_text().splitlines()]
    kept = ("id", "answer_prediction", "thinking_prediction")
    Path("ids.jsonl").write_text("".join(json.dumps({key: row[key] for key in kept}) + "\n" for row in bare))
    with Stub(perfect) as stub:
        done = judge(Path("ids.jsonl"), stub, "--dataset", "mini.jsonl")
        assert done.exit_code == 0 and len(stub.asked) == 30
        write(published, [{key: row[key] for key in row if key != "rubric"} for row in bare])
        refused = judge(published, stub)
        assert refused.exit_code == 2 and "no item has a rubric" in refused.stderr
        assert judge(published, stub, "--dataset", "mini.jsonl", "--out", "joined").exit_code == 0
    unread = cascade("judge", published, "--dataset", "mini.jsonl", "--out", "nothing")
    assert unread.exit_code == 2 and "give --judge MODEL" in unread.stderr


def test_what_a_judge_of_unknown_cost_was_charged_is_remembered(published: Path) -> None:
    with Stub(lambda request, number: odd(usage=None)) as stub:
        for _ in range(3):
            assert judge(published, stub, *PRICED, "--budget", "0.3").exit_code == 4
            assert len(stub.asked) == 4


def test_a_judge_with_a_key_that_no_header_takes_is_refused(published: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-01234\n56789")
    with Stub(perfect) as stub:
        refused = judge(published, stub)
        assert refused.exit_code == 2 and not stub.asked
    assert "--judge gpt-x: OPENAI_API_KEY holds a line break" in refused.stderr and "secret" not in refused.stderr


def test_a_plan_a_budget_and_a_fake_judge(published: Path) -> None:
    with Stub(perfect) as stub:
        plan = judge(published, stub, *PRICED, "--dry-run")
        assert "calls     30 (6 questions, 5 samples each; 0 answered already)" in plan.stdout
        assert not stub.asked and not Path("runs").exists()
        stopped = judge(published, stub, *PRICED, "--budget", "0.3", "--concurrency", "3")
        assert stopped.exit_code == 4 and "--budget 0.3: $" in stopped.stderr and len(stub.asked) == 4
        assert judge(published, stub, *PRICED, "--budget", "0.3").exit_code == 4 and len(stub.asked) == 4
        plan = judge(published, stub, *PRICED, "--dry-run")
        assert "calls     26 (6 questions, 5 samples each; 4 answered already)" in plan.stdout
        assert judge(published, stub, *PRICED, "--budget", "9").exit_code == 0
    assert len(stub.asked) == 30 and told(published)["cost"] == pytest.approx(30 * 0.07)
    assert cascade("judge", published, "--judge", "fake", "--out", "pretended").exit_code == 0
    assert cascade("judge", published, "--dry-run").exit_code == 2


def test_a_wrong_key_stops_and_no_secret_is_kept(published: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", CANARY)
    echo = json.dumps({"error": {"message": f"key {CANARY}", "type": CANARY, "code": None}}).encode()
    kinds = [Reply(text=f"{CANARY} {reply(0, 1, 4, 5)}", reasoning=CANARY), Reply(status=500, raw=echo)]
    with Stub(lambda request, number: kinds[number % 2]) as stub:
        first = judge(published, stub, "--concurrency", "1")
        stub.script = lambda request, number: Reply(status=401, raw=echo)
        stopped = judge(published, stub)
    assert (first.exit_code, stopped.exit_code) == (3, 2) and "--judge gpt-x: " in stopped.stderr
    kept = b"".join(path.read_bytes() for path in Path().rglob("*") if path.is_file())
    shown = first.stdout + first.stderr + stopped.stdout + stopped.stderr
    assert CANARY not in shown and CANARY.encode() not in kept


def test_a_dead_judge_ends_the_command(published: Path) -> None:
    with Stub(lambda request, number: Reply(status=503, text="gone")) as stub:
        said = judge(published, stub, "--concurrency", "2")
    assert said.exit_code == 2 and "--judge gpt-x: 12 questions in a row had no answer" in said.stderr


@pytest.mark.parametrize("form", ["md", "csv", "latex"])
def test_every_format_has_both_ways_of_counting(published: Path, form: str) -> None:
    with Stub(perfect) as stub:
        judge(published, stub)
    shown = cascade("judge", published, "--format", form).stdout
    assert "rubrics" in shown and "official" in shown and "Perception Layer" in shown
    assert ("0.75" if form == "csv" else "75.00") in shown


def test_any_prefix_of_the_log_goes_on_to_the_same_figures(published: Path) -> None:
    command = ["judge", str(published), "--judge", "fake", "--format", "json", "--out", "told"]
    whole = json.loads(cascade(*command).stdout)
    file = Path("told") / "judge.jsonl"
    content = file.read_bytes()
    for cut in range(0, len(content), 2503):
        file.write_bytes(content[:cut])
        assert json.loads(cascade(*command).stdout) == whole
        assert len(lines(Path("told"))) == 31


@pytest.mark.slow
def test_a_judge_that_is_killed_goes_on_where_it_was(published: Path) -> None:
    command = [sys.executable, "-m", "cascade", "judge", str(published), "--judge", "gpt-x", "--concurrency", "2"]
    with Stub(lambda request, number: Reply(text=perfect(request, number).text, delay=0.2)) as stub:
        flags = [*command, "--api-base", stub.url]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        quiet = subprocess.DEVNULL
        begun = subprocess.Popen(flags, env=environment, stdout=quiet, stderr=quiet)
        while len(stub.asked) < 9:
            time.sleep(0.01)
        begun.send_signal(signal.SIGKILL)
        begun.wait(timeout=30)
        done = len(lines(Path("runs/theirs-judged"))) - 1
        assert 0 < done < 30
        assert subprocess.run(flags, env=environment, capture_output=True, check=False).returncode == 0
        assert 30 <= len(stub.asked) <= 30 + 2
    calls = lines(Path("runs/theirs-judged"))[1:]
    assert len({(one["item"], one["call"]) for one in calls}) == len(calls) == 30
    assert told(published)["ours"]["whole"]["accuracy"] == 0.75
