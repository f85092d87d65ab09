"""Rows with question-aware listeners, with digests and with rounds are reproduced against a stub server."""

from __future__ import annotations

import json
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from cascade.analysis import published
from cascade.errors import UserError
from cascade.pipeline.reproduce import row_jobs
from cascade.pipeline.request import Request
from tests.support import clips
from tests.support.commands import cascade, log_of, only_run, write
from tests.support.hearing_server import audio_of, decoded, pitch, text_of
from tests.support.stub_server import Reply, Stub

LISTENERS = {"Qwen/Qwen3-Omni-30B-A3B-Thinking": "thinking", "Step-Audio-R1": "step", "gemini-listener": "gemini"}
needs_audio = pytest.mark.skipif(
    any(find_spec(name) is None for name in ("litellm", "soundfile", "av", "soxr", "librosa")),
    reason="the audio libraries or litellm are not installed",
)
needs_whisper = pytest.mark.skipif(find_spec("whisper") is None, reason="whisper is not installed")


class Server:
    """Listeners, a model that merges, and a model that answers in rounds; `calls` counts the calls of each role."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.questions_shown: Counter[str] = Counter()  # by role
        self.answered: list[str] = []

    def __call__(self, request: dict[str, Any], number: int) -> Reply:
        text = text_of(request)
        if clip := audio_of(request):
            role = LISTENERS.get(request["model"], "asked back")
            reply = Reply(text=f"The {role} listener: a tone of {pitch(*decoded(clip[0])):.0f} Hz.")
            if "Listen to this part of a recording" in text:
                role, reply = "asked back", Reply(text="It is water.")
        elif str(request["messages"][-1]["content"]).startswith("The reports"):
            role, reply = "digest", Reply(text="Account: a tone.")
        else:
            role, reply = "answer", self._answer(request, text)
        self.calls[role] += 1
        self.questions_shown[role] += "Question: What is heard" in text
        return reply

    def _answer(self, request: dict[str, Any], text: str) -> Reply:
        if "tools" in request and request["tool_choice"] == "auto" and "It is water." not in text:
            return Reply(text="", finish="tool_calls", calls=(("listen", {"question": "Is it water?"}),))
        if "ASK listen" in text and "It is water." not in text:
            return Reply(text="ASK listen question=Is it water?\nASK measure start=0 end=0.5")
        self.answered.append(text)
        return Reply(text="Answer: rain")


@pytest.fixture
def tones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four questions about four clips; the answer of two of them is rain."""
    monkeypatch.chdir(tmp_path)
    questions = []
    for number in range(4):
        question = {"id": f"q{number}", "audio_path": f"{number}.wav", "question": f"What is heard in clip {number}?"}
        answer = ["rain", "a bell"][number % 2]
        questions.append({**question, "choices": ["rain", "a bell"], "answer": answer, "modality": "sound"})
    file = write(tmp_path / "tones.jsonl", questions)
    for number in range(4):
        clips.write(tmp_path / f"{number}.wav", clips.tone(300 + 100 * number, 0.6))
    return file


def reproduce(server: Stub, row: str, *flags: str) -> Result:
    command = ["reproduce", row, "--dataset", "tones.jsonl", "--api-base", server.url, "--retries", "0"]
    return cascade(*command, *flags)


def check_row(server: Stub, asked: Counter[str], row: str, figure: str, *flags: str) -> list[dict[str, Any]]:
    """Run a row; check its table, that a second start asks nothing, and `verify`; return the lines with answers."""
    result = reproduce(server, row, *flags)
    assert result.exit_code == 0, result.output
    name = f"{row} (other captions)" if "--captions" in flags else row
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert f"{name} 4 {figure} 50.00 15.0-85.0 0 0" in lines
    before = asked.total()
    assert reproduce(server, row, *flags).exit_code == 0 and asked.total() == before
    verdict = cascade("verify", only_run())
    assert verdict.exit_code == 0 and "everything that was derived again matches" in verdict.stdout
    return [line for line in log_of(only_run()) if line["result"]["type"] == "completion"]


