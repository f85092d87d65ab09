"""Rounds against a real server, whose model asks for what the captions lack and answers from what it is shown."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import Result

from cascade import ablate
from cascade.captioning import segments
from cascade.errors import ClipError
from cascade.io import audio, encoding
from tests.support import clips
from tests.support.commands import ROOT, cascade, log_of
from tests.support.stub_server import Reply, Stub

LISTENERS = "transcribe=fake(text=It rains heavily.)"
CALL = Reply(text="", finish="tool_calls", calls=(("transcribe", {"start": 0, "end": 0.5}),))


def ask(server: Stub, mini: Path, *flags: str, out: str = "run") -> Result:
    command: list[str | Path] = [
        "run",
        "--llm",
        "gpt-x",
        "--api-base",
        server.url,
        "--dataset",
        mini,
        "--captions",
        "none",
    ]
    return cascade(*command, "--rounds-with", LISTENERS, "--out", out, "--retries", "0", *flags)


@pytest.fixture
def dataset(mini: Path) -> Path:
    """The dataset of eight questions, with clips that can be decoded."""
    for number in range(8):
        clips.write(mini.parent / f"{number}.wav", clips.tone(440, 1 + number / 10))
    return mini


def by_calls(request: dict[str, Any], number: int) -> Reply:
    """Call the one function that can help; answer from its result, and guess wrongly without it."""
    results = [message["content"] for message in request["messages"] if message["role"] == "tool"]
    if "tools" in request and request["tool_choice"] == "auto":
        return CALL
    return Reply(text="Answer: rain" if any("rains" in result for result in results) else "Answer: a bell")


def by_lines(request: dict[str, Any], number: int) -> Reply:
    last = request["messages"][-1]["content"]
    if "rains" in last:
        return Reply(text="Answer: rain")
    return Reply(text="I need the words.\nASK transcribe start=0 end=0.5s" if "ASK" in last else "Answer: a bell")


def right(run: str | Path) -> int:
    """Return how many items of a run are right."""
    figures = json.loads(cascade("score", run, "--format", "json").stdout)
    accuracy: float = figures["scores"]["mmar"]["accuracy"]
    return round(accuracy * int(figures["n"]))


@pytest.mark.parametrize(("script", "form"), [(by_calls, "calls"), (by_lines, "text")])
def test_a_model_answers_from_what_it_asked_for(dataset: Path, script: Any, form: str) -> None:
    with Stub(script) as server:
        assert ask(server, dataset, "--rounds", "1", "--tools", form).exit_code == 0
        assert len(server.asked) == 16
        without = cascade(
            *("run", "--llm", "gpt-x", "--api-base", server.url, "--dataset", dataset),
            *("--captions", "none", "--out", "without"),
        )
        assert without.exit_code == 0
        assert ask(server, dataset, "--rounds", "1", "--tools", form).exit_code == 0
        assert len(server.asked) == 24  # The second start asks nothing.
    assert (right("run"), right("without")) == (2, 2)  # rain is the answer of two items; a bell of two others
    answers = [line for line in log_of(Path("run")) if line["result"]["type"] == "completion"]
    assert {line["result"]["text"] for line in answers} == {"Answer: rain"}
    assert [line["rounds"][0]["findings"][0]["text"] for line in answers] == ["It rains heavily."] * 8
    assert "prompt default, 1 round\n" in cascade("score", "run").stdout
    figures = json.loads(cascade("score", "run", "--format", "json").stdout)
    assert figures["tokens"] == {"input": 16 * 11, "output": 16 * 7, "reasoning": 0}
    verdict = cascade("verify", "run")
    assert verdict.exit_code == 0, verdict.output
    assert cascade("report", "run", "--out", "page.html").exit_code == 0


def test_a_finding_is_cached_by_engine_and_part(dataset: Path) -> None:
    with Stub(by_calls) as server:
        ask(server, dataset, "--rounds", "1", "--limit", "1")
        ask(server, dataset, "--rounds", "1", "--limit", "1", "--param", "temperature=1", out="again")
        ask(
            server,
            dataset,
            "--rounds",
            "1",
            "--limit",
            "1",
            "--rounds-with",
            "transcribe=fake(text=Other)",
            out="other",
        )
    keys = [log_of(Path(run))[-1]["rounds"][0]["findings"][0]["key"] for run in ("run", "again", "other")]
    assert keys[0] == keys[1] != keys[2]
    info = json.loads(cascade("cache", "info", "--format", "json").stdout)
    assert info["captions"] == 2


def test_a_forced_choice_is_a_call_of_its_own(dataset: Path) -> None:
    forms: list[bool] = []

    def script(request: dict[str, Any], number: int) -> Reply:
        forms.append("response_format" in request)
        if forms[-1]:
            return Reply(text='{"reasoning": "", "answer": "rain"}')
        return by_calls(request, number)

    with Stub(script) as server:
        assert ask(server, dataset, "--rounds", "2", "--limit", "1", "--answer-as", "choice").exit_code == 0
    assert forms == [False, False, True]


def test_a_model_that_never_answers_is_asked_once_more_than_its_rounds(dataset: Path) -> None:
    with Stub(lambda request, number: Reply(text="ASK transcribe")) as server:
        assert ask(server, dataset, "--rounds", "3", "--limit", "1", "--tools", "text").exit_code == 0
        assert len(server.asked) == 4
    assert "Answer the question now." in server.asked[3]["messages"][-1]["content"]
    assert right("run") == 0


def test_requests_that_cannot_be_carried_out_say_why(dataset: Path) -> None:
    calls: tuple[tuple[str, dict[str, Any]], ...] = (
        ("transcribe", {"start": 5}),
        ("transcribe", {"start": "soon"}),
        ("translate", {}),
        ("transcribe", {}),
        ("transcribe", {"end": 0.3}),
    )

    def script(request: dict[str, Any], number: int) -> Reply:
        return Reply(text="", finish="tool_calls", calls=calls) if number == 0 else Reply(text="Answer: rain")

    with Stub(script) as server:
        done = ask(server, dataset, "--rounds", "1", "--limit", "1")
        assert done.exit_code == 0 and "4 requests in rounds could not be carried out; the first: " in done.stderr
        results = [message["content"] for message in server.asked[1]["messages"] if message["role"] == "tool"]
    assert "5 to the end is no part of the clip, which is 1.0 s long" in results[0]
    assert results[1:] == [
        "not done: start must be a number of seconds",
        "not done: there is no such function (there is: transcribe)",
        "It rains heavily.",
        "not done: at most 4 calls a round are carried out",
    ]


def test_an_exchange_that_was_broken_off_goes_on_where_it_was(dataset: Path) -> None:
    def broken(request: dict[str, Any], number: int) -> Reply:
        reply = by_calls(request, number)
        return reply if reply.calls else Reply(status=500, text="down")

    with Stub(broken) as server:
        assert ask(server, dataset, "--rounds", "1", "--limit", "2").exit_code == 3
        server.script = by_calls
        assert ask(server, dataset, "--rounds", "1", "--limit", "2").exit_code == 0
        assert sum(request["tool_choice"] == "auto" for request in server.asked) == 2
    assert right("run") == 1
    assert cascade("verify", "run").exit_code == 0


def test_a_budget_that_ends_within_an_exchange_counts_its_rounds(dataset: Path) -> None:
    price = ["--price", "0,10000", "--max-tokens", "7"]  # 0.07 a call, and no more
    with Stub(by_calls) as server:
        stopped = ask(server, dataset, "--rounds", "1", *price, "--budget", "0.25", "--concurrency", "1")
        assert stopped.exit_code != 0 and "--budget 0.25" in stopped.output
        assert len(server.asked) == 3
        again = ask(server, dataset, "--rounds", "1", *price, "--budget", "0.25", "--concurrency", "1")
        assert again.exit_code != 0 and len(server.asked) == 3
        assert ask(server, dataset, "--rounds", "1", *price, "--budget", "2").exit_code == 0
        assert len(server.asked) == 16
    figures = json.loads(cascade("score", "run", "--format", "json").stdout)
    assert figures["cost"] == pytest.approx(16 * 0.07)


def test_a_kill_within_an_exchange_pays_for_nothing_twice_but_what_was_in_flight(dataset: Path) -> None:
    def hanging(request: dict[str, Any], number: int) -> Reply:
        reply = by_calls(request, number)
        return reply if reply.calls else Reply(text="Answer: rain", delay=60)

    with Stub(hanging) as server:
        command = [sys.executable, "-m", "cascade", "run", "--llm", "gpt-x", "--api-base", server.url]
        command += ["--dataset", str(dataset), "--captions", "none", "--rounds", "1", "--rounds-with", LISTENERS]
        process = subprocess.Popen(
            [*command, "--out", "run", "--retries", "0", "--limit", "2"],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 60
        while sum(request["tool_choice"] == "none" for request in server.asked) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        process.wait()
        server.script = by_calls
        assert ask(server, dataset, "--rounds", "1", "--limit", "2").exit_code == 0
        assert [request["tool_choice"] for request in server.asked].count("auto") == 2
    assert right("run") == 1


def test_flags_that_mean_nothing_together_are_refused(dataset: Path) -> None:
    with Stub(by_calls) as server:
        for flags, words in [
            (["--tools", "text"], "say in how many --rounds"),
            (["--rounds", "1", "--tools", "xml"], "give --tools calls or text"),
            (["--rounds", "1", "--rounds-with", "x=oracle"], "give an engine of this machine, or audio-llm"),
            (["--rounds", "1", "--rounds-with", "audio"], "give an engine of this machine, or audio-llm"),
        ]:
            refused = ask(server, dataset, *flags)
            assert refused.exit_code == 2 and words in refused.output
        assert not server.asked and not Path("run").exists()


def findings_of(run: str | Path) -> dict[str, list[dict[str, Any]]]:
    """Return the findings of each item's first round."""
    answers = [line for line in log_of(Path(run)) if line["result"]["type"] == "completion"]
    return {line["item"]: line["rounds"][0]["findings"] for line in answers}


