"""Whose answers are these: the origin in a run's identity, in its log, and wherever its scores are shown."""

from __future__ import annotations

import json
import wave
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from cascade.llms import origins
from tests.pipeline.test_judging import rubric
from tests.support.commands import cascade, forge, log_of, mini
from tests.support.stub_server import Reply, Stub

__all__ = ["mini"]
pytestmark = pytest.mark.skipif(find_spec("litellm") is None, reason="litellm is not installed")


@pytest.mark.parametrize(
    ("model", "given", "origin"),
    [
        ("gpt-4o", None, "openai"),
        ("hosted_vllm/Qwen/Qwen3-8B", None, "hosted_vllm"),
        ("fake", "http://a/v1", ""),
        ("local:x.gguf@b2:0", None, ""),
        ("gpt-4o", "http://Host:80/v1/#x", "http://host/v1"),
        ("gpt-4o", "https://[::1]:8443/v1", "https://[::1]:8443/v1"),
    ],
)
def test_an_origin_is_an_address_without_secrets_or_a_provider(model: str, given: str | None, origin: str) -> None:
    assert origins.origin(model, given) == origin
    assert origins.without_secrets("http://me:secret@Host:80/v1/?key=secret#x") == "http://host/v1"


NO_ADDRESSES = ["http://[::1", "http://h:99999/v1", "http://h:port/v1", "http://a b/v1", "http://h/v1\n", "junk", " "]


