"""What a run is asked for: the default, a spec file that says the same as flags, and what is found missing first."""

from __future__ import annotations

import json
import os
import sys
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cascade.llms import credentials
from cascade.pipeline import parsing, specs
from tests.support.commands import cascade, only_run, rows, write

YAML = """
llm: fake
dataset: {data}
limit: 3
captions: {{speech: fake, "sound": "fake(text=a bark)"}}
caption-param: {{speech: {{text: "rain, wind"}}}}
param: {{temperature: 0.5, top_p: null, stop: [a, b]}}
only: {{modality: [speech, sound]}}
seed: 7
"""
TOML = """
llm = "fake"
dataset = "{data}"
limit = 3
captions = ["speech=fake", "sound=fake(text=a bark)"]
caption-param.speech.text = "rain, wind"
only = ["modality=speech", "modality=sound"]
seed = 7
[param]
temperature = 0.5
top_p = "none"
stop = ["a", "b"]
"""
FLAGS = [
    *("--llm", "fake", "--limit", "3", "--captions", "speech=fake,sound=fake(text=a bark)", "--seed", "7"),
    *("--caption-param", "speech.text=rain, wind", "--param", "temperature=0.5", "--param", "top_p=none"),
    *("--param", 'stop=["a","b"]', "--only", "modality=speech", "--only", "modality=sound"),
]


@pytest.fixture
def mini() -> Path:
    return write(Path("mini.jsonl"), list(rows(8)))


@pytest.mark.parametrize(("name", "text"), [("s.yaml", YAML), ("s.toml", TOML), ("s.yml", YAML)])
def test_a_spec_says_what_flags_say(mini: Path, name: str, text: str) -> None:
    Path(name).write_text(text.format(data=mini.absolute()))
    assert cascade("run", "--spec", name).exit_code == 0
    spec = json.loads((only_run() / "run.json").read_text())["spec"]
    assert cascade("run", "--dataset", mini.absolute(), *FLAGS).exit_code == 0
    assert json.loads((only_run() / "run.json").read_text())["spec"] == spec  # the same run, in the same directory
    assert spec["llm"]["params"] == {"seed": 7, "temperature": 0.5, "stop": ["a", "b"]}
    assert spec["captioners"][0]["params"] == {"text": "rain, wind"} and spec["limit"] == 3


def test_a_flag_overrides_the_spec(mini: Path) -> None:
    Path("s.yaml").write_text(YAML.format(data=mini.absolute()))
    run = cascade("run", "--limit", "5", "--spec", "s.yaml")
    assert run.exit_code == 0 and "5 items" in run.stdout


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("s.yaml", "digest: fake\ndigest-question: true\nshuffle-choices: no\nrounds: 2\nretries: '3'\nrpm: 7\n"),
        ("s.toml", 'digest = "fake"\ndigest-question = true\nshuffle-choices = false\nrounds = 2\nrpm = 7.0\n'),
    ],
)
def test_a_spec_has_switches_and_numbers(mini: Path, name: str, text: str) -> None:
    Path(name).write_text(text)
    flags = ["--dataset", mini, "--captions", "speech=fake", "--llm", "fake", "--rounds-with", "measure=fake"]
    assert cascade("run", "--spec", name, *flags).exit_code == 0
    spec = json.loads((only_run() / "run.json").read_text())["spec"]
    assert spec["captioners"][1]["params"]["question"] is True and spec["rounds"]["most"] == 2
    assert spec["prompt"]["order_seed"] is None


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("s.yaml", "lmm: fake", "unknown flag 'lmm' (did you mean 'llm'?); in --spec s.yaml"),
        ("s.yaml", "llm: [x", "--spec s.yaml: not YAML"),
        ("s.yaml", "param: &a {x: *a}", "--spec s.yaml: *a is an alias"),
        ("s.yaml", "a: &a {x: 1}\nb: {<<: [*a, *a]}", "--spec s.yaml: *a is an alias"),
        ("s.yaml", "param: " + "[" * 9999, "--spec s.yaml: is nested deeper than 50 levels"),
        ("s.yaml", "#" * (1 << 21), "--spec s.yaml: is larger than 1 MiB"),
        ("s.toml", "x = " + "[" * 9999, "--spec s.toml: not TOML"),
        ("s.yaml", "just text", "`flag: value` lines are needed, not str"),
        ("s.yaml", "!!python/object/apply:os.system ['touch trapped']", "not YAML"),
        ("s.yaml", "llm: true", "--spec s.yaml: llm: true is no value of that flag"),
        ("s.yaml", "rounds: three", '--spec s.yaml: rounds: "three" is no value of that flag'),
        ("s.yaml", "rounds: {a: b}", '--spec s.yaml: rounds: "a=b" is no value of that flag'),
        ("s.yaml", "rounds: true", "--spec s.yaml: rounds: true is no value of that flag"),
        ("s.toml", "limit = 2.5", "--spec s.toml: limit: 2.5 is no value of that flag"),
        ("s.yaml", "digest-question: maybe", '--spec s.yaml: digest-question: "maybe" is no value of that flag'),
        ("s.toml", "llm = ", "--spec s.toml: not TOML"),
        ("s.json", "{}", "--spec s.json: its name must end in .yaml, .yml or .toml"),
        ("s.yaml", b"\xff\xfe\x00", "it is no UTF-8 text"),
        ("gone.yaml", None, "--spec gone.yaml: cannot be read (No such file or directory)"),
    ],
)
def test_a_spec_that_cannot_be_read_is_one_line(name: str, text: Any, said: str) -> None:
    if text is not None:
        Path(name).write_bytes(text.encode() if isinstance(text, str) else text)
    result = cascade("run", "--spec", name)
    assert result.exit_code == 2 and said in result.stderr and len(result.stderr.splitlines()) == 1
    assert not Path("trapped").exists()