def ask_measures(request: dict[str, Any], number: int) -> Reply:
    """Ask for measures of the whole clip and of a part of it, where there are tools."""
    if request.get("tool_choice") == "auto":
        return Reply(text="", finish="tool_calls", calls=(("measure", {}), ("measure", {"end": 0.5})))
    return Reply(text="Answer: rain")


def test_controls_do_not_give_the_clip_away(dataset: Path) -> None:
    """What is asked for in a mismatched run is of the other clip; a blind run has no rounds."""
    with Stub(ask_measures) as server:
        command = ["ablate", "--llm", "gpt-x", "--api-base", server.url, "--dataset", dataset, "--rounds", "1"]
        command += ["--rounds-with", "measure=signal", "--accept-silent-audio"]
        done = cascade(*command, "--captions", "none", "--variants", "mismatched,blind", "--out", "plain")
        assert done.exit_code == 0, done.output
        done = cascade(*command, "--captions", "audio", "--variants", "mismatched,silence,reversed", "--out", "heard")
        assert done.exit_code == 0, done.output
    assert all("rounds" not in line for line in log_of(Path("plain/blind")))
    for family in ("plain", "heard"):
        own, other = findings_of(f"{family}/all"), findings_of(f"{family}/mismatched")
        for item, findings in other.items():
            donors = [name for name in own if own[name][0]["key"] == findings[0]["key"]]
            assert donors and item not in donors
            assert any(own[name][1]["key"] == findings[1]["key"] for name in donors)
    for findings in findings_of("heard/silence").values():
        assert "silen" in findings[0]["text"].lower()
    changed = findings_of("heard/reversed")
    assert all(changed[item][0]["key"] != own[item][0]["key"] for item in own)
    for run in ("plain/mismatched", "heard/silence", "heard/reversed"):
        assert cascade("verify", run).exit_code == 0


