"""What captions cost beside the tools they are made with, side by side in one run, on the same clips and weights.

Speech: the `whisper` command over the demo set's clips, greedy (temperature 0, no fallback: our settings) and as it
comes (5 beams), beside `cascade caption` with `whisper` and with `faster-whisper`, each a whole process; and, without
starting up, openai-whisper file by file beside our `whisper`. Real tiny.en weights, or random ones of another size
(`--size large-v3`), which never stop talking. The command needs ffmpeg: on the path, or the package imageio-ffmpeg.

Sound: msclap's `generate_caption` beside our `clapcap` on the same windows of 7 s, with random weights of the real
sizes (GPT-2 of 12 layers), whose captions must be equal.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

DEMO = ROOT / "cascade" / "datasets" / "demo_set" / "audio"
# What is said in the demo set, by clip.
SPOKEN = {
    "01": "Good morning. How much are the apples? They are three dollars a bag. Then I will take four bags, please. "
    "Of course. Here you are.",
    "04": "I am going to get wet. I forgot my umbrella. What a terrible day.",
    "05": "The concert starts at eight o'clock. The doors open one hour earlier.",
    "07": "Ladies and gentlemen, please take your seats. The play begins in two minutes.",
    "08": "Mother, my train leaves at nine. I have to go. Did you pack your warm coat, dear? Yes, I did. Please say "
    "goodbye to dad for me.",
    "11": "Hello, this is Doctor Brown's office. I cannot come on Monday. Is Thursday possible? Yes. See you on "
    "Thursday.",
    "12": "Listen to this scale. Now it is your turn to play it.",
    "14": "Did you hear that? Nobody has lived in this old house for a hundred years.",
    "15": "The bus is late again today. It is late on every rainy day. Then we should walk to the office. That is a "
    "good idea.",
    "18": "Attention please. The train to London will not leave from platform two. It will leave from platform six.",
    "19": "Now blow out all the candles, grandma, and make a wish.",
    "21": "Look, here she comes! What a beautiful white dress.",
    "22": " ".join(["Please close the window before you leave."] * 3),
    "25": "Wake up! It is six o'clock already. You know what people say. The early bird",
    "29": "There are ten seconds left. He dribbles past two players. He jumps and shoots. The ball goes through the "
    "hoop! Three points, and the game is over.",
}
GREEDY = (
    "--temperature 0 --temperature_increment_on_fallback None --beam_size None --best_of None "
    "--condition_on_previous_text False"
)


def timed(command: Sequence[str], **environment: str) -> dict[str, Any]:
    """Run a whole process and return its output, `seconds`, and peak memory in `mb`."""
    started = time.perf_counter()
    with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as complaints:
        child = subprocess.Popen(command, stdout=said, stderr=complaints, env={**os.environ, **environment})
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - started
        if child.returncode:
            complaints.seek(0)
            raise SystemExit(f"{' '.join(command)[:200]} failed:\n{complaints.read().decode()[-2000:]}")
        said.seek(0)
        return {"out": said.read().decode(), "seconds": seconds, "mb": used.ru_maxrss / 1024}


def worker(job: str, **given: Any) -> dict[str, Any]:
    """One of the jobs below in a process of its own: its result, with peak memory in `mb`."""
    done = timed([sys.executable, __file__, "--worker", job, json.dumps(given)])
    return {**json.loads(done["out"].splitlines()[-1]), "mb": done["mb"]}


# Speech


def speech(folder: Path, clips: list[Path], checkpoint: Path, device: str, *, beams: bool) -> dict[str, float]:
    """Figures of every transcriber over the clips."""
    runs = {
        "whisper_cli": _cli(folder / "greedy", clips, checkpoint, device, GREEDY),
        "whisper": _ours(folder, clips, f"speech=whisper(model={checkpoint})", device),
        "sequential": worker("sequential", clips=[*map(str, clips)], checkpoint=str(checkpoint), device=device),
        "batched": worker("batched", clips=[*map(str, clips)], checkpoint=str(checkpoint), device=device),
    }
    if checkpoint.stem == "tiny.en":
        runs["faster_whisper"] = _ours(folder, clips, "speech=faster-whisper", device)
    if beams:
        runs["whisper_cli_5_beams"] = _cli(folder / "beams", clips, checkpoint, device, "")
    length = _length(clips)
    found: dict[str, float] = {}
    for name, run in runs.items():
        found |= {
            f"{name}_s": run["seconds"],
            f"{name}_clips_per_s": len(clips) / run["seconds"],
            f"{name}_real_time_factor": run["seconds"] / length,
            f"{name}_mb": run["mb"],
        }
        if checkpoint.stem == "tiny.en":
            found[f"{name}_word_error_rate"] = error_rate(run["texts"])
    ours = [runs[name]["seconds"] for name in ("whisper", "faster_whisper") if name in runs]
    found["speech_best_over_whisper_cli"] = runs["whisper_cli"]["seconds"] / min(ours)
    found["whisper_batched_over_sequential"] = runs["sequential"]["seconds"] / runs["batched"]["seconds"]
    return found


def _cli(folder: Path, clips: list[Path], checkpoint: Path, device: str, settings: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "whisper", *map(str, clips), "--model", str(checkpoint), "--device", device]
    told = ["--fp16", "False", "--output_dir", str(folder), "--output_format", "txt", "--verbose", "False"]
    english = ["--language", "en"] if checkpoint.stem.endswith(".en") else []
    run = timed([*command, *told, *english, *settings.split()], PATH=f"{_ffmpeg(folder)}:{os.environ['PATH']}")
    return {**run, "texts": {clip.stem: (folder / f"{clip.stem}.txt").read_text() for clip in clips}}


def _ffmpeg(folder: Path) -> str:
    """Return a folder with ffmpeg in it."""
    folder.mkdir(parents=True, exist_ok=True)
    if not shutil.which("ffmpeg"):
        if find_spec("imageio_ffmpeg") is None:
            raise SystemExit("the whisper command needs ffmpeg: install it, or pip install imageio-ffmpeg")
        import imageio_ffmpeg

        (folder / "ffmpeg").symlink_to(imageio_ffmpeg.get_ffmpeg_exe())
    return str(folder)


def _ours(folder: Path, clips: list[Path], captions: str, device: str) -> dict[str, Any]:
    """`cascade caption` over the clips with an empty cache."""
    rows = [{"id": clip.stem, "audio_path": str(clip), "question": "?"} for clip in clips]
    file = folder / "clips.jsonl"
    file.write_text("".join(json.dumps({**row, "choices": ["a", "b"], "answer": "a"}) + "\n" for row in rows))
    command = [sys.executable, "-m", "cascade", "caption", "--dataset", str(file), "--captions", captions]
    cache = tempfile.mkdtemp(dir=folder)
    run = timed([*command, "--device", device, "--cache", cache, "--format", "jsonl"], PYTHONPATH=str(ROOT))
    told = map(json.loads, run["out"].splitlines())
    return {**run, "texts": {one["id"]: one["text"] for one in told}}


def error_rate(texts: dict[str, str]) -> float:
    """Word errors over the words spoken, after Whisper's own normalization of English; noise and music count too."""
    from whisper.normalizers import EnglishTextNormalizer

    plain = EnglishTextNormalizer()
    pairs = [(plain(SPOKEN.get(clip, "")).split(), plain(text).split()) for clip, text in texts.items()]
    return sum(_distance(*pair) for pair in pairs) / sum(len(spoken) for spoken, _ in pairs)