@needs_audio
def test_one_listener_with_the_question(tones: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = Server()
    with Stub(script) as server:
        monkeypatch.setenv("HOSTED_VLLM_API_BASE", server.url)
        check_row(server, script.calls, "taltech-one-listener", "73.40")
    assert script.calls == {"thinking": 4 * 4, "answer": 4}  # the whole clip and its thirds
    assert script.questions_shown["thinking"] == 16
    assert all("The whole clip:\nThe thinking listener" in text for text in script.answered)


@needs_audio
def test_two_listeners_with_a_digest(tones: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = Server()
    with Stub(script) as server:
        monkeypatch.setenv("HOSTED_VLLM_API_BASE", server.url)
        check_row(server, script.calls, "taltech-two-listeners", "76.60")
    assert script.calls == {"thinking": 16, "step": 16, "digest": 4, "answer": 4}
    assert script.questions_shown == script.calls
    assert all("Account: a tone." in text and "Hz" not in text for text in script.answered)


@needs_audio
@needs_whisper
def test_two_listeners_with_a_digest_and_rounds(tones: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = Server()
    with Stub(script) as server:
        monkeypatch.setenv("HOSTED_VLLM_API_BASE", server.url)
        answers = check_row(server, script.calls, "taltech-rounds", "76.90")
    assert script.calls == {"thinking": 16, "step": 16, "digest": 4, "answer": 8, "asked back": 4}
    for answer in answers:
        assert [finding["tool"] for finding in answer["rounds"][0]["findings"]] == ["listen", "measure"]
        assert answer["rounds"][0]["findings"][0]["text"] == "It is water."


@needs_audio
@needs_whisper
def test_rounds_after_captions_without_the_question(tones: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = Server()
    with Stub(script) as server:
        monkeypatch.setenv("HOSTED_VLLM_API_BASE", server.url)
        answers = check_row(server, script.calls, "echo-rounds", "71.00", "--captions", "speech=fake,sound=fake")
    assert script.calls == {"answer": 8, "asked back": 4}
    assert [len(answer["rounds"]) for answer in answers] == [1, 1, 1, 1]


@needs_audio
def test_a_digest_without_the_question(tones: Path) -> None:
    """The row's listener is Gemini; here the stub server is the listener of the same protocol."""
    script = Server()
    captions = "caption=audio-llm(model=openai/gemini-listener,segments=3),speech=fake"
    with Stub(script) as server:
        address = ["--caption-param", f"caption.api_base={server.url}"]
        check_row(server, script.calls, "omni-detective-gpt-4o", "68.30", "--captions", captions, *address)
    assert script.calls == {"gemini": 16, "digest": 4, "answer": 4}
    assert script.questions_shown == {"gemini": 0, "digest": 0, "answer": 4}


@needs_audio
def test_a_plan_bounds_the_replies_of_captions_digest_and_rounds(tones: Path) -> None:
    """The dataset has four clips of 0.6 s, no API key is set, and no file is written."""
    rows = ["taltech-one-listener", "taltech-two-listeners", "taltech-rounds", "echo-rounds", "omni-detective-gpt-4o"]
    result = cascade("reproduce", *rows, "--dataset", tones, "--dry-run")
    assert result.exit_code == 0 and not Path("runs").exists()
    plans = dict(zip(rows, result.stdout.split("\n\n"), strict=False))
    qwen = "hosted_vllm/Qwen/Qwen3-Omni-30B-A3B-Thinking, of at most 8192 tokens; its price is unknown"
    assert f"remote    a: up to 16 replies of {qwen}\n" in plans["taltech-one-listener"]
    two = plans["taltech-two-listeners"]
    assert f"remote    a: up to 16 replies of {qwen}\n" in two
    assert "remote    b: up to 16 replies of hosted_vllm/Step-Audio-R1, of at most 8192 tokens;" in two
    digest = "remote    digest: up to 4 replies of deepseek/deepseek-reasoner, of at most 8192 tokens; at most $0.0138 "
    assert digest in two and "in rounds" not in two
    # Four questions, three rounds, four requests a round.
    assert f"remote    listen, in rounds: up to 48 replies of {qwen}\n" in plans["taltech-rounds"]
    assert "with rounds up to 16, of which the later ones send more than is below" in plans["taltech-rounds"]
    instruct = "hosted_vllm/Qwen/Qwen3-Omni-30B-A3B-Instruct"
    assert f"listen, in rounds: up to 48 replies of {instruct}, of at most 1024 tokens" in plans["echo-rounds"]
    listener = "remote    caption: up to 16 replies of gemini/gemini-2.5-pro, of at most 8192 tokens; at most $1.3107 "
    assert listener in plans["omni-detective-gpt-4o"]


@needs_audio
def test_a_plan_counts_the_windows_of_a_long_clip(tones: Path) -> None:
    clips.write(Path("0.wav"), clips.tone(300, 41))
    result = cascade("reproduce", "audio-captioner-gpt-4o", "--dataset", tones, "--limit", "1", "--dry-run")
    # A window of at most 30 s may end up to 5 s early.
    assert "remote    caption: up to 2 replies of hosted_vllm/Audio-Captioner-7B" in result.stdout


def spec_of(row: str, **flags: Any) -> Any:
    """Return the spec of a row's run, with the user's own flags."""
    run = published.published_rows()[row].run
    request = Request(dataset="mini.jsonl", **flags)
    [job] = row_jobs({row: run}, [], request)
    return job.job.spec


def matching(row: str, **flags: Any) -> str | None:
    match = published.matching_row(spec_of(row, **flags))
    return match.name if match else None


def test_the_run_of_every_row_matches_that_row(mini: Path) -> None:
    served = {name: row.run for name, row in published.published_rows().items() if not row.unserved}
    for job in row_jobs(served, [], Request(dataset="mini.jsonl")):
        match = published.matching_row(job.job.spec)
        assert match and match.name == job.row


@pytest.mark.parametrize(
    ("row", "flags"),
    [
        ("gemini-captions-gpt-4o", {"caption_param": ["caption.question=true"]}),
        ("gemini-captions-gpt-4o", {"digest": "gpt-4o"}),
        ("gemini-captions-gpt-4o", {"rounds": 1, "rounds_with": "measure=signal"}),
        ("taltech-one-listener", {"caption_param": ["a.question=false"]}),
        ("taltech-one-listener", {"caption_param": ["a.segments=1"]}),
        ("taltech-two-listeners", {"digest": "gpt-4o"}),
        ("taltech-two-listeners", {"caption_param": ["b.question=false"]}),
        ("omni-detective-gpt-4o", {"digest_question": True}),
        ("omni-detective-gpt-4o", {"caption_param": ["caption.question=true"]}),
        ("taltech-rounds", {"rounds": 2}),
        ("taltech-rounds", {"rounds_when": "split", "samples": 2}),
        ("taltech-rounds", {"rounds_with": "measure=signal"}),
        ("echo-rounds", {"rounds_with": "transcribe=whisper(model=tiny),listen=audio-llm(model=x),measure=signal"}),
    ],
)
def test_a_run_with_other_evidence_matches_no_row(mini: Path, row: str, flags: dict[str, Any]) -> None:
    assert matching(row, **flags) is None


def test_an_address_or_an_unset_parameter_still_matches(mini: Path) -> None:
    addresses = ["a.api_base=http://localhost:1/v1", "b.api_base=http://localhost:2/v1"]
    assert matching("taltech-two-listeners", caption_param=[*addresses, "a.rate=24000"]) == "taltech-two-listeners"
    assert matching("taltech-rounds", tools="calls") == "taltech-rounds"


def test_captions_of_the_user_keep_the_digest_of_the_row(mini: Path) -> None:
    spec = spec_of("taltech-two-listeners", captions="speech=fake", caption_param=["digest.max_tokens=99"])
    assert [(captioner.slot, captioner.name) for captioner in spec.captioners] == [
        ("speech", "fake"),
        ("digest", "digest"),
    ]
    digest = spec.captioners[1].params
    assert (digest["model"], digest["question"], digest["max_tokens"], digest["temperature"]) == (
        "deepseek/deepseek-reasoner", True, 99, "none",
    )  # fmt: skip
    other = spec_of("taltech-two-listeners", captions="speech=fake", digest="fake").captioners[1].params
    assert (other["model"], other["question"]) == ("fake", True)


def test_captions_of_the_user_that_hold_a_digest_replace_that_of_the_row(mini: Path) -> None:
    made = cascade("caption", "--dataset", mini, "--captions", "speech=fake", "--digest", "fake")
    assert made.exit_code == 0, made.output
    assert cascade("cache", "export", "all.jsonl.zst").exit_code == 0
    spec = spec_of("taltech-two-listeners", captions="all.jsonl.zst")
    assert [(captioner.slot, captioner.name) for captioner in spec.captioners] == [
        ("speech", "fake"),
        ("digest", "digest"),
    ]
    assert spec.captioners[1].params["model"] == "fake" and spec.prompt.slots == ("digest",)


def test_without_captions_there_is_no_digest(mini: Path) -> None:
    assert spec_of("omni-detective-gpt-4o", captions="none").captioners == ()


@needs_audio
def test_a_row_whose_listener_has_no_address_is_passed_over(tones: Path) -> None:
    with Stub(Server()) as server:
        result = reproduce(server, "taltech-two-listeners")
        assert result.exit_code == 2 and result.stdout == "" and server.asked == []
    reason = "a=audio-llm: the address that serves hosted_vllm/Qwen/Qwen3-Omni-30B-A3B-Thinking is missing"
    assert f"taltech-two-listeners: passed over: {reason}" in result.stderr
    assert "the same command" not in result.stderr


def test_flags_of_the_user_that_change_the_evidence_are_named(mini: Path) -> None:
    flags = ["--captions", "speech=fake", "--digest", "fake", "--rounds", "1", "--rounds-with", "measure=fake"]
    result = cascade("reproduce", "gpt-4o", "--models", "fake", "--dataset", mini, *flags, "--format", "json")
    assert result.exit_code == 0, result.output
    named = "speech=fake, digest=fake, rounds=1, rounds-with=measure=fake"
    assert json.loads(result.stdout)["other_captions"] == named
    assert f"the captions are not those of the rows but {named}" in result.stderr


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"rounds": "three"}, 'the row x: rounds: "three" is no value of that flag'),
        ({"rounds": True}, "the row x: rounds: true is no value of that flag"),
        ({"rounds": 1.5}, "the row x: rounds: 1.5 is no value of that flag"),
        ({"rounds": -1}, "rounds=-1: the least is 0"),
        ({"digest-question": 1}, "the row x: digest-question: 1 is no value of that flag"),
        ({"digest": False}, "the row x: digest: false is no value of that flag"),
        ({"round": 1}, "unknown flag 'round' (did you mean 'rounds'?); in the row x"),
    ],
)
def test_a_row_with_a_wrong_flag_is_refused_in_one_line(mini: Path, flags: dict[str, Any], message: str) -> None:
    row = {"llm": "fake", "captions": {"speech": "fake"}, **flags}
    with pytest.raises(UserError) as error:
        row_jobs({"x": row}, [], Request(dataset="mini.jsonl"))
    assert message in str(error.value) and "\n" not in str(error.value)
