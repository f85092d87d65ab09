"""The commands as a person types them, with the engines and the model that need nothing."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.commands import FAKE, ROOT, cascade, log_of, only_run, rows


def test_a_run_explains_itself_and_a_second_one_costs_nothing(mini: Path) -> None:
    first = cascade("run", "--dataset", mini, *FAKE)
    assert first.exit_code == 0
    assert "8 items: 8 answered, 0 failed, 0 unread; coverage 100.00 %" in first.stdout
    run = only_run()
    assert run.name.startswith("mini-fake-")
    assert {file.name for file in run.iterdir()} == {"run.json", "items.jsonl", "captions.jsonl", "log.jsonl"}
    before = {file.name: file.read_bytes() for file in run.iterdir()}
    second = cascade("run", "--dataset", mini, *FAKE)
    assert second.stdout == first.stdout
    assert {file.name: file.read_bytes() for file in run.iterdir()} == before


def test_a_larger_limit_extends_and_a_smaller_one_loses_nothing(mini: Path) -> None:
    assert "3 items: 3 answered" in cascade("run", "--dataset", mini, *FAKE, "--limit", "3").stdout
    run = only_run()
    three = (run / "log.jsonl").read_bytes()
    assert "6 items: 6 answered" in cascade("run", "--dataset", mini, *FAKE, "--limit", "6").stdout
    assert only_run() == run
    assert (run / "log.jsonl").read_bytes().startswith(three)
    smaller = cascade("run", "--dataset", mini, *FAKE, "--limit", "2")
    assert "6 items: 6 answered" in smaller.stdout
    assert "already holds 6 items" in smaller.stderr


def test_resuming_any_prefix_of_the_log_gives_the_same_choices(mini: Path) -> None:
    cascade("run", "--dataset", mini, *FAKE)
    run = only_run()
    whole = (run / "log.jsonl").read_bytes()
    wanted = {line["item"]: line["result"]["text"] for line in log_of(run)}
    for cut in range(0, len(whole), 97):
        (run / "log.jsonl").write_bytes(whole[:cut])
        assert cascade("run", "--dataset", mini, *FAKE).exit_code == 0
        assert {line["item"]: line["result"]["text"] for line in log_of(run)} == wanted
        assert len(log_of(run)) == 8


def test_a_missing_clip_costs_its_own_item_and_is_tried_again(mini: Path) -> None:
    Path("3.wav").unlink()
    broken = cascade("run", "--dataset", mini, *FAKE)
    assert broken.exit_code == 3
    assert "8 items: 7 answered, 1 failed" in broken.stdout
    assert "1 item failed (caption), counted as wrong; the first: q3: speech: 3.wav: No such file" in broken.stderr
    Path("3.wav").write_bytes(b"found")
    mended = cascade("run", "--dataset", mini, *FAKE)
    assert mended.exit_code == 0
    assert "8 answered, 0 failed" in mended.stdout
    assert len(log_of(only_run())) == 9


def test_blind_needs_no_clip(mini: Path) -> None:
    for clip in Path().glob("*.wav"):
        clip.unlink()
    assert cascade("run", "--dataset", mini, "--llm", "fake", "--captions", "none").exit_code == 0
    assert not Path("cache").exists()


def test_only_and_seed_are_part_of_what_a_run_is(mini: Path) -> None:
    for more in (
        [],
        ["--seed", "1"],
        ["--only", "modality=speech"],
        ["--prompt", "mmar"],
        ["--captions", "music=fake"],
    ):
        assert cascade("run", "--dataset", mini, *FAKE, *more).exit_code == 0
    assert len(list(Path("runs").iterdir())) == 5


MISTAKES = {
    "dataset": (["run", "--dataset", "dmeo"], "unknown dataset 'dmeo' (did you mean 'demo'?)"),
    "dataset file": (["run", "--dataset", "./none.jsonl"], "none.jsonl: no such file"),
    "captioner": (["run", "--dataset", "demo", "--captions", "speech=faster-wisper"], "did you mean 'faster-whisper'?"),
    "captions": (["run", "--dataset", "demo", "--captions", "speech="], "cannot be read at 'speech='"),
    "slot twice": (["run", "--dataset", "demo", "--captions", "a=fake,a=fake"], "slot 'a' is filled twice"),
    "parameter": (["run", "--dataset", "demo", "--captions", "speech=fake(txt=x)"], "did you mean 'text'?"),
    "slot": (["run", "--dataset", "demo", "--caption-param", "speach.model=x"], "did you mean 'speech'?"),
    "prompt": (
        ["run", "--dataset", "demo", "--prompt", "defualt"],
        "unknown prompt 'defualt' (did you mean 'default'?)",
    ),
    "param": (
        ["run", "--dataset", "demo", "--llm", "fake", "--param", "temperature"],
        "'temperature' must be key=value",
    ),
    "only": (["run", "--dataset", "demo", "--only", "modality=speach"], "no item of 'demo' has that"),
    "format": (["score", ".", "--format", "josn"], "unknown format 'josn' (did you mean 'json'?)"),
    "no run": (["score", "."], "is no run directory"),
    "item": (["prompts", "show", "default", "--item", "demo-99"], "unknown item 'demo-99'"),
    "one choice": (["ask", "a.wav", "What?", "--choice", "x"], "give two or more"),
    "no clip": (["ask", "a.wav", "What?", "--choice", "x", "--choice", "y"], "a.wav: no such file; CLIP is one audio"),
    "dataset folder": (["run", "--dataset", "folder"], "--dataset folder: a folder; give FILE.jsonl"),
    "dataset of another kind": (["run", "--dataset", "0.wav"], "--dataset 0.wav: no .jsonl; give FILE.jsonl"),
    "only no tag": (["run", "--dataset", "demo", "--only", "mood=x"], "(no such tag; there is: category, modality, "),
    "device": (["run", "--dataset", "demo", "--device", "tpu"], "--device tpu: give auto, cpu, cuda, cuda:1 or mps"),
    "backend": (["run", "--dataset", "demo", "--backend", "dask"], "unknown backend 'dask' (there is: local, ray)"),
    "price": (["run", "--dataset", "demo", "--llm", "fake", "--price", "1"], "--price 1: write INPUT,OUTPUT"),
    "number": (["run", "--limit", "0"], "Invalid value for '--limit': 0 is not in the range x>=1; see: cascade run --"),
    "flag": (["score", "--boy", "x"], "No such option: --boy (Possible options: --by); see: cascade score --help"),
    "command": (["scor", "x"], "No such command 'scor'. Did you mean 'score', 'doctor'?; see: cascade --help"),
    "argument": (["cache", "export"], "Missing argument 'FILE'; see: cascade cache export --help"),
    "no room for a run": (["run", "--dataset", "demo", "--llm", "fake", "--captions", "none", "--out", "0.wav/x"],
                          "0.wav/x: cannot be made there (Not a directory); give --out another directory"),
    "no room for an ablation": (["ablate", "--dataset", "demo", *FAKE, "--out", "gone"],
                                "gone/all: cannot be made there (File exists); give --out another directory"),
    "runs in a folder": (["score", "runs"], "has no run.json; there are 1 in it: give runs/*, or one: runs/one"),
    "no runs": (["leaderboard", "folder"], "folder: no run is there; give the folder of runs"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_and_exit_code_2(mistake: str, mini: Path) -> None:
    args, said = MISTAKES[mistake]
    Path("folder").mkdir()
    Path("gone").symlink_to("nowhere")
    Path("runs/one").mkdir(parents=True)
    Path("runs/one/run.json").touch()
    result = cascade(*args)
    assert result.exit_code == 2
    assert said in result.stderr
    lines = [line for line in result.stderr.splitlines() if not line.startswith("passed over: ")]
    assert len(lines) == 1 and lines[0].startswith("cascade: ")
    assert not result.stdout


BAD_ROWS: dict[str, tuple[dict[str, Any], str]] = {
    "no choices": ({"choices": []}, "two or more"),
    "gold not listed": ({"answer": "hail"}, "the answer 'hail' is none of the choices"),
    "null": ({"question": None}, "'question' is null"),
    "twice": ({"id": "q0"}, "the id 'q0' stands twice"),
    "leaves the folder": ({"audio_path": "../../etc/passwd"}, "leaves the data folder"),
}


@pytest.mark.parametrize("bad", BAD_ROWS)
def test_a_bad_row_is_refused_by_file_and_line(bad: str, mini: Path) -> None:
    changes, said = BAD_ROWS[bad]
    questions = list(rows(3))
    questions[1] |= changes
    mini.write_text("".join(json.dumps(row) + "\n" for row in questions))
    result = cascade("run", "--dataset", mini, *FAKE)
    assert result.exit_code == 2
    assert "mini.jsonl:2: " in result.stderr
    assert said in result.stderr
    assert not Path("runs").exists()


def test_a_directory_of_another_run_is_refused_and_left_alone(mini: Path) -> None:
    cascade("run", "--dataset", mini, *FAKE, "--out", "mine")
    before = (Path("mine") / "log.jsonl").read_bytes()
    result = cascade("run", "--dataset", mini, *FAKE, "--out", "mine", "--prompt", "mmar")
    assert result.exit_code == 2
    assert "mine holds another run (prompt.template is 'default' there, 'mmar' here" in result.stderr
    assert (Path("mine") / "log.jsonl").read_bytes() == before
    blind = cascade("run", "--dataset", mini, "--llm", "fake", "--captions", "none", "--out", "mine").stderr
    assert "mine holds another run (captions are speech=fake there, none here); give --out another directory" in blind
    Path("full").mkdir()
    Path("full/letter.txt").write_text("dear")
    assert "is no run directory and not empty" in cascade("run", "--dataset", mini, *FAKE, "--out", "full").stderr


def test_caption_prints_a_line_an_item_and_slot(mini: Path) -> None:
    Path("2.wav").unlink()
    result = cascade("caption", "--dataset", mini, "--captions", "speech=fake,x=fake(text=hum)", "--format", "jsonl")
    assert result.exit_code == 3
    printed = [json.loads(line) for line in result.stdout.splitlines()]
    assert len(printed) == 16
    assert printed[1].keys() == {"id", "slot", "engine", "key", "text", "meta"}
    assert printed[1]["text"] == "hum"
    assert printed[4] == {
        "id": "q2",
        "slot": "speech",
        "engine": "fake",
        "error": {"kind": "audio", "message": "2.wav: No such file or directory"},
    }
    assert "q2: speech, x: 2.wav" in result.stderr
    table = cascade("caption", "--dataset", mini, "--captions", "speech=fake").stdout.splitlines()
    assert table[0].split() == ["clip", "slot", "made", "in", "text"]
    assert table[1].split(maxsplit=3) == ["q0", "speech", "-", "A fixed caption."]


def test_the_cache_says_what_it_holds_and_names_what_does_not_match(mini: Path) -> None:
    cascade("caption", "--dataset", mini, "--captions", "speech=fake", "--cache", "kept")
    info = json.loads(cascade("cache", "info", "--cache", "kept", "--format", "json").stdout)
    assert info["captions"] == 8
    assert info["bytes"] > 0
    assert cascade("cache", "verify", "--cache", "kept").stdout == "8 captions, every key derived again and equal\n"


def test_a_prompt_shows_what_was_heard_and_nothing_of_the_answer(mini: Path) -> None:
    args: list[str | Path] = [
        "prompts",
        "show",
        "default",
        "--item",
        "q1",
        "--dataset",
        mini,
        "--captions",
        "speech=fake,music=fake(text=)",
    ]
    cascade("caption", *args[-4:])
    shown = cascade(*args).stdout
    assert "[Speech (transcript)]\nA fixed caption." in shown
    assert "[Music]\nNo music was recognised." in shown
    assert "What is heard in clip 1?" in shown
    for hidden in ("secret cue", "Perception", "1.wav", "q1"):
        assert hidden not in shown


def test_lists(mini: Path) -> None:
    engines = {row["name"]: row for row in json.loads(cascade("captioners", "--format", "json").stdout)}
    assert engines["fake"] == {
        "name": "fake",
        "slots": ["any"],
        "ready": True,
        "needs": "",
        "note": "",
        "params": {"text": "A fixed caption."},
    }
    assert {"faster-whisper", "events", "signal"} <= engines.keys()
    demo = {row["name"]: row for row in json.loads(cascade("datasets", "--format", "json").stdout)}["demo"]
    assert demo["items"] >= 28
    assert "default" in cascade("prompts").stdout
    assert cascade("prompts", "show", "mmar").stdout == (ROOT / "prompts" / "mmar.md").read_text()


def test_ask_shows_what_was_heard(mini: Path) -> None:
    args: list[str | Path] = ["ask", "0.wav", "What is it?", "--choice", "rain", "--choice", "a bell", *FAKE]
    told = cascade(*args).stdout
    assert "0.wav  speech  -        A fixed caption." in told
    answer = json.loads(cascade(*args, "--format", "json").stdout)
    assert answer["answer"] in ("rain", "a bell")
    assert answer["captions"] == {"speech": "A fixed caption."}
    assert f"Answer: {answer['answer']}" in told
    blind = cascade(*args, "--captions", "none").stdout
    assert blind.startswith("Reply: ")  # and no table without rows
    missing = cascade("ask", "none.wav", "What?", "--choice", "a", "--choice", "b", *FAKE)
    assert missing.exit_code == 2
    assert "none.wav: no such file" in missing.stderr


@pytest.mark.parametrize("form", ["table", "json", "md", "csv", "latex"])
def test_scores_in_every_format(form: str, mini: Path) -> None:
    cascade("run", "--dataset", mini, *FAKE)
    printed = cascade("score", only_run(), "--format", form).stdout
    found = json.loads(cascade("score", only_run(), "--format", "json").stdout)
    if form == "json":
        assert list(found)[:4] == ["run", "dataset", "llm", "n"]
        assert found["scores"]["mmar"]["by"]["modality"].keys() == {"sound", "speech"}
    share = found["scores"]["mmar"]["accuracy"]
    assert (repr(share) if form in ("json", "csv") else f"{100 * share:.2f}") in printed


def test_a_file_whose_field_is_misnamed_is_said_to_be(mini: Path) -> None:
    result = cascade("score", mini)
    assert result.exit_code == 0
    assert "8 items: 0 answered, 8 failed" in result.stdout
    assert "no row carries a prediction; the field must be one of answer_prediction" in result.stderr


def test_papers_and_machines_get_chance_and_what_failed_too(mini: Path) -> None:
    cascade("run", "--dataset", mini, *FAKE)
    lines = cascade("score", only_run(), only_run(), "--format", "csv").stdout.splitlines()
    assert sum(line.startswith("run,tag,") for line in lines) == 1
    assert sum(",chance,,8,0.25,,," in line for line in lines) == 2
    paper = cascade("score", only_run(), "--format", "md").stdout
    assert paper.startswith(f"| {only_run().name} | n | mmar |")
    assert "| chance |  | 25.00 |" in paper and "| failed | 0 |" in paper


def child(*args: str | Path, cwd: Path, **options: Any) -> subprocess.Popen[str]:
    """The command in a process of its own, without the shell that wraps it."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "cascade", *map(str, args)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=cwd, env=environment, stdout=pipe, stderr=pipe, text=True, **options)


