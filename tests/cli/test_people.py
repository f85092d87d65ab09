"""What a person meets: one line for one failure, exit codes, advice that works, and headings."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.support.commands import FAKE, ROOT, cascade, rows, write
from tests.support.stub_server import Reply, Stub


def run(mini: Path, *args: str | Path, code: int = 0) -> Any:
    result = cascade("run", "--dataset", mini, *FAKE, *args)
    assert result.exit_code == code, result.output
    return result


def test_only_knows_the_tags_that_scores_are_broken_down_by(mini: Path) -> None:
    write(mini, [{**row, "language": "zh" if row["id"] == "q1" else "en"} for row in rows(8)])
    run(mini, "--only", "language=zh", "--out", "one")
    assert json.loads(cascade("score", "one", "--by", "language", "--format", "json").stdout)["n"] == 1
    unknown = cascade("run", "--dataset", mini, *FAKE, "--only", "language=xx")
    assert "(there is: en, zh)" in unknown.stderr
    unknown = cascade("run", "--dataset", mini, *FAKE, "--only", "colour=red")
    assert "there is: category, language, modality" in unknown.stderr


def test_the_lines_above_a_table_fit_the_terminal(mini: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(mini, "--out", "a-run-with-a-long-name")
    run(mini, "--out", "another-run-with-a-long-name", "--seed", "1")
    monkeypatch.setenv("COLUMNS", "60")
    scored = cascade("score", "a-run-with-a-long-name").stdout
    assert scored.startswith(
        "mini · fake · captions speech=fake · prompt default\n8 items: 8 answered, 0 failed, 0 unread;"
    )
    compared = cascade("compare", "a-run-with-a-long-name", "another-run-with-a-long-name").stdout
    assert compared.startswith(
        "A: a-run-with-a-long-name (fake; seed=0)\nB: another-run-with-a-long-name (fake; seed=1)\n"
    )
    for line in (scored + compared.split("\n\n")[0]).splitlines():
        assert len(line) <= 60


@pytest.mark.skipif(find_spec("soundfile") is None, reason="audio packages are not installed")
def test_a_clip_that_cannot_be_decoded_is_named_once(mini: Path) -> None:
    captions = ["--dataset", str(mini), "--captions", "sound=events,music=signal,other=signal", "--limit", "2"]
    Path("0.wav").write_bytes(b"RIFF....")
    done = cascade("caption", *captions)
    assert done.exit_code in (2, 3)
    lines = [line for line in done.stderr.splitlines() if "0.wav" in line]
    assert len(lines) == 1 and lines[0].startswith("q0: sound, music, other: 0.wav: ")
    family = cascade("ablate", *captions, "--llm", "fake", "--variants", "alone,blind")
    assert family.exit_code == 3
    assert family.stderr.count("0.wav") == 1
    assert "2 items failed (caption) in one or more of 5 runs, counted as wrong; the first: q0: " in family.stderr
    assert family.stderr.count("captions: 0 made, 6 failed") == 1


def blind_run(dataset: Path, stub: Stub) -> list[object]:
    """Return the words of a run without captions, which the server answers."""
    return ["run", "--dataset", dataset, "--captions", "none", "--llm", "gpt-x", "--api-base", stub.url]


def test_a_budget_that_is_reached_has_an_exit_code_of_its_own(mini: Path) -> None:
    with Stub() as stub:
        args = blind_run(mini, stub)
        done = cascade(*args, "--price", "0,10000", "--max-tokens", "7", "--budget", "0.2")
        assert done.exit_code == 4
        assert done.stderr.splitlines()[-1].startswith("cascade: --budget 0.2: $0.14")
        assert cascade(*args, "--budget", "1").exit_code == 2  # the price is unknown: a mistake


def test_a_price_counts_the_tokens_that_are_in_the_log(mini: Path) -> None:
    with Stub() as stub:
        args = [*blind_run(mini, stub), "--limit", "2"]
        assert "cost unknown" in cascade(*args).stdout
        # Two replies of 11 tokens in, 7 out.
        assert "22 tokens in, 14 out, cost $0.0360" in cascade(*args, "--price", "1000,1000").stdout
        more = cascade(*args, "--limit", "8", "--price", "1000,1000", "--budget", "0.03")
    assert more.exit_code == 4 and "--budget 0.03: $0.0360 is spent" in more.stderr


def test_export_to_stdout_is_the_file(mini: Path) -> None:
    run(mini, "--out", "r")
    shown = cascade("export", "r", "--out", "-")
    assert cascade("export", "r").stdout == "r/predictions.jsonl\n"
    assert shown.stdout == Path("r/predictions.jsonl").read_text() and shown.stderr == ""


def test_merge_advises_nothing_that_it_refuses(mini: Path) -> None:
    for seed in ("0", "1"):
        run(mini, "--shard", f"{int(seed) + 1}/2", "--seed", seed, "--out", f"s{seed}")
    unlike = cascade("merge", "s0", "s1", "--out", "m")
    assert unlike.exit_code == 2
    assert unlike.stderr.endswith("; merge only the runs that are like s0\n") and "--out" not in unlike.stderr


def test_an_unfinished_run_says_so_wherever_it_is_shown(mini: Path) -> None:
    for name in ("r", "whole"):
        run(mini, "--out", name)
    log = Path("r/log.jsonl")
    log.write_text("".join(log.read_text().splitlines(keepends=True)[:3]))
    line = "r: 5 of 8 questions not asked yet, counted as failed\n"
    assert "\n5 of 8 questions not asked yet, counted as failed\n" in cascade("score", "r").stdout
    for command in (
        ("score", "r", "--format", "md"),
        ("score", "r", "--format", "csv"),
        ("compare", "r", "whole"),
        ("leaderboard", "."),
    ):
        assert line in cascade(*command).stderr, command
    for out in ([], ["--out", "-"]):
        assert cascade("export", "r", *out).stderr == line.replace(
            "counted as failed", "without a prediction in the file"
        )
    assert line.strip().removeprefix("r: ") in cascade("report", "r", "--format", "md").stdout.replace("\\", "")


def test_items_that_a_run_does_not_apply_to_are_no_questions_still_to_ask(mini: Path) -> None:
    write(mini, [{**row, "cue": [] if row["id"] in ("q0", "q7") else ["rain"]} for row in rows(8)])
    assert cascade("run", "--dataset", mini, "--captions", "oracle", "--llm", "fake", "--out", "r").exit_code == 0
    log = Path("r/log.jsonl")
    log.write_text("".join(log.read_text().splitlines(keepends=True)[:3]))
    line = "5 of 6 questions not asked yet, counted as failed"
    assert line in cascade("score", "r").stdout
    assert f"r: {line}\n" in cascade("score", "r", "--format", "csv").stderr
    assert f"r: {line}\n" in cascade("leaderboard", "r").stderr


def test_legends_are_of_what_is_shown(mini: Path) -> None:
    alone = cascade("ablate", "--dataset", mini, *FAKE, "--variants", "shuffled", "--limit", "2").stdout
    assert "this - all:" in alone and "adds:" not in alone and "reasoning:" not in alone
    run(mini, "--out", "a", "--limit", "1")
    run(mini, "--out", "b", "--limit", "1", "--seed", "1")
    assert "1 item of both, by mmar" in cascade("compare", "a", "b").stdout
    assert "1 item: 1 answered" in cascade("score", "a").stdout
    matrix = cascade("compare", "a", "b", "a").stdout
    assert "1 item of all" in matrix and "*: p < 0.05" not in matrix


def test_help_has_headings() -> None:
    whole = cascade("--help").stdout
    assert [line for line in whole.splitlines() if line.endswith(":")] == [
        "Options:",
        "Making runs:",
        "A second model on finished runs:",
        "Reading runs:",
        "What there is:",
    ]
    text = cascade("run", "--help").stdout
    assert [line for line in text.splitlines() if line and line[0] != " " and line.endswith(":")] == [
        "Items:",
        "Captions:",
        "Model:",
        "Question:",
        "Cost and pace:",
        "Options:",
    ]
    assert text.index("Model:") < text.index("--llm MODEL") < text.index("Question:")


def test_a_slot_is_headed_by_what_its_engine_gives(mini: Path) -> None:
    shown = cascade(
        "prompts", "show", "default", "--item", "q1", "--dataset", mini, "--captions", "music=signal,speech=fake"
    )
    assert "[Measurements]\n(no caption yet)" in shown.stdout and "[Music]" not in shown.stdout
    assert "[Speech (transcript)]\n(no caption yet)" in shown.stdout
    assert shown.exit_code == 3
    assert "cache has no music and no speech caption of q1; `cascade caption` makes them" in shown.stderr


def test_lists_and_plans_load_no_heavy_library(mini: Path) -> None:
    script = (
        "import sys; from cascade.cli.app import app\n"
        "try: app(sys.argv[1:])\n"
        "finally: print({'torch', 'litellm', 'whisper', 'librosa', 'transformers', 'ctranslate2'} & sys.modules.keys())"
    )
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    for command in (
        ("captioners",),
        ("doctor", "--dataset", str(mini)),
        ("doctor", "--dataset", str(mini), "--llm", "fake", "--captions", "none"),
        (
            "prompts",
            "show",
            "default",
            "--item",
            "q0",
            "--dataset",
            str(mini),
            "--captions",
            "speech=whisper,music=signal",
        ),
        ("run", "--dataset", str(mini), "--llm", "gpt-4o", "--captions", "none", "--dry-run"),
    ):
        done = subprocess.run([sys.executable, "-c", script, *command], capture_output=True, text=True, env=env)
        assert done.stdout.endswith("set()\n"), (command, done.stdout, done.stderr)


@pytest.mark.skipif(find_spec("litellm") is None, reason="litellm is not installed")
def test_doctor_takes_what_run_takes_and_refuses_what_it_refuses(mini: Path) -> None:
    def model(*args: str) -> tuple[int, dict[str, Any]]:
        done = cascade("doctor", "--dataset", mini, "--captions", "none", *args, "--format", "json")
        return done.exit_code, json.loads(done.stdout)["checks"][0]

    code, check = model("--llm", "no-such-model")
    assert (code, check["state"]) == (2, "missing") and "litellm knows no such model" in check["detail"]
    planned = cascade("run", "--dataset", mini, "--captions", "none", "--llm", "no-such-model", "--dry-run")
    assert planned.exit_code == 2 and "litellm knows no such model" in planned.stderr
    code, check = model("--llm", "hosted_vllm/x")
    assert code == 2 and check["detail"].endswith("the address that serves it is missing: give --api-base URL")
    code, check = model("--llm", "gpt-4o")
    assert (code, check["state"], check["command"]) == (2, "missing", "export OPENAI_API_KEY=…")
    planned = cascade("run", "--dataset", mini, "--captions", "none", "--llm", "gpt-4o", "--dry-run")
    assert planned.exit_code == 0 and "export OPENAI_API_KEY=…; this plan needs none" in planned.stderr
    with Stub() as stub:
        assert model("--llm", "no-such-model", "--api-base", stub.url)[0] == 0
        Path("spec.yaml").write_text(f"llm: no-such-model\napi-base: {stub.url}\n")
        assert model("--spec", "spec.yaml")[0] == 0
    code, check = model("--llm", "no-such-model", "--api-base", "http://127.0.0.1:9/v1")
    assert code == 2 and "http://127.0.0.1:9/v1 cannot be reached" in check["detail"]


def test_doctor_and_captioners_agree(mini: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    listed = json.loads(cascade("captioners", "--format", "json").stdout)
    slots = {row["name"]: f"s{number}" for number, row in enumerate(listed) if not row["note"].startswith("give ")}
    captions = ",".join(f"{slot}={name}" for name, slot in slots.items() if name not in ("oracle", "audio"))
    done = cascade("doctor", "--llm", "fake", "--dataset", mini, "--captions", captions, "--format", "json")
    states = {check["what"].partition("=")[2]: check["state"] for check in json.loads(done.stdout)["checks"]}
    for row in listed:
        if row["name"] in states:
            assert row["ready"] == (states[row["name"]] != "missing"), row["name"]
    assert "knows only English" in next(row["note"] for row in listed if row["name"] == "faster-whisper")


def test_a_run_of_the_temperature_0_is_not_continued_without_one(mini: Path) -> None:
    if find_spec("litellm") is None:
        pytest.skip("litellm is not installed")
    with Stub() as stub:
        args: list[str | Path] = [
            "run",
            "--dataset",
            mini,
            "--captions",
            "none",
            "--api-base",
            stub.url,
            "--out",
            "r",
            "--limit",
            "2",
        ]
        done = cascade(*args, "--llm", "openai/gpt-5")
        assert done.exit_code == 0, done.output
        assert "openai/gpt-5 refuses the temperature 0, and is asked without one" in done.stderr
        assert all("temperature" not in asked for asked in stub.asked)
        shutil.rmtree("r")
        cascade(*args, "--llm", "openai/gpt-5", "--param", "temperature=1")
        assert stub.asked[-1]["temperature"] == 1
        other = cascade(*args, "--llm", "openai/gpt-5")
    assert other.exit_code == 2
    assert "llm.params.temperature is 1 there, None here); give --out" in other.stderr
    assert len(other.stderr.splitlines()) == 2


@pytest.mark.skipif(find_spec("litellm") is None, reason="litellm is not installed")
@pytest.mark.parametrize(
    ("model", "params", "takes"),
    [
        ("gpt-4o", {}, True),
        ("o3", {}, False),
        ("azure/gpt-5", {}, False),
        ("gpt-5.1", {}, True),
        ("gpt-5.1", {"reasoning_effort": "high"}, False),
        ("hosted_vllm/anything", {}, True),
        ("fake", {}, True),
    ],
)
def test_which_models_take_the_temperature_0(model: str, params: dict[str, str], takes: bool) -> None:
    from cascade.llms import connect

    assert connect.takes_temperature(model, params) == takes


def test_a_judge_that_refuses_the_temperature_0_is_asked_without_one(mini: Path) -> None:
    if find_spec("litellm") is None:
        pytest.skip("litellm is not installed")
    with Stub(lambda request, number: Reply(text="nothing of the kind")) as stub:
        cascade("run", "--dataset", mini, "--captions", "none", "--llm", "gpt-x", "--api-base", stub.url, "--out", "r")
        first = len(stub.asked)
        done = cascade("read", "r", "--reader", "openai/gpt-5", "--api-base", stub.url)
    assert len(stub.asked) > first, done.output
    assert all("temperature" not in asked for asked in stub.asked[first:])