def test_the_default_is_the_engines_that_were_named() -> None:
    assert specs.caption_sources(None, "mmar") == "speech=whisper,sound=clapcap,music=clap-music"
    assert [name for _, name, _ in parsing.parse_captions(specs.caption_sources(None, "x.jsonl"))] == [
        "whisper", "clapcap", "clap-music",
    ]  # fmt: skip
    assert specs.caption_sources(None, "demo") == "speech=faster-whisper,sound=events,music=signal"
    assert specs.caption_sources("none", "demo") == "none"


@pytest.mark.parametrize(
    ("model", "variable"),
    [
        ("gpt-4o", "OPENAI_API_KEY"),
        ("openai/anything", "OPENAI_API_KEY"),
        ("anthropic/claude-sonnet-4-5", "ANTHROPIC_API_KEY"),
        ("deepseek/deepseek-reasoner", "DEEPSEEK_API_KEY"),
        ("gemini/gemini-2.5-pro", "GEMINI_API_KEY"),
        ("ollama/llama3", ""),
        ("bedrock/x", ""),
    ],
)
def test_the_variable_of_a_key(model: str, variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("litellm") if find_spec("litellm") is None else None
    assert credentials.missing(model) == variable
    if variable:
        monkeypatch.setenv(credentials.VARIABLES[credentials.provider(model) or ""][-1], "sk-canary")
        assert credentials.missing(model) == ""


@pytest.mark.skipif(find_spec("litellm") is None, reason="litellm is not installed")
def test_a_key_may_be_in_an_env_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delattr(sys.modules["__main__"], "__file__", raising=False)  # as in a notebook
    monkeypatch.setenv("OPENAI_API_KEY", "x")
    del os.environ["OPENAI_API_KEY"]  # The file's value is removed after the test.
    assert credentials.missing("gpt-4o") == "OPENAI_API_KEY"
    Path(".env").write_text("OPENAI_API_KEY=sk-canary\n")
    assert credentials.missing("gpt-4o") == ""


@pytest.mark.skipif(find_spec("litellm") is None, reason="litellm is not installed")
def test_a_missing_key_is_found_before_any_clip_is_heard(mini: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("a clip was heard")

    monkeypatch.setattr("cascade.captioning.generate.caption", never)
    monkeypatch.setattr("cascade.datasets.hub.fetch", never)
    result = cascade("run", "--dataset", mini, "--captions", "speech=fake", "--llm", "gpt-4o")
    assert result.exit_code == 2 and "export OPENAI_API_KEY=" in result.stderr and not Path("runs").exists()
    typo = cascade("run", "--dataset", mini, "--captions", "speech=fake", "--llm", "gpt-4oo")
    assert typo.exit_code == 2 and "litellm knows no such model" in typo.stderr and not Path("runs").exists()


@pytest.mark.skipif(find_spec("litellm") is None, reason="litellm is not installed")
def test_a_finished_run_needs_no_key(mini: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.support.stub_server import Stub

    command = ["run", "--dataset", str(mini), "--captions", "sound=fake", "--llm", "openai/x", "--out", "r"]
    with Stub() as stub:
        first = cascade(*command, "--api-base", stub.url)
    again = cascade(*command)
    assert (first.exit_code, again.exit_code) == (0, 0) and again.stdout == first.stdout


def test_a_missing_package_is_found_before_the_first_engine_works(mini: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cascade.plugins.find_spec", lambda name: None)
    heard: list[Any] = []
    monkeypatch.setattr("cascade.captioning.backends.local.run", lambda *_: heard.append("run"))
    result = cascade("caption", "--dataset", mini, "--captions", "sound=fake,speech=whisper")
    assert result.exit_code == 2 and "pip install 'audio-cascade[whisper]'" in result.stderr and heard == []


def doctor(*args: Any) -> dict[str, Any]:
    page: dict[str, Any] = json.loads(cascade("doctor", *args, "--format", "json").stdout)
    return page


def states(page: dict[str, Any]) -> dict[str, str]:
    return {check["what"]: check["state"] for check in page["checks"]}


def test_the_doctor_on_a_bare_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("cascade.plugins", "cascade.llms.connect", "cascade.cli.doctor", "cascade.datasets.hub"):
        monkeypatch.setattr(f"{module}.find_spec", lambda name: None)
    requires, missing = metadata.requires, metadata.PackageNotFoundError
    bare = SimpleNamespace(requires=requires, distributions=lambda name: [], PackageNotFoundError=missing)
    monkeypatch.setattr("cascade.cli.doctor.metadata", bare)
    page = doctor()
    assert not page["ready"] and page["llm"] == "gpt-4o" and page["dataset"] == "mmar"
    found = states(page)
    for what in ("model gpt-4o", "dataset mmar", "speech=whisper", "sound=clapcap", "music=clap-music"):
        assert found[what] == "missing"
    commands = {check["command"] for check in page["checks"]}
    assert {f"pip install 'audio-cascade[{extra}]'" for extra in ("llm", "hub", "whisper", "clap", "local")} <= commands
    assert found["ffmpeg"] == "ok"
    text = cascade("doctor").stdout
    assert (
        "pip install 'audio-cascade[clap,hub,llm,whisper]'" in text
        and "things are missing" in text
        and "pip install 'audio-cascade[whisper]'" in text
    )


def test_the_doctor_where_nothing_is_missing(mini: Path) -> None:
    page = doctor("--llm", "fake", "--dataset", mini, "--captions", "sound=fake")
    assert page["ready"] and states(page)[f"dataset {mini}"] == "ok" and states(page)["cache"] == "ok"
    assert "Nothing is missing." in cascade("doctor", "--llm", "fake", "--dataset", mini, "--captions", "none").stdout
    (Path("0.wav")).unlink()
    assert (
        states(doctor("--llm", "fake", "--dataset", mini, "--captions", "sound=fake"))[f"dataset {mini}"] == "missing"
    )


@pytest.mark.skipif(find_spec("huggingface_hub") is None, reason="huggingface_hub is not installed")
def test_the_doctor_says_whether_the_hub_can_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.support.hub_server import Hub

    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary")
    with Hub({}) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        page = doctor("--captions", "sound=fake")
    assert states(page)["dataset mmar"] == "later" and page["ready"] == (find_spec("litellm") is not None)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    page = doctor("--captions", "sound=fake")
    assert states(page)["dataset mmar"] == "missing" and "sk-canary" not in json.dumps(page)
