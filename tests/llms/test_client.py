"""The client of litellm as a guest in a process: without a key, many calls at once, loop after loop, and no trace."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from cascade.errors import ProviderStop
from cascade.llms import connect as llms_connect
from cascade.types import Completion, Execution, Host, LLMSpec, Prompt
from tests.support.stub_server import Reply, Stub

PROMPT = Prompt(messages=({"role": "user", "content": "?"},), order=("rain", "hail"))


def test_no_key_is_said_to_be_missing() -> None:
    async def connect() -> None:
        how = Execution(cache=Path("c"))
        async with llms_connect.connect(LLMSpec(model="gpt-4o"), how) as llm:
            await llm(PROMPT, {})

    with pytest.raises(ProviderStop, match=r"^--llm gpt-4o: OPENAI_API_KEY not set: Missing credentials"):
        asyncio.run(connect())


def test_a_name_that_nobody_knows_needs_an_endpoint() -> None:
    async def connect() -> None:
        async with llms_connect.connect(LLMSpec(model="no-such"), Execution(cache=Path("c"))):
            pass

    with pytest.raises(ProviderStop, match=r"^--llm no-such: litellm knows no such model; write PROVIDER/MODEL"):
        asyncio.run(connect())


def test_many_at_once_and_one_loop_after_another() -> None:
    async def sixteen(url: str) -> list[Completion]:
        how = Execution(cache=Path("c"), api_base=url, host=Host(timeout=10))
        async with llms_connect.connect(LLMSpec(model="gpt-x"), how) as llm:
            return await asyncio.gather(*(llm(PROMPT, {}) for _ in range(16)))

    with Stub(lambda request, number: Reply(delay=0.05)) as stub:
        for _ in range(3):
            assert len(asyncio.run(sixteen(stub.url))) == 16
    assert len(stub.asked) == 48
    assert stub.most_at_once > 4


SCRIPT = """
import asyncio, sys
from pathlib import Path
from cascade.llms.connect import connect
from cascade.errors import CascadeError
from cascade.types import *

async def main():
    how = Execution(cache=Path("c"), api_base=sys.argv[1], host=Host(retries=0))
    async with connect(LLMSpec(model="gpt-x"), how) as llm:
        for _ in range(3):
            try:
                await llm(Prompt(messages=({"role": "user", "content": "x"},), order=("a", "b")), {})
            except CascadeError:
                pass

asyncio.run(main())
asyncio.run(main())
"""


def test_nothing_is_printed_or_left_open() -> None:
    with Stub(lambda request, number: Reply(status=500) if number % 2 else Reply()) as stub:
        command = [sys.executable, "-W", "error", "-c", SCRIPT, stub.url]
        root = str(Path(llms_connect.__file__).parents[2])
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=60, env={"PYTHONPATH": root}, check=False
        )
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)
