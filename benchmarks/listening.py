"""What evidence that knows the question costs: many questions on one clip, and a model that asks in rounds.

In one run, against a loopback server that takes a fixed time to reply: `cascade caption` with a listener that is shown
the question, on one clip for all questions and on a clip for each; litellm alone in a plain semaphore loop, with the
same audio in its messages, encoded in advance; and `cascade run` with two rounds. Wall time is from the 17th request to
the last reply, as the server sees them, over the ideal time: what starting takes is left out.
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

FLYING = 16  # as `--concurrency` is unless given
SECONDS = 20.0  # of a clip, as is usual in MMAR
LISTENER = "a=audio-llm(model=la,question=true)"


def write_questions(folder: Path, n: int, clips: int) -> Path:
    """Write a dataset of `n` questions on so many clips of stereo noise."""
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
    """litellm's `acompletion` under a semaphore, each question beside the same audio."""
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
    """Run a command that makes so many calls, and return its wall time over the ideal time."""
    environment = {**os.environ, "NO_PROXY": "127.0.0.1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, *command], cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    state = json.loads(urlopen(f"{url}/state").read())
    if state["count"] != calls or state["most"] > FLYING:
        raise SystemExit(f"{state['count']} requests, {state['most']} at once; {calls} and {FLYING} were asked for")
    return float((state["last"] - state["warm"]) / ((calls - FLYING) / FLYING * asking.LATENCY))


def figures(url: str, folder: Path, *, quick: bool) -> dict[str, float]:
    """All figures, by name."""
    n, clips, asked = (100, 40, 100) if quick else (399, 100, 1000)
    found: dict[str, float] = {}
    for name, calls, own in (("one_clip", n, 1), ("own_clips", clips, clips)):
        place = folder / name
        place.mkdir()
        file = str(write_questions(place, calls, own))
        command = ["-m", "cascade", "caption", "--dataset", file, "--captions", LISTENER, "--format", "jsonl"]
        found[f"{name}_wall_over_ideal"] = wall_over_ideal(
            url, [*command, "--caption-param", f"a.api_base={url}/v1"], place, calls
        )
    place = folder / "one_clip"
    alone = [__file__, "--worker", url, str(n), str(place / "0.flac")]
    found["litellm_wall_over_ideal"] = wall_over_ideal(url, alone, place, n)
    found["one_clip_over_litellm"] = found["one_clip_wall_over_ideal"] / found["litellm_wall_over_ideal"]
    command = ["-m", "cascade", "run", "--dataset", str(write_questions(place, asked, 1)), "--captions", "none"]
    command += ["--llm", "gpt-x", "--api-base", f"{url}/v1", "--rounds", "2", "--rounds-with", "transcribe=fake"]
    found["two_rounds_wall_over_ideal"] = wall_over_ideal(url, [*command, "--out", "run"], place, 3 * asked)
    return found


def main() -> None:
    """Print the figures, as text or as one flat JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer questions")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        litellm_alone(given.worker[0], int(given.worker[1]), given.worker[2])
        return
    server = subprocess.Popen(
        [sys.executable, "-c", asking.SERVER, str(asking.LATENCY), str(FLYING)], stdout=subprocess.PIPE, text=True
    )
    try:
        port = server.stdout.readline().strip() if server.stdout else ""
        with tempfile.TemporaryDirectory() as folder:
            found = figures(f"http://127.0.0.1:{port}", Path(folder), quick=given.quick)
    finally:
        server.kill()
        server.wait()
    found = {name: round(value, 3) for name, value in found.items()}
    print(json.dumps(found) if given.json else "\n".join(f"{name:<28} {value}" for name, value in found.items()))


if __name__ == "__main__":
    main()