def with_listener(listener: Any, model: Any = None) -> Any:
    """Return the script of a server of two models: `gpt-x`, which asks once, and the listener `ear`."""

    def script(request: dict[str, Any], number: int) -> Reply:
        if request["model"] == "ear":
            reply: Reply = listener(request)
            return reply
        if model and (own := model(request)):
            return own  # type: ignore[no-any-return]
        if request.get("tool_choice") == "auto":
            return Reply(text="", finish="tool_calls", calls=(("listen", {"question": "What is it?"}),))
        return Reply(text="Answer: rain")

    return script


def listen(server: Stub) -> list[str]:
    return ["--rounds", "1", "--rounds-with", f"listen=audio-llm(model=openai/ear,api_base={server.url})"]


def test_samples_that_ask_alike_pay_a_listener_once(dataset: Path) -> None:
    with Stub(with_listener(lambda request: Reply(text="a tone", delay=0.3))) as server:
        done = ask(server, dataset, *listen(server), "--limit", "1", "--samples", "4", "--param", "temperature=1")
        assert done.exit_code == 0
        assert [request["model"] for request in server.asked].count("ear") == 1


def test_a_page_is_no_finding(dataset: Path) -> None:
    with Stub(with_listener(lambda request: Reply(text="<!doctype html><p>Sign in"))) as server:
        assert ask(server, dataset, *listen(server), "--limit", "1").exit_code == 0
    [finding] = findings_of("run")["q0"]
    assert finding["key"] == "" and "is a page or another format" in finding["text"]