def _distance(spoken: list[str], heard: list[str]) -> int:
    row = list(range(len(heard) + 1))
    for at, word in enumerate(spoken, 1):
        before, row[0] = row[0], at
        for place, other in enumerate(heard, 1):
            before, row[place] = row[place], min(row[place] + 1, row[place - 1] + 1, before + (word != other))
    return row[-1]


def _length(clips: Sequence[Path]) -> float:
    from cascade.io import audio

    return sum(audio.probe(clip).duration_s for clip in clips)


def sequential(clips: list[str], checkpoint: str, device: str) -> dict[str, Any]:
    """openai-whisper file by file, greedy."""
    import whisper

    from cascade.io import audio

    model = whisper.load_model(checkpoint, device=device)
    language = None if model.is_multilingual else "en"
    started, texts = time.perf_counter(), {}
    for clip in map(Path, clips):
        samples = audio.read(clip, 16_000)
        said = model.transcribe(
            samples, temperature=0.0, language=language, fp16=False, condition_on_previous_text=False
        )
        texts[clip.stem] = said["text"]
    return {"seconds": time.perf_counter() - started, "texts": texts}


def batched(clips: list[str], checkpoint: str, device: str) -> dict[str, Any]:
    """Our `whisper` over the same files."""
    return _heard("speech", "whisper", {"model": checkpoint}, clips, device)


def _heard(slot: str, name: str, given: dict[str, Any], clips: list[str], device: str) -> dict[str, Any]:
    from cascade.captioners.registry import Engine
    from cascade.captioning.backends import local
    from cascade.types import Host

    spec, files = Engine(name).specify(slot, given)
    host = Host(device=device, files=files)
    captioner = Engine(name).build(spec, host)  # what loading takes is not measured
    workers, paths = Engine(name).workers(spec, host), [*map(Path, clips)]
    started = time.perf_counter()
    told: dict[Path, Any] = dict(
        local.caption_in_threads(captioner, paths, workers) if workers else zip(paths, captioner(paths), strict=True)
    )
    seconds = time.perf_counter() - started
    texts = {path.stem: told[path].text for path in paths}
    windows = {path.stem: [one.get("text", "") for one in told[path].meta["windows"]] for path in paths}
    return {"seconds": seconds, "texts": texts, "windows": windows}


