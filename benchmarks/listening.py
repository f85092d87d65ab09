"""Measure the time that question-aware evidence takes: many questions about one clip, and a model that asks in rounds.

One run, against a loopback server with a fixed reply time, measures `cascade caption` with a listener that is shown the
question, on one clip for all questions and on one clip per question; litellm alone in a plain semaphore loop, with the
same audio, encoded in advance; and `cascade run` with two rounds. The wall time from the 17th request to the last
reply, as the server sees them, is divided by the ideal time; it does not include the start.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any
from urllib.request import urlopen

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

import asking  # noqa: E402 - it lies beside this script

FLYING = 16  # calls in flight, the default of `--concurrency`
SECONDS = 20.0  # the length of a clip, about MMAR's median
LISTENER = "a=audio-llm(model=la,question=true)"


def write_questions(folder: Path, n: int, clips: int) -> Path:
    """Write a dataset of `n` questions about this number of clips of stereo noise, and return its file."""
    import numpy as np
    import soundfile

    draw = np.random.default_rng(0)
    for number in range(clips):
        soundfile.write(folder / f"{number}.flac", draw.normal(0, 0.1, (round(SECONDS * 44_100), 2)), 44_100)
    rows = []
    for number in range(n):
        row = {"id": f"q{number}", "audio_path": f"{number % clips}.flac", "question": f"What is it, {number}?"}
        rows.append({**row, "choices": ["rain", "hail", "snow", "wind"], "answer": "rain"})
    file = folder / "many.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def litellm_alone(url: str, n: int, clip: str) -> None:
    """Ask `n` questions about one clip by litellm's `acompletion` under a semaphore."""
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    import litellm

    from cascade.io.encoding import AudioForm, audio_part, encode

    sent, turn = audio_part(*encode(Path(clip), AudioForm())), asyncio.Semaphore(FLYING)

    async def ask(number: int) -> Any:
        async with turn:
            content = [{"type": "text", "text": f"What is it, {number}?"}, sent]
            messages = [{"role": "user", "content": content}]
            return await litellm.acompletion("openai/la", messages=messages, api_base=f"{url}/v1", api_key="none")

    async def ask_all() -> None:
        await asyncio.gather(*map(ask, range(n)))

    asyncio.run(ask_all())


def wall_over_ideal(url: str, command: list[str], folder: Path, calls: int) -> float:
    """Run a command that makes this number of calls, and return its wall time divided by the ideal time."""
    environment = {**os.environ, "NO_PROXY": "127.0.0.1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, *command], cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    state = json.loads(urlopen(f"{url}/state").read())
    if state["count"] != calls or state["most"] > FLYING:
        raise SystemExit(f"{state['count']} requests, {state['most']} at once; {calls} and {FLYING} were asked for")
    return float((state["last"] - state["warm"]) / ((calls - FLYING) / FLYING * asking.LATENCY))


def figures(url: str, folder: Path, *, quick: bool) -> dict[str, float]:
    """Return all figures, by name."""
    n, clips, asked = (100, 40, 100) if quick else (399, 100, 1000)
    ratios: dict[str, float] = {}
    for name, calls, own in (("one_clip", n, 1), ("own_clips", clips, clips)):
        place = folder / name
        place.mkdir()
        file = str(write_questions(place, calls, own))
        command = ["-m", "cascade", "caption", "--dataset", file, "--captions", LISTENER, "--format", "jsonl"]
        ratios[f"{name}_wall_over_ideal"] = wall_over_ideal(
            url, [*command, "--caption-param", f"a.api_base={url}/v1"], place, calls
        )
    place = folder / "one_clip"
    alone = [__file__, "--worker", url, str(n), str(place / "0.flac")]
    ratios["litellm_wall_over_ideal"] = wall_over_ideal(url, alone, place, n)
    ratios["one_clip_over_litellm"] = ratios["one_clip_wall_over_ideal"] / ratios["litellm_wall_over_ideal"]
    command = ["-m", "cascade", "run", "--dataset", str(write_questions(place, asked, 1)), "--captions", "none"]
    command += ["--llm", "gpt-x", "--api-base", f"{url}/v1", "--rounds", "2", "--rounds-with", "transcribe=fake"]
    ratios["two_rounds_wall_over_ideal"] = wall_over_ideal(url, [*command, "--out", "run"], place, 3 * asked)
    return ratios


def main() -> None:
    """Print the figures, as text or as one flat JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer questions")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        litellm_alone(options.worker[0], int(options.worker[1]), options.worker[2])
        return
    server = subprocess.Popen(
        [sys.executable, "-c", asking.SERVER, str(asking.LATENCY), str(FLYING)], stdout=subprocess.PIPE, text=True
    )
    try:
        port = server.stdout.readline().strip() if server.stdout else ""
        with tempfile.TemporaryDirectory() as folder:
            ratios = figures(f"http://127.0.0.1:{port}", Path(folder), quick=options.quick)
    finally:
        server.kill()
        server.wait()
    ratios = {name: round(value, 3) for name, value in ratios.items()}
    print(json.dumps(ratios) if options.json else "\n".join(f"{name:<28} {value}" for name, value in ratios.items()))


if __name__ == "__main__":
    main()