def test_a_full_disk_loses_nothing(mini: Path) -> None:
    import resource

    def small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2500, 2500))

    full = child(
        "run", "--dataset", mini, "--captions", "none", "--llm", "fake", cwd=mini.parent, preexec_fn=small_files
    )
    _, said = full.communicate(timeout=60)
    assert full.returncode == 2, said
    assert "File too large" in said.splitlines()[-1]
    assert "Traceback" not in said
    result = cascade("run", "--dataset", mini, "--captions", "none", "--llm", "fake")
    assert result.exit_code == 0
    assert len(log_of(only_run())) == 8


def test_a_reader_that_leaves_is_no_error(mini: Path) -> None:
    cascade("run", "--dataset", mini, *FAKE)
    run = child("score", only_run(), "--format", "json", cwd=mini.parent)
    assert run.stdout is not None
    run.stdout.close()
    assert run.wait(timeout=60) in (0, 141)
    assert run.stderr is not None
    assert run.stderr.read() == ""
    run.stderr.close()


def test_the_launcher_of_a_checkout_is_the_command(mini: Path) -> None:
    told = subprocess.run([sys.executable, ROOT / "cli.py", "--version"], capture_output=True, text=True, check=True)
    assert told.stdout == cascade("--version").stdout


def test_control_c_ends_with_130_and_a_resume(mini: Path, tmp_path: Path) -> None:
    from tests.support.stub_server import Stub

    with Stub(delay=0.5) as stub:
        args: list[str | Path] = [
            "run",
            "--dataset",
            mini,
            "--captions",
            "none",
            "--llm",
            "gpt-x",
            "--api-base",
            stub.url,
        ]
        # A test run in a shell's background ignores the signal, and so would its children.
        running = child(
            *args, "--concurrency", "1", cwd=tmp_path, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
        )
        logs = tmp_path / "runs"
        while running.poll() is None and not any(file.stat().st_size for file in logs.glob("*/log.jsonl")):
            time.sleep(0.02)
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=60)
        assert running.returncode == 130, said
        assert said.endswith("cascade: interrupted; the same command goes on from here\n")
        assert 0 < len(log_of(only_run())) < 8
        again = child(*args, cwd=tmp_path)
        assert again.communicate(timeout=60)[0].count("8 answered, 0 failed") == 1
        assert len(log_of(only_run())) == 8


