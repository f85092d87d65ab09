"""What asking costs: a run's questions against a loopback server that takes a fixed time to reply.

In one run, on the same questions and server: `cascade`'s own fan-out (with its log), litellm alone in a plain semaphore
loop, and inspect_ai's client, by the Python that `--inspect` names: it wants another openai than litellm does. Wall
time is from the 33rd request to the last reply, as the server sees them, over the ideal time: what starting takes is
left out. CPU is the asking process's own, a call. Memory is the peak at 1000 questions and at 10 000, `cascade` alone.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

LATENCY = 0.25  # seconds a reply takes
FLYING = 32
SERVER = """
import asyncio, json, re, sys, time
latency = float(sys.argv[1])
flying = int(sys.argv[2])
blank = {"warm": 0.0, "last": 0.0, "count": 0, "now": 0, "most": 0, "connections": 0}
state = dict(blank)
def reply(**message):
    return json.dumps({"id": "1", "object": "chat.completion", "created": 1, "model": "gpt-x",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", **message}}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 5, "total_tokens": 105}}).encode()
answer = reply(content="Answer: rain")
part = {"name": "transcribe", "arguments": json.dumps({"start": 0, "end": 0.5})}
request = reply(content="", tool_calls=[{"id": "1", "type": "function", "function": part}])
def sent(text):
    return b"HTTP/1.1 200 OK\\r\\nContent-Type: application/json\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(text) + text
async def serve(reader, writer):
    state["connections"] += 1
    try:
        while line := await reader.readline():
            length = 0
            while (header := await reader.readline()) not in (b"\\r\\n", b""):
                name, _, value = header.partition(b":")
                if name.lower() == b"content-length":
                    length = int(value)
            given = await reader.readexactly(length)
            if line.startswith(b"GET"):
                writer.write(sent(json.dumps(state).encode()))
                state.update(blank)
                continue
            state["count"] += 1
            if state["count"] == flying + 1:
                state["warm"] = time.time()
            state["now"] += 1
            state["most"] = max(state["most"], state["now"])
            await asyncio.sleep(latency)
            state["now"] -= 1
            state["last"] = time.time()
            asks = re.search(rb'"tool_choice": ?"auto"', given)  # the model may ask in this round
            writer.write(sent(request if asks else answer))
            await writer.drain()
    except (ConnectionError, asyncio.IncompleteReadError):
        pass
async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()
asyncio.run(main())
"""


def questions(n: int) -> Iterator[dict[str, Any]]:
    """Rows of a dataset, with captions of a usual length in their questions."""
    for number in range(n):
        words = " ".join(f"word{(number * 31 + at) % 977}" for at in range(120))
        row = {"id": f"q{number}", "audio_path": "-", "question": f"Number {number}: {words}?"}
        yield {**row, "choices": ["rain", "hail", "snow", "wind"], "answer": "rain"}


def ours(url: str, n: int) -> None:
    """`cascade run`, blind, as the command line does it."""
    from cascade.cli.app import main

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "many.jsonl")
        file.write_text("".join(json.dumps(row) + "\n" for row in questions(n)))
        os.chdir(folder)
        flags = ["--captions", "none", "--llm", "gpt-x", "--api-base", f"{url}/v1", "--concurrency", str(FLYING)]
        sys.argv = ["cascade", "run", "--dataset", str(file), *flags, "--out", "out"]
        try:
            main()
        except SystemExit as done:
            if done.code:
                raise


def litellm_alone(url: str, n: int) -> None:
    """litellm's `acompletion` under a semaphore, its replies in a list."""
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    import litellm

    async def one(text: str) -> Any:
        messages = [{"role": "user", "content": text}]
        return await litellm.acompletion("openai/gpt-x", messages=messages, api_base=f"{url}/v1", api_key="none")

    asyncio.run(_together(one, n))


def inspect_alone(url: str, n: int) -> None:
    """inspect_ai's `generate` under a semaphore, its replies in a list."""
    from inspect_ai.model import GenerateConfig, get_model  # type: ignore[import-not-found,unused-ignore]

    config = GenerateConfig(max_connections=FLYING)
    model = get_model("openai/gpt-x", base_url=f"{url}/v1", api_key="none", config=config, responses_api=False)
    asyncio.run(_together(model.generate, n))


async def _together(ask: Callable[[str], Awaitable[Any]], n: int) -> list[Any]:
    turn = asyncio.Semaphore(FLYING)

    async def one(text: str) -> Any:
        async with turn:
            return await ask(text)

    return await asyncio.gather(*(one(str(row["question"])) for row in questions(n)))


JOBS: dict[str, Callable[[str, int], None]] = {"cascade": ours, "litellm": litellm_alone, "inspect": inspect_alone}


def measured(job: str, url: str, n: int, python: str = sys.executable) -> dict[str, float]:
    """Run a job in a process of its own; return wall seconds from the first request, CPU seconds a call, peak MB."""
    from urllib.request import urlopen

    command = [python, __file__, "--worker", job, url, str(n)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "NO_PROXY": "127.0.0.1"})
    if done.returncode:
        raise SystemExit(f"{job} failed:\n{done.stderr[-2000:]}")
    told = json.loads(done.stdout.splitlines()[-1])
    state = json.loads(urlopen(f"{url}/state").read())
    if state["count"] != n or state["most"] > FLYING:
        raise SystemExit(f"{job}: {state['count']} requests, {state['most']} at once; {n} and {FLYING} were asked for")
    return {
        "wall": state["last"] - state["warm"],
        "connections": state["connections"],
        "cpu": told["cpu"] / n,
        "mb": told["mb"],
    }


def _work(job: str, url: str, n: int) -> None:
    import_only = {"cascade": "cascade.cli.app", "litellm": "litellm", "inspect": "inspect_ai.model"}[job]
    __import__(import_only)
    if job == "cascade":  # it imports litellm when it asks
        from cascade.llms.litellm import _library

        _library()
    before = time.process_time()
    JOBS[job](url, n)
    cpu = time.process_time() - before
    print(json.dumps({"cpu": cpu, "mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))


def figures(url: str, inspect: str | None, *, quick: bool) -> dict[str, float]:
    """All figures, by name."""
    n, found = (200 if quick else 400), dict[str, float]()
    ideal = n / FLYING * LATENCY
    jobs = [job for job in JOBS if job != "inspect" or inspect]
    runs = {
        job: measured(job, url, n + FLYING, inspect if inspect and job == "inspect" else sys.executable) for job in jobs
    }
    for job, run in runs.items():
        found |= {f"{job}_wall_over_ideal": run["wall"] / ideal, f"{job}_cpu_ms_a_call": 1000 * run["cpu"]}
        found[f"{job}_connections"] = run["connections"]
    for job in jobs[1:]:
        found[f"cpu_over_{job}"] = runs["cascade"]["cpu"] / runs[job]["cpu"]
        found[f"wall_over_{job}"] = runs["cascade"]["wall"] / runs[job]["wall"]
    small, large = (300, 1000) if quick else (1000, 10_000)
    memory = {count: measured("cascade", url, count)["mb"] for count in (small, large)}
    found |= {f"mb_at_{count}": mb for count, mb in memory.items()}
    found["mb_a_thousand_more"] = (memory[large] - memory[small]) / (large - small) * 1000
    return found


def main() -> None:
    """Print the figures, as text or as one flat JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer questions")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument("--inspect", metavar="PYTHON", help="an interpreter that has inspect_ai and its openai")
    parser.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        _work(given.worker[0], given.worker[1], int(given.worker[2]))
        return
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(LATENCY), str(FLYING)], stdout=subprocess.PIPE, text=True
    )
    try:
        port = server.stdout.readline().strip() if server.stdout else ""
        found = {
            name: round(value, 3)
            for name, value in figures(f"http://127.0.0.1:{port}", given.inspect, quick=given.quick).items()
        }
    finally:
        server.kill()
        server.wait()
    print(json.dumps(found) if given.json else "\n".join(f"{name:<28} {value}" for name, value in found.items()))


if __name__ == "__main__":
    main()
