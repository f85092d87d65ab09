"""A run as a person asks for it, against a real server: samples, reasoning, money, limits, secrets, and silence."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cascade.llms import credentials, prices
from tests.llms.test_litellm import odd
from tests.support.commands import ROOT, cascade, log_of, only_run, rows, write
from tests.support.stub_server import Reply, Script, Stub

PLAIN = ["--captions", "speech=fake", "--llm", "gpt-x"]
CANARY = "sk-canary-0123456789abcdef"


def run(dataset: Path, stub: Stub, *args: str) -> Any:
    return cascade("run", "--dataset", dataset, *PLAIN, "--api-base", stub.url, *args)


def score(folder: Path | None = None) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(cascade("score", folder or only_run(), "--format", "json").stdout)
    return told


def choices_of(request: dict[str, Any]) -> list[str]:
    """The choices in the order in which the prompt shows them."""
    text = request["messages"][-1]["content"]
    return sorted(("rain", "a bell", "a siren", "wind"), key=lambda choice: text.rindex(choice))


def test_samples_vote_and_position_bias_is_seen(mini: Path) -> None:
    with Stub(lambda request, number: Reply(text=f"Answer: {choices_of(request)[0]}")) as stub:
        done = run(mini, stub, "--samples", "4", "--shuffle-choices", "--seed", "3")
    assert done.exit_code == 0 and len(stub.asked) == 32
    assert "gold at 1" in done.stdout and "mean of samples" in done.stdout and "pass@4" in done.stdout
    told = score()
    assert (told["samples"], told["ties"], told["unparsed"], told["answered"]) == (4, 8, 8, 8)
    strict = told["scores"]["strict"]
    assert strict["accuracy"] == 0.0  # every vote is a tie
    assert {place: one["accuracy"] for place, one in strict["by_gold_position"].items()} == {
        "1": 1.0,
        "2": 0.0,
        "3": 0.0,
        "4": 0.0,
    }
    assert strict["pass_at"]["1"]["accuracy"] == 0.25 and strict["pass_at"]["4"]["accuracy"] == 1.0
    assert {(line["item"], line["sample"]) for line in log_of(only_run())} == {
        (f"q{n}", sample) for n in range(8) for sample in range(4)
    }


def test_a_sample_that_failed_lowers_the_mean_and_is_asked_again(mini: Path) -> None:
    with Stub(
        lambda request, number: Reply(text="Answer: rain", finish="stop" if number else "content_filter")
    ) as stub:
        first = run(mini, stub, "--samples", "3", "--param", "temperature=1", "--concurrency", "1")
        assert (first.exit_code, len(stub.asked)) == (3, 24)
        assert "1 sample failed (content_filter)" in first.stderr
        partly = score()
        assert (partly["failed"], partly["scores"]["mmar"]["accuracy"]) == (0, 0.25)
        assert partly["scores"]["mmar"]["pass_at"]["1"]["accuracy"] == pytest.approx(5 / 24)
        assert run(mini, stub, "--samples", "3", "--param", "temperature=1").exit_code == 0
        assert len(stub.asked) == 25
    assert score()["scores"]["mmar"]["pass_at"]["1"]["accuracy"] == 0.25


def test_equal_samples_are_warned_of_and_seeds_differ(mini: Path) -> None:
    with Stub() as stub:
        told = run(mini, stub, "--samples", "2", "--limit", "1", "--param", "seed=7")
    assert "--samples 2 at temperature 0 asks for the same reply" in told.stderr
    assert sorted(request["seed"] for request in stub.asked) == [7, 8]
    assert sorted(line["params"]["seed"] for line in log_of(only_run())) == [7, 8]


def test_a_reasoning_model_end_to_end(mini: Path) -> None:
    def script(request: dict[str, Any], number: int) -> Reply:
        kinds = [
            Reply(text="Answer: rain", reasoning="It drips."),
            Reply(text="<think>It drips.</think>Answer: rain"),
            Reply(text="<think>Answer: a bell, or", finish="length"),
            Reply(text="", reasoning="It may be a", finish="length"),
        ]
        return kinds[number % 4]

    flags = ["--reasoning-effort", "low", "--max-tokens", "50", "--param", "temperature=none", "--concurrency", "1"]
    with Stub(script) as stub:
        done = run(mini, stub, *flags)
    assert done.exit_code == 0
    assert "4 unread (4 cut at the token limit)" in done.stdout
    wanted = {"reasoning_effort": "low", "max_tokens": 50}
    assert {name: stub.asked[0][name] for name in wanted} == wanted and "temperature" not in stub.asked[0]
    log = log_of(only_run())
    assert log[0]["params"] == wanted and log[0]["result"]["sent"] == {"model": "gpt-x", **wanted}
    assert [line["result"]["reasoning"] for line in log[:4]] == [
        "It drips.",
        "It drips.",
        "Answer: a bell, or",
        "It may be a",
    ]
    assert [line["result"]["finish"] for line in log[:4]] == ["stop", "stop", "length", "length"]
    assert score()["truncated"] == 4


def test_a_thinking_budget_and_a_wrong_effort(mini: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Stub() as stub:
        flags = ["--thinking-budget", "2048", "--param", "temperature=none", "--retries", "0", "--limit", "1"]
        blind = ["--dataset", str(mini), "--captions", "none", "--api-base", stub.url.removesuffix("/v1")]
        monkeypatch.setenv("ANTHROPIC_API_KEY", "x" * 20)
        cascade("run", *blind, "--llm", "anthropic/claude-sonnet-4-5", *flags)
        assert stub.asked[0]["thinking"] == {"type": "enabled", "budget_tokens": 2048}
        assert stub.asked[0]["max_tokens"] >= 2048 + 4096  # room for the reply beside the thought
        refused = run(mini, stub, *flags)
    assert refused.exit_code == 2 and "thinking" in refused.stderr  # nothing is dropped in silence
    said = cascade("run", "--dataset", mini, *PLAIN, "--reasoning-effort", "hihg")
    assert said.exit_code == 2 and "did you mean 'high'" in said.stderr


def test_a_model_that_takes_no_temperature_says_how_to_unset_it(mini: Path) -> None:
    refusal = Reply(status=400, text="Unsupported value: 'temperature' does not support 0 with this model.")
    with Stub(lambda request, number: refusal) as stub:
        said = run(mini, stub)
    assert said.exit_code == 2 and said.stderr.count("cascade: ") == 1
    assert "unset it with --param temperature=none" in said.stderr


def test_a_plan_says_what_it_would_take_and_does_nothing(mini: Path) -> None:
    with Stub() as stub:
        before = sorted(path.name for path in Path().iterdir())
        told = run(mini, stub, "--dry-run", "--samples", "2", "--price", "2.5,10", "--max-tokens", "100")
        assert sorted(path.name for path in Path().iterdir()) == before
        assert "captions  8, of which 8 are to be made" in told.stdout
        assert "calls     16 (8 questions, 2 samples each; 0 answered already)" in told.stdout
        assert "at most 100 a reply" in told.stdout and "(--price)" in told.stdout
        assert not stub.asked
        run(mini, stub, "--samples", "2", "--price", "2.5,10", "--max-tokens", "100", "--limit", "3")
        told = run(mini, stub, "--dry-run", "--samples", "2", "--price", "2.5,10", "--max-tokens", "100")
    assert "calls     10 (8 questions, 2 samples each; 6 answered already)" in told.stdout
    assert "7 a reply so far in this run" in told.stdout
    assert "captions  8, of which 5 are to be made" in told.stdout
    unknown = cascade("run", "--dataset", mini, "--captions", "none", "--llm", "ollama/x", "--dry-run")
    assert "cost      unknown" in unknown.stdout
    known = cascade("run", "--dataset", mini, "--captions", "none", "--llm", "gpt-4o", "--dry-run")
    assert "$2.5 in, $10 out a million tokens (the price map of litellm" in known.stdout


def test_a_plan_counts_a_caption_of_several_questions_once() -> None:
    told = cascade("run", "--dataset", "demo", "--captions", "sound=events", "--llm", "fake", "--dry-run")
    assert "captions  29, of which 29 are to be made" in told.stdout
    assert "calls     38 (38 questions" in told.stdout


def test_one_unread_reply_is_told_of_in_the_singular(mini: Path) -> None:
    with Stub(lambda request, number: Reply(text="Hard to say.")) as stub:
        told = run(mini, stub, "--limit", "1").stdout
    assert "the rules read no answer in 1 of 1 item, which counts as wrong" in " ".join(told.split())


def test_a_budget_is_never_passed_and_the_run_goes_on_with_a_higher_one(mini: Path) -> None:
    flags = ["--price", "0,10000", "--max-tokens", "7", "--concurrency", "3"]  # 0.07 a call, and no more
    with Stub() as stub:
        stopped = run(mini, stub, *flags, "--budget", "0.3")
        assert stopped.exit_code == 4
        assert "--budget 0.3: $" in stopped.stderr and "goes on" in stopped.stderr
        made = len(stub.asked)
        spent = sum(line["result"]["cost"] for line in log_of(only_run()))
        assert made == 4 and spent == pytest.approx(0.28)
        assert run(mini, stub, *flags, "--budget", "0.3").exit_code == 4
        assert len(stub.asked) == made  # what was spent before counts
        assert run(mini, stub, *flags, "--budget", "9").exit_code == 0
        assert len(stub.asked) == 8
    assert score()["cost"] == pytest.approx(8 * 0.07)


def test_a_reply_without_words_is_paid_for_as_well(mini: Path) -> None:
    flags = ["--price", "0,10000", "--max-tokens", "7", "--concurrency", "3", "--budget", "0.3"]
    with Stub(lambda request, number: Reply(text="", finish=("content_filter", "stop")[number % 2])) as stub:
        assert run(mini, stub, *flags).exit_code == 4
        assert len(stub.asked) == 4
        assert run(mini, stub, *flags).exit_code == 4  # what they cost is known to the next sitting
        assert len(stub.asked) == 4
    assert sum(line["result"]["cost"] for line in log_of(only_run())) == pytest.approx(0.28)


UNKNOWN = [
    None,
    {"prompt_tokens": 0, "completion_tokens": 0},
    {"prompt_tokens": -9},
    {"prompt_tokens": float("nan"), "completion_tokens": 7},
    {"prompt_tokens": 1.5, "completion_tokens": 2.5},
    {"prompt_tokens": "many", "completion_tokens": "few"},
    {"prompt_tokens": 10**400, "completion_tokens": 7},
    {"prompt_tokens": 11, "completion_tokens": 7, "completion_tokens_details": {"reasoning_tokens": [1]}},
    [11, 7],
]


@pytest.mark.parametrize("usage", UNKNOWN)
def test_what_a_reply_of_unknown_cost_was_charged_is_remembered(usage: Any, mini: Path) -> None:
    flags = ["--price", "0,10000", "--max-tokens", "7", "--concurrency", "3", "--budget", "0.3"]
    with Stub(lambda request, number: odd(usage=usage)) as stub:
        for _ in range(3):
            assert run(mini, stub, *flags).exit_code == 4
            assert len(stub.asked) == 4
    results = [line["result"] for line in log_of(only_run())]
    assert {result["text"] for result in results} == {"Answer: rain"}
    assert {(result["cost"], round(result["charged"], 6)) for result in results} == {(None, 0.07)}
    assert score()["cost"] is None  # a charge is no price


BROKEN_OFF = [{"index": 0, "finish_reason": "abort", "message": {"role": "assistant", "content": "Answ"}}]


@pytest.mark.parametrize("broken", [Reply(finish="abort"), odd(choices=BROKEN_OFF), odd(choices=[{"message": None}])])
def test_what_failed_tries_were_charged_is_remembered(broken: Reply, mini: Path) -> None:
    flags = ["--price", "0,10000", "--max-tokens", "7", "--retries", "2", "--budget", "0.3"]
    broken = replace(broken, headers={"Retry-After": "0"})
    with Stub(lambda request, number: broken) as stub:
        for _ in range(3):
            assert run(mini, stub, *flags, "--concurrency", "2").exit_code == 4
            assert len(stub.asked) == 4
    failures = [line["result"] for line in log_of(only_run())]
    assert {failure["kind"] for failure in failures} <= {"server", "stopped", "unreadable"}
    assert sum(failure.get("charged", failure["cost"]) for failure in failures) == pytest.approx(0.28)


def test_the_first_call_of_unknown_bound_is_made_alone(mini: Path) -> None:
    with Stub(delay=0.05) as stub:
        for _ in range(2):  # the second start knows what a call may cost
            done = run(mini, stub, "--price", "0,10000", "--budget", "0.1")
            assert done.exit_code == 4 and "$0.0700 is spent, and the next call may cost $0.0700" in done.stderr
            assert len(stub.asked) == 1
        assert run(mini, stub, "--price", "0,10000", "--budget", "9").exit_code == 0
    assert stub.most_at_once > 1


def test_a_call_without_bound_and_cost_stops_a_budget(mini: Path) -> None:
    with Stub(lambda request, number: odd(usage=None)) as stub:
        for _ in range(3):
            done = run(mini, stub, "--price", "0,10000", "--budget", "9")
            assert done.exit_code == 4 and "the provider does not say how much a call took" in done.stderr
            assert len(stub.asked) == 1
        assert run(mini, stub, "--price", "0,0", "--budget", "9").exit_code == 0  # It costs nothing anyway.


def test_a_stated_price_has_the_bound_of_a_listed_model() -> None:
    stated, own = prices.find("gpt-4o", "2.5,10"), prices.find("gpt-4o", "2.5,10", own=True)
    assert stated and stated.most == (credentials.listed("gpt-4o") or {})["max_output_tokens"]
    assert own and own.most is None


def test_what_a_server_calls_itself_has_a_longest_length(mini: Path) -> None:
    with Stub(lambda request, number: odd(model="m" * 10**6, system_fingerprint=f"{CANARY} " * 10**5)) as stub:
        assert run(mini, stub, "--limit", "1").exit_code == 0
    assert (only_run() / "log.jsonl").stat().st_size < 2000


def test_why_a_reply_was_cut_is_said_as_it_was(mini: Path) -> None:
    with Stub(lambda request, number: Reply(finish=("length", "recitation")[number % 2])) as stub:
        done = run(mini, stub, "--concurrency", "1", "--limit", "4")
    assert "4 unread (2 cut at the token limit, 2 cut by the provider)" in done.stdout
    summary = score()
    assert (summary["truncated"], summary["cut"]) == (2, 2)
    explained = cascade("score", only_run(), "--explain").stdout
    assert explained.count("the reply was cut at its token limit") == 2
    assert explained.count("the provider cut the reply, and not at a token limit") == 2


MALFORMED = ["sk-secret-01234\n56789", "sk-secret-0123456789\n", "\tsk-secret-0123456789", "sk-s\u00e9cret-0123456789"]


@pytest.mark.parametrize("key", MALFORMED)
@pytest.mark.parametrize(
    ("model", "variable"),
    [
        ("gpt-x", "OPENAI_API_KEY"),
        ("anthropic/claude-3-haiku-20240307", "ANTHROPIC_API_KEY"),
        ("hosted_vllm/x", "HOSTED_VLLM_API_KEY"),
        ("azure/x", "AZURE_API_KEY"),
    ],
)
def test_a_key_that_no_header_takes_is_named_before_anything_is_sent(
    mini: Path, key: str, model: str, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, key)
    engine = f"audio-llm(model={model},api_base=URL)"
    with Stub() as stub:
        for command in (
            ["run", "--dataset", str(mini), "--captions", "none", "--llm", model, "--api-base", stub.url],
            ["run", "--dataset", str(mini), "--captions", engine.replace("URL", stub.url), "--llm", "fake"],
            ["doctor", "--dataset", str(mini), "--captions", "none", "--llm", model],
        ):
            if command[0] == "doctor" and model == "gpt-x":
                continue  # without an address, nobody knows whose model that is
            done = cascade(*command)
            shown = done.stdout + done.stderr
            assert f"{variable} holds a line break or another character that no header takes" in " ".join(shown.split())
            assert "secret-01234" not in shown and "cret-0123456789" not in shown
            assert done.exit_code == 2
        assert not stub.asked


def test_a_reply_of_known_cost_is_logged_as_before(mini: Path) -> None:
    with Stub() as stub:
        run(mini, stub, "--price", "0,10000", "--max-tokens", "7", "--budget", "9")
        run(mini, stub, "--price", "0,10000", "--max-tokens", "7", "--out", "free")
    assert all("charged" not in line["result"] for line in [*log_of(only_run()), *log_of(Path("free"))])


@pytest.mark.parametrize("value", ["1e999", "[-1e999]", "[" * 300 + "]" * 300])
def test_a_parameter_beyond_bounds_is_refused_in_one_line(mini: Path, value: str) -> None:
    done = cascade("run", "--dataset", mini, "--captions", "none", "--llm", "fake", "--param", f"x={value}")
    assert done.exit_code == 2 and done.stderr.startswith("cascade: --param: ") and done.stderr.count("\n") == 1


@pytest.mark.parametrize("flag", ["samples", "concurrency", "max-tokens", "limit", "retries", "seed", "batch"])
def test_a_number_beyond_bounds_is_refused_in_one_line(mini: Path, flag: str) -> None:
    done = cascade("run", "--dataset", mini, "--captions", "none", "--llm", "fake", f"--{flag}", "1" + 400 * "0")
    assert done.exit_code == 2 and done.stderr.count("\n") == 1 and len(done.stderr) < 200
    assert f"{flag.replace('-', '_')}=1000" in done.stderr and not Path("runs").exists()


def test_a_budget_needs_a_price(mini: Path) -> None:
    with Stub() as stub:
        said = run(mini, stub, "--budget", "1")
        assert said.exit_code == 2 and "--price INPUT,OUTPUT" in said.stderr
        said = run(mini, stub, "--price", "cheap")
    assert said.exit_code == 2 and "--price cheap: write INPUT,OUTPUT" in said.stderr


def test_ask_says_in_words_why_a_reply_gives_no_answer(mini: Path) -> None:
    with Stub(lambda request, number: Reply(text="It is rain or a bell.")) as stub:
        words = ["0.wav", "What?", "--choice", "rain", "--choice", "a bell", "--captions", "none"]
        asked = cascade("ask", *words, "--llm", "openai/m", "--api-base", stub.url)
    assert asked.stdout.endswith("Answer: (none: it names several choices)\n") and asked.exit_code == 0


def test_captions_by_providers_are_within_the_budget(mini: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cascade.llms.litellm._cost", lambda reply: 0.4)
    monkeypatch.setattr("cascade.llms.origins.is_loopback", lambda api_base: False)
    for number in range(8):
        (mini.parent / f"{number}.wav").write_bytes(_wav(number))
    with Stub() as stub:
        engine = f"speech=audio-llm(model=gpt-4o-audio-preview-2025-06-03,api_base={stub.url})"
        args = ["--dataset", str(mini), "--captions", engine, "--concurrency", "1", "--llm", "fake", "--out", "r"]
        for start in range(3):  # What an earlier start was charged counts.
            stopped = cascade("run", *args, "--budget", "1")
            assert (stopped.exit_code, len(stub.asked)) == (4, 2)  # a third would pass it
            assert "--budget 1: $0.8000 is spent" in stopped.stderr
            assert f"captions: {0 if start else 2} made" in stopped.stderr
        charges = Path("r/charges.jsonl")
        written = charges.read_text()
        charges.write_text(written.replace("0.4", "0.1", 1))
        assert "charges.jsonl:1: this line" in cascade("verify", "r").stdout
        assert "charges.jsonl: it was changed after it was written" in cascade("run", *args, "--budget", "1").stderr
        charges.write_text(written)
        assert cascade("run", *args).exit_code == 0
        assert len(stub.asked) == 8
        assert cascade("verify", "r").exit_code == 0
    only = Path("runs")
    only.mkdir()
    Path("r").rename(only / "r")
    assert score()["captions_cost"] == pytest.approx(3.2)


def _wav(number: int) -> bytes:
    np = pytest.importorskip("numpy")
    from cascade.io import encoding

    return encoding.wav(np.full(8000, number / 10, dtype="float32"), 16_000)


def test_a_minute_holds_no_more_than_was_said(mini: Path) -> None:
    with Stub() as stub:
        began = time.monotonic()
        run(mini, stub, "--rpm", "300", "--limit", "6")
        assert len(stub.asked) == 6 and time.monotonic() - began >= 5 * 0.2


def test_an_endpoint_that_has_gone_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    many = write(tmp_path / "many.jsonl", list(rows(60)))
    script: Script = lambda request, number: Reply() if number < 5 else Reply(status=503, text="gone")  # noqa: E731
    with Stub(script) as stub:
        said = run(many, stub, "--retries", "0", "--concurrency", "4")
        assert said.exit_code == 2 and "12 questions in a row had no answer (server: " in said.stderr
        assert len(stub.asked) <= 5 + 12 + 4
        stub.script = lambda request, number: Reply()
        assert run(many, stub, "--retries", "0", "--concurrency", "4").exit_code == 0
    assert score()["answered"] == 60


def test_what_is_in_flight_when_the_money_is_gone_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    many = write(tmp_path / "many.jsonl", list(rows(60)))
    with Stub(lambda request, number: Reply(status=402, text="pay") if number >= 20 else Reply(delay=0.3)) as stub:
        said = run(many, stub, "--concurrency", "8")
        assert said.exit_code == 2 and "there is no money left: pay" in said.stderr
        assert len(log_of(only_run())) == 20
        assert len(stub.asked) <= 20 + 8
        stub.script = lambda request, number: Reply()
        assert run(many, stub, "--concurrency", "8").exit_code == 0
    assert score()["answered"] == 60


def test_a_clip_that_changed_is_not_mixed_with_what_was_asked(mini: Path) -> None:
    args: list[str | Path] = ["run", "--dataset", mini, "--llm", "fake", "--captions", "speech=fake"]
    assert cascade(*args).exit_code == 0
    before = (only_run() / "captions.jsonl").read_bytes()
    clip = mini.parent / json.loads(mini.read_text().splitlines()[0])["audio_path"]
    kept = clip.read_bytes()
    clip.write_bytes(b"another clip")
    said = cascade(*args)
    assert said.exit_code == 2 and "'q0' was answered from another clip than is there now (speech)" in said.stderr
    assert (only_run() / "captions.jsonl").read_bytes() == before
    clip.write_bytes(kept)
    assert cascade(*args).exit_code == 0


def test_no_secret_is_written_or_shown_whoever_echoes_it(mini: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", CANARY)
    echo = {"message": f"key {CANARY} of {CANARY}", "type": CANARY, "code": CANARY, "param": CANARY}
    kinds = [
        Reply(text=f"{CANARY} Answer: rain", reasoning=CANARY),
        Reply(status=500, raw=json.dumps({"error": echo}).encode(), headers={"X-Key": CANARY}),
        Reply(raw=f"<html>{CANARY}".encode(), headers={"Content-Type": "text/html"}),
        Reply(finish="content_filter", text=CANARY),
        Reply(status=400, raw=json.dumps({"error": echo}).encode()),
        Reply(text="x", finish=CANARY),
        Reply(raw=f'{{"{CANARY}"'.encode()),
        Reply(drop=3),
    ]
    with Stub(lambda request, number: kinds[number % 8]) as stub:
        said = run(mini, stub, "--retries", "0", "--concurrency", "1")
        stub.script = lambda request, number: Reply(status=401, raw=json.dumps({"error": echo}).encode())
        stopped = run(mini, stub, "--retries", "0")
    assert stub.headers[0]["Authorization"] == f"Bearer {CANARY}"  # it was sent
    assert (said.exit_code, stopped.exit_code) == (3, 2)
    shown = said.stdout + said.stderr + stopped.stdout + stopped.stderr
    kept = b"".join(path.read_bytes() for path in mini.parent.rglob("*") if path.is_file())
    assert CANARY not in shown and CANARY.encode() not in kept
    refused = cascade("run", "--dataset", mini, *PLAIN, "--param", f"user={CANARY}")
    assert refused.exit_code == 2 and CANARY not in refused.stderr


@pytest.mark.parametrize(
    "flags",
    [
        ("--api-base", "http://user:{}@127.0.0.1:9/v1"),
        ("--api-base", "user:{}@127.0.0.1:9"),
        ("--api-base", "http://127.0.0.1:9/v1?api_key={}"),
        ("--captions", "speech=audio-llm(model=m,api_base=http://user:{}@127.0.0.1:9)"),
        ("--param", "azure_ad_token={}"),
        ("--param", 'extra_body={{"auth": [{{"api_key": "{}"}}]}}'),
    ],
)
def test_a_secret_where_it_would_be_kept_is_refused(mini: Path, flags: tuple[str, str]) -> None:
    said = cascade("run", "--dataset", mini, *PLAIN, flags[0], flags[1].format("plain-looking"))
    assert said.exit_code == 2 and said.stderr.count("cascade: ") == 1
    assert "export the provider's variable" in said.stderr
    assert "plain-looking" not in said.stdout + said.stderr and not Path("runs").exists()


def test_a_parameter_that_is_called_a_key_but_is_none_is_sent(mini: Path) -> None:
    with Stub() as stub:
        assert run(mini, stub, "--limit", "1", "--param", "prompt_cache_key=mine").exit_code == 0
    assert stub.asked[0]["prompt_cache_key"] == "mine"


def test_the_page_and_the_code_classify_alike() -> None:
    from cascade.llms import faults

    table = [line for line in (faults.__doc__ or "").splitlines() if line.startswith("|")]
    assert len(table) > 8 and "\n".join(table) in (ROOT / "docs/models-and-budget.md").read_text(encoding="utf-8")