def test_two_runs_into_one_directory(mini: Path, tmp_path: Path) -> None:
    from cascade.io.jsonl import RecordLog

    cascade("run", "--dataset", mini, *FAKE, "--out", "one")
    with RecordLog(Path("one/log.jsonl")):
        second = child("run", "--dataset", mini, *FAKE, "--out", "one", cwd=tmp_path)
        _, said = second.communicate(timeout=60)
    assert second.returncode == 2
    assert "another process is writing this run" in said


def test_a_wheel_carries_prompts_and_the_demo_set(tmp_path: Path) -> None:
    pytest.importorskip("hatchling")
    source = tmp_path / "source"
    shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(".git", ".venv", "runs", "cache", ".*_cache"))
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel"], cwd=source, check=True, capture_output=True
    )
    import zipfile

    (wheel,) = (source / "dist").glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {
        "cascade/prompts/default.md",
        "cascade/datasets/demo_set/questions.jsonl",
        "cascade/cli/__init__.py",
    } <= names
    assert not any(name.startswith(("cli.py", "tests/", "prompts/")) for name in names)


def test_what_is_no_address_is_refused_before_anything_is_heard(mini: Path) -> None:
    said = cascade("run", "--dataset", mini, "--llm", "x", "--captions", "none", "--api-base", "nonsense")
    assert (said.exit_code, said.stderr.count("\n")) == (2, 1)
    assert "--api-base nonsense: this is no address; write http://HOST:PORT/v1" in said.stderr
    said = cascade("caption", "--dataset", mini, "--captions", "x=audio-llm(model=openai/x,api_base=ftp://h)")
    assert (said.exit_code, said.stderr.count("\n")) == (2, 1)
    assert "x.api_base ftp://h: this is no address" in said.stderr
    said = cascade("caption", "--dataset", mini, "--captions", "x=audio-llm(model=openai/x,api_base=)")
    assert said.exit_code == 2 and "x.api_base (empty): this is no address" in said.stderr