# Sound


def sound(folder: Path, device: str, *, quick: bool) -> dict[str, float]:
    """Figures of both captioners on the same windows; theirs hears some of them, each a file of 7 s."""
    import numpy as np
    import soundfile

    from tests.support import clap_weights

    weights = clap_weights.write(folder / "clap", layers=12, words=50_257, lively=True)
    long, short = (2, 1) if quick else (8, 3)
    draw, pieces = np.random.default_rng(0), []
    for number in range(2 * long):
        wave = np.sin(np.cumsum(draw.uniform(0.01, 0.3, 7 * 441).repeat(100))) * draw.uniform(0.05, 0.5)
        pieces.append((wave + draw.normal(0, 0.02, 7 * 44_100)).astype("float32"))
        soundfile.write(folder / f"w{number}.wav", pieces[-1], 44_100, subtype="FLOAT")
    clips: list[list[str]] = []
    for name, size in (("long", long), ("short", short)):
        clips.append([])
        for number in range(2):
            clips[-1].append(str(folder / f"{name}{number}.wav"))
            joined = np.concatenate(pieces[number * long : number * long + size])
            soundfile.write(clips[-1][-1], joined, 44_100, subtype="FLOAT")
    longest, some = (16, 1) if quick else (67, 3)
    asked = {"weights": str(weights), "device": device, "longest": longest}
    theirs = worker("msclap", clips=[str(folder / f"w{number}.wav") for number in range(some)], **asked)
    ours, brief = (worker("clapcap", clips=names, **asked) for names in clips)
    equal = [a == b for a, b in zip(theirs["texts"], ours["windows"]["long0"] + ours["windows"]["long1"], strict=False)]
    each = theirs["seconds"] / some
    return {
        "msclap_s_per_window": each,
        "msclap_mb": theirs["mb"],
        "clapcap_s_per_window": ours["seconds"] / (2 * long),
        "clapcap_mb": ours["mb"],
        "clapcap_captions_equal": sum(equal) / len(equal),
        "clapcap_batched_over_msclap": each / (ours["seconds"] / (2 * long)),
        "clapcap_short_clips_over_msclap": each / (brief["seconds"] / (2 * short)),
    }


def msclap(clips: list[str], weights: str, device: str, longest: int) -> dict[str, Any]:
    """msclap's own captions; only its decoding of files is replaced, which does not load beside a CPU torch."""
    import soundfile
    import torch

    from cascade.captioners.clap.clapcap import tidy
    from cascade.captioners.clap.model import Clap
    from cascade.types import Host

    clap = Clap("clapcap", "b2:w", "", Host(device=device, files={"b2:w": Path(weights)}), "sound")
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    clap.wrapper.read_audio = lambda path, resample: (
        torch.from_numpy(soundfile.read(path, dtype="float32")[0]),
        44_100,
    )
    started = time.perf_counter()
    texts = [tidy(clap.wrapper.generate_caption([clip], entry_length=longest)[0]) for clip in clips]
    return {"seconds": time.perf_counter() - started, "texts": texts}


def clapcap(clips: list[str], weights: str, device: str, longest: int) -> dict[str, Any]:
    """Our captions of the same."""
    return _heard("sound", "clapcap", {"weights": weights, "entry_length": longest}, clips, device)


JOBS: dict[str, Callable[..., dict[str, Any]]] = {
    "sequential": sequential,
    "batched": batched,
    "msclap": msclap,
    "clapcap": clapcap,
}


def figures(given: argparse.Namespace, folder: Path) -> Iterator[tuple[str, float]]:
    """Every figure of the parts that were asked for."""
    from tests.support import whisper_weights

    if given.part != "sound":
        clips = sorted(DEMO.glob("*.flac"))[:: 3 if given.quick else 1]
        make = whisper_weights.write if given.size == "tiny.en" else whisper_weights.untrained
        checkpoint = make(folder / f"{given.size}.pt")
        yield from speech(folder, clips, checkpoint, given.device, beams=not given.quick).items()
    if given.part != "speech":
        yield from sound(folder, given.device, quick=given.quick).items()


def main() -> None:
    """Print the figures, as text or as one flat JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a third of the clips, short captions")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument("--part", choices=("both", "speech", "sound"), default="both")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--size", default="tiny.en", help="tiny.en's real weights, or random ones of a Whisper size")
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        job, told = given.worker
        print(json.dumps(JOBS[job](**json.loads(told))))
        return
    with tempfile.TemporaryDirectory() as folder:
        found = {name: round(value, 4) for name, value in figures(given, Path(folder))}
    print(json.dumps(found) if given.json else "\n".join(f"{name:<36} {value}" for name, value in found.items()))


if __name__ == "__main__":
    main()