@pytest.mark.parametrize("address", [*NO_ADDRESSES, "http://me:sesame@h/v1", "http://me:sesame@[h/v1"])
def test_what_is_no_address_is_refused_in_one_line(address: str, mini: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-none")
    args = ["run", "--dataset", mini, "--captions", "none", "--llm", "openai/x"]
    given = cascade(*args, "--api-base", address)
    monkeypatch.setenv("OPENAI_BASE_URL", address)
    for done, option in ((given, "--api-base"), (cascade(*args), "OPENAI_BASE_URL")):
        assert done.exit_code == 2 and done.stderr.startswith(f"cascade: {option}"), done.stderr
        assert "sesame" not in done.stderr and not Path("runs").exists()


@pytest.mark.parametrize(
    ("model", "variable"),
    [
        ("gpt-4o", "OPENAI_BASE_URL"),
        ("gpt-4o", "OPENAI_API_BASE"),
        ("hosted_vllm/x", "HOSTED_VLLM_API_BASE"),
        ("deepseek/deepseek-chat", "DEEPSEEK_API_BASE"),
        ("mistral/x", "MISTRAL_AZURE_API_BASE"),
        ("fireworks_ai/x", "FIREWORKS_API_BASE"),
        ("lm_studio/x", "LM_STUDIO_API_BASE"),
    ],
)
def test_the_address_of_a_variable_is_the_origin_that_is_asked(
    model: str, variable: str, mini: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OPENAI", "DEEPSEEK", "MISTRAL", "FIREWORKS"):
        monkeypatch.setenv(f"{name}_API_KEY", "sk-none")
    with Stub() as stub:
        monkeypatch.setenv(variable, stub.url)
        done = cascade("run", "--dataset", mini, "--captions", "none", "--llm", model, "--limit", "2", "--out", "r")
        assert done.exit_code == 0 and len(stub.asked) == 2, done.stderr
        assert {line["origin"] for line in log_of(Path("r"))} == {stub.url}
        assert json.loads(Path("r/run.json").read_text())["spec"]["llm"]["origin"] == stub.url


@pytest.fixture
def servers() -> Iterator[tuple[Stub, Stub]]:
    with Stub() as first, Stub() as second:
        yield first, second


def run(mini: Path, server: Stub, *more: str, out: str = "r") -> Any:
    flags = ["--captions", "none", "--llm", "gpt-4o", "--api-base", server.url, "--out", out]
    return cascade("run", "--dataset", mini, *flags, *more)


def test_two_servers_make_one_run_only_where_the_user_says_so(mini: Path, servers: tuple[Stub, Stub]) -> None:
    first, second = servers
    assert run(mini, first, "--limit", "3").exit_code == 0
    before = {file.name: file.read_bytes() for file in Path("r").iterdir()}
    refused = run(mini, second)
    assert refused.exit_code == 2 and not second.asked
    assert f"r has answers of {first.url}, and {second.url} is asked for; give --out" in refused.stderr
    assert "--same-model if both serve one model" in refused.stderr
    assert {file.name: file.read_bytes() for file in Path("r").iterdir()} == before
    # A larger set that is there already is not finished by another server, either.
    assert run(mini, first, "--limit", "3", "--budget", "0", "--price", "1,1").exit_code == 0
    done = run(mini, second, "--same-model")
    both = f"3 from {first.url}, 5 from {second.url}"
    assert done.exit_code == 0 and both in done.stdout and len(second.asked) == 5
    assert [line["origin"] for line in log_of(Path("r"))] == 3 * [first.url] + 5 * [second.url]
    assert both in cascade("score", "r").stdout and both in cascade("report", "r", "--format", "md").stdout
    assert f"3 from {first.url} (gpt-4o)" in " ".join(cascade("verify", "r").stdout.split())
    assert both in cascade("compare", "r", "r").stdout and both in cascade("compare", "r", "r", "r").stdout
    assert all(server.url in cascade("leaderboard", "r").stdout for server in servers)
    served = json.loads(cascade("score", "r", "--format", "json").stdout)["served"]
    assert [(server["origin"], server["answers"]) for server in served] == [(first.url, 3), (second.url, 5)]
    assert run(mini, first).exit_code == 0 and len(first.asked) == 3


def test_a_run_that_names_no_origin_goes_on_at_an_address_only_where_the_user_says_so(
    mini: Path, servers: tuple[Stub, Stub]
) -> None:
    """Runs of the first version do not say who answered."""
    first, second = servers
    assert run(mini, first, "--limit", "3").exit_code == 0
    forge(Path("r/run.json"), lambda records: records[0]["spec"]["llm"].pop("origin"))
    forge(Path("r/log.jsonl"), lambda records: [record.pop("origin") for record in records])
    assert cascade("verify", "r").exit_code == 0 and run(mini, first, "--limit", "3").exit_code == 0
    refused = run(mini, second)
    unknown = f"r has answers of the provider's own address, or one that was not recorded, and {second.url} is asked"
    assert refused.exit_code == 2 and unknown in refused.stderr and not second.asked
    done = run(mini, second, "--same-model")
    assert done.exit_code == 0 and len(second.asked) == 5 and f"5 from {second.url}" in done.stdout


def test_an_address_that_is_not_the_one_asked_stops_the_run(mini: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MISTRAL_API_KEY", "sk-none")
    monkeypatch.setenv("MISTRAL_API_BASE", "http://127.0.0.1:9/v1")  # litellm reads this one for other things
    with Stub() as stub:
        monkeypatch.setenv("MISTRAL_AZURE_API_BASE", stub.url)
        monkeypatch.setattr(origins, "_OTHER_NAMES", {})
        done = cascade("run", "--dataset", mini, "--captions", "none", "--llm", "mistral/x", "--out", "r")
    assert done.exit_code == 2 and "is asked, not 127.0.0.1:9; give its address" in done.stderr
    assert not Path("r").exists()


def test_shards_of_two_servers_are_merged_only_where_the_user_says_so(mini: Path, servers: tuple[Stub, Stub]) -> None:
    for number, server in enumerate(servers, 1):
        assert run(mini, server, "--shard", f"{number}/2", out=f"s{number}").exit_code == 0
    refused = cascade("merge", "s1", "s2", "--out", "m")
    assert (
        refused.exit_code == 2 and "--same-model if both serve one model" in refused.stderr and not Path("m").exists()
    )
    merged = cascade("merge", "s1", "s2", "--out", "m", "--same-model")
    assert merged.exit_code == 0 and all(server.url in merged.stdout for server in servers)
    assert cascade("verify", "m").exit_code == 0


def test_a_reader_has_one_origin_too(mini: Path, servers: tuple[Stub, Stub]) -> None:
    first, second = servers
    with Stub(lambda request, number: Reply("Who knows?")) as stub:
        run(mini, stub, "--limit", "4")
    first.script = lambda request, number: Reply("nonsense")
    read = ["read", "r", "--reader", "gpt-r", "--api-base"]
    assert cascade(*read, first.url).exit_code == 3
    refused = cascade(*read, second.url)
    assert refused.exit_code == 2 and f"reader.jsonl has answers of {first.url}, and {second.url}" in refused.stderr
    done = cascade(*read, second.url, "--same-model")
    assert len(second.asked) == 4 and f"4 from {second.url}" in done.stdout
    assert f"4 from {second.url}" in " ".join(cascade("verify", "r").stdout.split())
    log = Path("r/reader.jsonl")
    changed = log.read_text().replace("nonsense", "D. wind", 1)
    log.write_text(changed)
    refused = cascade(*read, second.url, "--same-model")
    assert refused.exit_code == 2 and "reader.jsonl: it was changed after it was written, at line 2" in refused.stderr
    assert log.read_text() == changed


def test_another_model_behind_the_address_is_said_once_and_counted(mini: Path) -> None:
    def changing(request: dict[str, Any], number: int) -> Reply:
        reply = json.loads(Reply().body("gpt-4o-2024"))
        reply["system_fingerprint"] = "fp_1" if number < 3 else "fp_2"
        return Reply(raw=json.dumps(reply).encode())

    with Stub(changing) as stub:
        done = run(mini, stub, "--concurrency", "1", "--limit", "6")
        assert done.stderr.count("the server reports several models in one log") == 1
        assert f"3 from {stub.url} (gpt-4o-2024, fp_1), 3 from {stub.url} (gpt-4o-2024, fp_2)" in done.stdout
        assert "several models" not in run(mini, stub).stderr  # It was said before.
    assert [line["result"]["fingerprint"] for line in log_of(Path("r"))] == 3 * ["fp_1"] + 5 * ["fp_2"]
    assert "(gpt-4o-2024, fp_2)" in " ".join(cascade("verify", "r").stdout.split())


def test_what_a_server_calls_itself_cannot_drive_a_terminal(mini: Path) -> None:
    reply = json.loads(Reply().body("\x1b]0;x\x07<script>"))
    hostile = Reply(raw=json.dumps({**reply, "system_fingerprint": "\x1b[2J"}).encode())
    with Stub(lambda request, number: hostile) as stub:
        for part in ("1", "2"):
            assert run(mini, stub, "--shard", f"{part}/2", out=f"s{part}").exit_code == 0
    commands = [["merge", "s1", "s2", "--out", "m"], ["verify", "m"], ["score", "m"], ["compare", "m", "s1"]]
    for command in [*commands, ["compare", "m", "m", "m"], ["leaderboard", "m", "s1"], ["report", "m"]]:
        done = cascade(*command)
        assert done.exit_code == 0 and "\x1b" not in done.stdout + done.stderr, command


@pytest.mark.skipif(find_spec("soxr") is None or find_spec("av") is None, reason="the decoders are not installed")
def test_captions_of_another_origin_are_kept_and_named(mini: Path, servers: tuple[Stub, Stub]) -> None:
    for number in range(8):
        with wave.open(f"{number}.wav", "wb") as clip:
            clip.setparams((1, 2, 16_000, 0, "NONE", ""))
            clip.writeframes(bytes([number, 0]) * 16_000)
    for server in servers:
        captions = f"sound=audio-llm(model=gpt-4o-audio,api_base={server.url})"
        done = cascade("run", "--dataset", mini, "--captions", captions, "--llm", "fake", "--out", "r")
        assert done.exit_code == 0, done.stderr
    first, second = servers
    assert (len(first.asked), len(second.asked)) == (8, 0)
    named = f"cached captions are 8 from {first.url}, and {second.url} is given now"
    assert named in done.stderr and f"captions: 8 sound from {first.url}" in done.stdout
    made = [json.loads(line) for line in Path("r/captions.jsonl").read_text().splitlines()]
    assert {caption["meta"]["origin"] for caption in made} == {first.url}


def test_what_was_not_asked_yet_is_said(mini: Path) -> None:
    assert cascade("run", "--dataset", mini, "--captions", "none", "--llm", "fake", "--out", "r").exit_code == 0
    log = Path("r/log.jsonl")
    log.write_text("".join(log.read_text().splitlines(keepends=True)[:3]))
    unfinished = "5 of 8 questions not asked yet"
    assert unfinished in cascade("score", "r").stdout and unfinished in cascade("compare", "r", "r").stderr
    assert unfinished in cascade("leaderboard", "r").stderr and unfinished in cascade("verify", "r").stdout
    assert json.loads(cascade("score", "r", "--format", "json").stdout)["not_asked"] == 5
    log.write_text("")
    board = cascade("leaderboard", "r", "--format", "json")
    assert json.loads(board.stdout) == [] and "passed over: r: no question was asked yet" in board.stderr


@pytest.mark.parametrize("command", ["run", "ablate", "judge", "read"])
def test_what_is_refused_at_the_first_call_leaves_nothing(command: str, mini: Path) -> None:
    with Stub(lambda request, number: Reply("Who knows?")) as stub:
        run(mini, stub)
    before = sorted(Path().rglob("*"))
    with Stub(lambda request, number: Reply("no such parameter", status=400)) as stub:
        flags: list[str | Path] = ["r", f"--{command}er", "gpt-r", "--out", "new/folder"]
        if command == "judge":
            flags = ["theirs.jsonl", "--judge", "gpt-r", "--out", "new/folder"]
            row = json.loads(mini.read_text().splitlines()[0])
            row |= {"answer_prediction": row["answer"], "thinking_prediction": "So.", "rubric": rubric(0)}
            Path("theirs.jsonl").write_text(json.dumps(row) + "\n")
            before = sorted(Path().rglob("*"))
        if command in ("run", "ablate"):
            flags = ["--dataset", mini, "--captions", "none", "--llm", "gpt-4o", "--out", "new/folder"]
        done = cascade(command, *flags, "--api-base", stub.url)
        assert done.exit_code == 2 and stub.asked and "no such parameter" in done.stderr, done.stderr
    assert sorted(Path().rglob("*")) == before