def test_a_long_finding_is_cut_and_no_clip_is_named(dataset: Path) -> None:
    with Stub(with_listener(lambda request: Reply(text="la " * 100_000))) as server:
        assert ask(server, dataset, *listen(server), "--limit", "1").exit_code == 0
        assert len(findings_of("run")["q0"][0]["text"]) == 50_000
        (dataset.parent / "0.wav").write_bytes(b"RIFF no sound")
        assert ask(server, dataset, *listen(server), "--limit", "1", out="damaged").exit_code == 0
    [finding] = findings_of("damaged")["q0"]
    assert finding["text"].startswith("not done: the clip") and "0.wav" not in finding["text"]


def test_a_run_that_stops_does_not_wait_for_a_listener(dataset: Path) -> None:
    def model(request: dict[str, Any]) -> Reply | None:
        return None if "clip 0" in str(request["messages"]) else Reply(status=401, text="no", delay=0.5)

    with Stub(with_listener(lambda request: Reply(text="a tone", delay=20), model)) as server:
        started = time.monotonic()
        assert ask(server, dataset, *listen(server), "--limit", "2").exit_code == 2
        assert time.monotonic() - started < 15


def test_a_round_that_a_listener_stops_counts_for_the_budget(dataset: Path) -> None:
    with Stub(with_listener(lambda request: Reply(status=401, text="no"))) as server:
        price = ["--price", "0,10000", "--max-tokens", "7", "--budget", "1", "--limit", "1"]  # 0.07 a call
        assert ask(server, dataset, *listen(server), *price).exit_code == 2
    assert [line["result"]["cost"] for line in log_of(Path("run"))] == [pytest.approx(0.07)]


def test_a_time_beyond_any_clip_is_no_part_of_it(dataset: Path, tmp_path: Path) -> None:
    parts = tmp_path / "parts"
    for start, end in ((1e308, None), (1e9, 1e308), (0.5, 0.2)):
        with pytest.raises(ClipError, match="is no part of the clip"):
            segments.cut(dataset.parent / "0.wav", start, end, parts)
    assert segments.cut(dataset.parent / "0.wav", 0.25, 1e308, parts).stat().st_size == 44 + 2 * 12_000
    assert [file.suffix for file in parts.iterdir()] == [".wav"]


def test_a_part_that_no_wav_file_can_hold_is_refused(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def five_gigabytes(path: Path, *form: Any, **more: Any) -> audio.Blocks:
        minute = np.broadcast_to(np.float32(0), (5 * 2**29, 1))  # one number in memory
        return audio.Blocks(iter([minute]), 16_000, 1, {})

    with monkeypatch.context() as patch:
        patch.setattr(audio, "blocks", five_gigabytes)
        with pytest.raises(ClipError, match="more than the 4 GB that a WAV file can hold"):
            segments.cut(dataset.parent / "0.wav", 0.25, None, tmp_path / "parts")
        with pytest.raises(ClipError, match="more than the 4 GB that a WAV file can hold"):
            encoding.encode(dataset.parent / "0.wav", encoding.AudioForm())
    assert list((tmp_path / "parts").iterdir()) == []
    monkeypatch.setattr(encoding, "_LARGEST_WAV", 1000)
    with Stub(by_calls) as server:
        assert ask(server, dataset, "--rounds", "1", "--limit", "1").exit_code == 0
    [finding] = findings_of("run")["q0"]
    assert finding["text"].startswith("not done: this is more than the 4 GB")


def test_parts_are_removed_when_the_run_ends(dataset: Path) -> None:
    scratch, days = Path("cache/scratch"), {"parts": 2, "parts-killed": 2, "parts-running": 0, "embeddings": 2}
    for name, age in days.items():
        (scratch / name).mkdir(parents=True)
        (scratch / name / "1.wav").touch()
        os.utime(scratch / name, (time.time() - age * 86_400 - 60,) * 2)
    cut: list[str] = []

    def script(request: dict[str, Any], number: int) -> Reply:
        cut.extend(path.name for path in scratch.glob("parts-*/*.wav"))
        return by_calls(request, number)

    with Stub(script) as server:
        assert ask(server, dataset, "--rounds", "1", "--limit", "1", "--samples", "2").exit_code == 0
    assert len({*cut}) == 2  # the part that this run cut, and the one that the other process cut
    assert sorted(path.name for path in scratch.iterdir()) == ["embeddings", "parts-running"]


def test_rounds_are_an_arm(dataset: Path) -> None:
    with Stub(by_calls) as server:
        family = ablate(
            *("gpt-x", dataset),
            arms="rounds",
            api_base=server.url,
            captions="none",
            rounds=2,
            rounds_with=LISTENERS,
            out="family",
        )
        refused = cascade("ablate", "--llm", "gpt-x", "--dataset", dataset, "--captions", "none", "--arms", "rounds")
    assert refused.exit_code == 2 and "give --rounds N" in refused.output
    assert [(member.name, Path(member.run).name) for member in family.members] == [
        ("all: no captions, 2 rounds", "all"),
        ("blind", "without-rounds"),
        ("no captions, 1 round", "1-round"),
    ]
    assert all(member.item_seconds for member in family.members)


# A word that is spoken in a clip of the demo, and the choice that it speaks for.
KNOWLEDGE = {"hoop": "Basketball", "early bird": "catches the worm", "umbrella": "She has no umbrella in the rain"}
KNOWLEDGE |= {"thursday": "Thursday", "six": "Platform six", "candles": "A cake", "dress": "A wedding"}


@pytest.mark.slow
def test_a_real_recogniser_supplies_the_missing_words() -> None:
    """The model asks for the transcript of the demo's speech, and knows what some words speak for."""

    def script(request: dict[str, Any], number: int) -> Reply:
        if request.get("tool_choice") == "auto":
            return Reply(text="", finish="tool_calls", calls=(("transcribe", {}),))
        shown = " ".join(str(message["content"]) for message in request["messages"] if message["role"] == "tool")
        question = str(request["messages"][1]["content"])
        for word, choice in KNOWLEDGE.items():
            if word in shown.lower() and choice in question:
                return Reply(text=f"Answer: {choice}")
        return Reply(text="I cannot know.")

    command = ["run", "--llm", "gpt-x", "--dataset", "demo", "--captions", "none"]
    with Stub(script) as server:
        command += ["--api-base", server.url]
        assert cascade(*command, "--rounds", "1", "--out", "aided").exit_code == 0
        assert cascade(*command, "--out", "blind").exit_code == 0
    assert right("blind") == 0 and right("aided") >= 5
