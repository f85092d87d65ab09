"""Captioners on a real Ray of two nodes: the same words as here, whatever is lost on the way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ray")

from cascade.captioning.cache import CaptionCache
from tests.support.commands import cascade
from tests.support.ray_cluster import Nodes, built, environment, short_folder, start, until

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    with short_folder() as folder:
        cluster = Nodes(folder, 2)
        yield cluster
        cluster.close()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "notes").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def clips(here: Path, *texts: str) -> None:
    """A dataset with a clip for each text."""
    rows = []
    for number, text in enumerate(texts):
        (here / f"{number}.wav").write_text(text)
        row = {"id": f"q{number}", "audio_path": f"{number}.wav", "question": "?", "choices": ["a", "b"], "answer": "a"}
        rows.append(json.dumps(row) + "\n")
    (here / "set.jsonl").write_text("".join(rows))


def command(here: Path, *more: str, **params: Any) -> list[str | Path]:
    given = ",".join(f"{name}={value}" for name, value in {"notes": here / "notes", **params}.items())
    fixed = ["caption", "--dataset", "set.jsonl", "--captions", f"sound=trying({given})", "--cache", "cache"]
    return [*fixed, "--format", "jsonl", "--backend", "ray", *more]


def ended(job: subprocess.Popen[str], code: int = 0) -> list[dict[str, Any]]:
    out, err = job.communicate(timeout=120)
    assert job.returncode == code, err
    assert all(line.startswith("{") for line in out.splitlines()), out
    return [json.loads(line) for line in out.splitlines()]


def kept(here: Path) -> int:
    if not (here / "cache" / "cache.db").exists():
        return 0
    with closing(CaptionCache(here / "cache")) as cache:
        return len(cache)


def heard_clips(here: Path) -> list[str]:
    file = here / "notes" / "heard"
    return file.read_text().splitlines() if file.exists() else []


def test_every_clip_once_and_an_engine_a_worker(nodes: Nodes, here: Path) -> None:
    clips(here, *(f"clip {number}" for number in range(40)))
    rows = ended(start(nodes.environment, here, *command(here, "--batch", "4", seconds=0.02)))
    assert [row["text"] for row in rows] == [f"clip {number}" for number in range(40)]
    assert sorted(heard_clips(here)) == sorted(f"{number}.wav" for number in range(40))
    assert len(built(here / "notes")) == 2
    assert kept(here) == 40
    assert ended(start(nodes.environment, here, *command(here, seconds=0.02))) == rows
    assert len(heard_clips(here)) == 40


def test_the_pool_is_as_large_as_was_said(nodes: Nodes, here: Path) -> None:
    clips(here, *(f"clip {number}" for number in range(8)))
    ended(start(nodes.environment, here, *command(here, "--worker", "sound.pool=1", "--worker", "num_cpus=0.5")))
    assert len(built(here / "notes")) == 1
    process = start(nodes.environment, here, *command(here, "--worker", "sound.pol=1"))
    assert process.communicate()[1].startswith("cascade: unknown worker's number 'pol' (did you mean 'pool'?)")
    assert cascade("caption", "--captions", "sound=fake", "--worker", "speech.pool=1").exit_code == 2


def test_bad_clips_cost_a_failure_each_as_they_do_here(nodes: Nodes, here: Path) -> None:
    clips(here, "one", "bad", "three", "four", "bad too", "six")
    rows = ended(start(nodes.environment, here, *command(here, "--batch", "3")), 3)
    local = ended(
        start(nodes.environment, here, *command(here, "--batch", "3", "--backend", "local", "--cache", "c2")), 3
    )
    assert [row.get("error", row.get("text")) for row in rows] == [
        "one", {"kind": "audio", "message": "1.wav: no sound in it"}, "three",
        "four", {"kind": "audio", "message": "4.wav: no sound in it"}, "six",
    ]  # fmt: skip
    assert local == rows


def test_too_much_at_once_is_halved(nodes: Nodes, here: Path) -> None:
    clips(here, *(f"clip {number}" for number in range(32)))
    rows = ended(start(nodes.environment, here, *command(here, "--worker", "pool=1", "--batch", "16", most=3)))
    assert len(rows) == len(heard_clips(here)) == 32


def test_a_worker_that_is_killed_costs_a_retry(nodes: Nodes, here: Path) -> None:
    clips(here, *(f"clip {number}" for number in range(40)))
    job = start(nodes.environment, here, *command(here, "--batch", "2", seconds=0.1))
    until(lambda: kept(here) >= 6)
    os.kill(built(here / "notes")[0], signal.SIGKILL)
    assert [row["text"] for row in ended(job)] == [f"clip {number}" for number in range(40)]
    assert len(built(here / "notes")) == 3
    assert 40 <= len(heard_clips(here)) <= 40 + 2 * 2


def test_a_clip_that_takes_its_worker_down_is_a_failure_and_costs_no_other(nodes: Nodes, here: Path) -> None:
    clips(here, "one", "die", "three", "die once", "five", "six")
    job = start(nodes.environment, here, *command(here, "--batch", "3"))
    out, err = job.communicate(timeout=120)
    rows = [json.loads(line) for line in out.splitlines()]
    assert [row["id"] for row in rows if "error" in row] == ["q1"] and job.returncode == 3
    lines = [line for line in err.splitlines() if not line.startswith("sound by trying: ")]  # progress
    assert lines.pop() == "q1: sound: 1.wav: 3 workers were lost while they captioned it"
    assert lines and all(line.startswith("sound=trying: a worker was lost (Worker ") for line in lines), err
    assert rows[1]["error"]["message"] == "1.wav: 3 workers were lost while they captioned it"
    assert rows[3]["text"] == "die once"


def test_a_node_that_is_killed_costs_a_retry_and_a_new_one_is_used(nodes: Nodes, here: Path) -> None:
    clips(here, *(f"clip {number}" for number in range(60)))
    job = start(nodes.environment, here, *command(here, "--batch", "2", seconds=0.2))
    until(lambda: kept(here) >= 6)
    nodes.kill(nodes.others.pop())
    until(lambda: kept(here) >= 16)
    nodes.others.append(nodes.add())
    assert [row["text"] for row in ended(job)] == [f"clip {number}" for number in range(60)]
    assert len(built(here / "notes")) == 3
    assert 60 <= len(heard_clips(here)) <= 60 + 2 * 2


def test_a_driver_that_is_killed_goes_on_where_it_was(nodes: Nodes, here: Path) -> None:
    clips(here, *(f"clip {number}" for number in range(40)))
    job = start(nodes.environment, here, *command(here, "--batch", "2", seconds=0.1))
    until(lambda: kept(here) >= 10)
    job.kill()
    job.communicate()
    before = kept(here)
    assert [row["text"] for row in ended(start(nodes.environment, here, *command(here, seconds=0.1)))] == [
        f"clip {number}" for number in range(40)
    ]
    assert 10 <= before < 40
    assert 40 <= len(heard_clips(here)) <= 40 + 2 * 2 * 2
    assert cascade("cache", "verify", "--cache", here / "cache").exit_code == 0


def test_a_driver_that_is_told_to_end_does_so_without_a_page_of_addresses(nodes: Nodes, here: Path) -> None:
    clips(here, *(f"clip {number}" for number in range(40)))
    job = start(nodes.environment, here, *command(here, "--batch", "2", seconds=0.1))
    until(lambda: kept(here) >= 2)
    job.terminate()
    _, err = job.communicate(timeout=60)
    assert (job.returncode, err) == (143, "")


def test_what_the_user_must_mend_is_one_line(nodes: Nodes, here: Path) -> None:
    clips(here, "one", "stop")
    job = start(nodes.environment, here, *command(here))
    _, err = job.communicate(timeout=60)
    assert job.returncode == 2
    assert "sound=trying, on a node of the Ray cluster: the weights are gone" in err and "Traceback" not in err


BYTES = """
import sys
from pathlib import Path
from cascade.captioning.backends import ray
from cascade.captioners.registry import Engine
from cascade.types import Host
spec, files = Engine("trying").specify("sound", {"notes": sys.argv[1]})
paths = [Path(f"/proc/self/cwd/{n}.wav") for n in range(6)] + [Path("/proc/self/cwd/gone.wav")]
for path, result in list(ray.run(spec, Host(batch=2), paths)):
    folder = getattr(result, "meta", {}).get("folder", "")
    print(path.name, getattr(result, "text", None) or result.message, "cascade-" in folder)
"""


def test_the_bytes_travel_where_a_worker_does_not_see_the_clips(nodes: Nodes, here: Path) -> None:
    """The driver's working folder has another name for every other process."""
    clips(here, *(f"clip {number}" for number in range(6)))
    process = subprocess.run([sys.executable, "-c", BYTES, str(here / "notes")], env=nodes.environment,
                          capture_output=True, text=True, check=False)  # fmt: skip
    lines = [f"{number}.wav clip {number} True" for number in range(6)]
    assert sorted(process.stdout.splitlines()) == [*lines, "gone.wav gone.wav: No such file or directory False"]


def same(rows: list[dict[str, Any]], local: list[dict[str, Any]]) -> bool:
    for row in (*rows, *local):
        row["meta"].pop("seconds", None)
    return rows == local and len(rows) > 0


def demo(nodes: Nodes, here: Path, captions: str, limit: str = "12") -> tuple[list[dict[str, Any]], ...]:
    """The demo set's first clips, heard on the cluster and here."""
    fixed = ["caption", "--dataset", "demo", "--limit", limit, "--captions", captions, "--format", "jsonl"]
    both = (["--backend", "ray", "--cache", "c1"], ["--backend", "local", "--cache", "c2"])
    return tuple(ended(start(nodes.environment, here, *fixed, *more)) for more in both)


@pytest.mark.parametrize("engine", ["fake", "signal", "events", "faster-whisper"])
def test_a_cluster_says_the_same_as_this_process(nodes: Nodes, here: Path, engine: str) -> None:
    pytest.importorskip("faster_whisper")
    assert same(*demo(nodes, here, f"speech={engine}"))


def test_whisper_says_the_same(nodes: Nodes, here: Path) -> None:
    pytest.importorskip("whisper")
    from tests.support import whisper_weights

    whisper_weights.write(here / "tiny.en.pt")
    assert same(*demo(nodes, here, "speech=whisper(model=./tiny.en.pt)"))


@pytest.fixture(scope="module")
def clap(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if find_spec("msclap") is None:  # importing it needs what the engine does before
        pytest.skip("msclap is not installed")
    from tests.support import clap_weights

    return clap_weights.write(tmp_path_factory.mktemp("clap"))


@pytest.mark.parametrize("engine", ["clapcap", "clap-sound", "clap-music"])
def test_clap_says_the_same(nodes: Nodes, here: Path, engine: str, clap: Path) -> None:
    more = ",entry_length=20" if engine == "clapcap" else ""
    assert same(*demo(nodes, here, f"sound={engine}(weights={clap}{more})", "6"))


def test_without_an_address_a_cluster_of_its_own_ends_with_the_work(here: Path) -> None:
    clips(here, "one", "two")
    with short_folder() as folder:
        rows = ended(start(environment(folder), here, *command(here, "--worker", "num_cpus=1")))
        assert [row["text"] for row in rows] == ["one", "two"]
        until(lambda: str(folder) not in running())
        gpu = start(environment_again(folder), here, *command(here, "--worker", "num_gpus=1", seconds=0.01))
        assert gpu.wait(60) == 2
        _, err = gpu.communicate()
        assert "no node of the Ray cluster has what a worker takes (num_cpus=1, num_gpus=1)" in err
        gone = start({**environment_again(folder), "RAY_ADDRESS": "127.0.0.1:1"}, here, *command(here, seconds=0.02))
        _, err = gone.communicate(timeout=120)
        assert gone.returncode == 2 and "nobody answers at RAY_ADDRESS=127.0.0.1:1" in err and "Traceback" not in err


def test_a_second_interrupt_waits_for_the_end_of_a_cluster_of_its_own(here: Path) -> None:
    clips(here, *(f"clip {number}" for number in range(40)))
    with short_folder() as folder:
        job = start(environment(folder), here, *command(here, "--batch", "2", "--worker", "num_cpus=1", seconds=0.3))
        until(lambda: kept(here) >= 2)
        job.send_signal(signal.SIGINT)
        time.sleep(0.5)
        job.send_signal(signal.SIGINT)
        _, err = job.communicate(timeout=60)
        last = err.splitlines()[-1]  # Lines of progress may stand before it.
        assert (job.returncode, last) == (130, "cascade: interrupted; the same command goes on from here")
        until(lambda: str(folder) not in running())


BLIND = """
import sys
class Without:
    def find_spec(self, name, path=None, target=None):
        if name == "cascade":
            raise ModuleNotFoundError("No module named 'cascade'")
if any("default_worker" in word for word in sys.orig_argv):
    sys.meta_path.insert(0, Without())
"""


def test_a_node_without_cascade_is_one_line(here: Path) -> None:
    clips(here, "one", "two")
    with short_folder() as folder:
        given = environment(folder)
        (folder / "plugins" / "sitecustomize.py").write_text(BLIND)
        job = start(given, here, *command(here, "--worker", "num_cpus=1"))
        _, err = job.communicate(timeout=120)
    assert job.returncode == 2 and err.startswith(
        "cascade: sound=trying: a node of the Ray cluster cannot import cascade (ModuleNotFoundError: No module named "
    )
    assert err.count("\n") == 1 and "install cascade" in err


def environment_again(folder: Path) -> dict[str, str]:
    import shutil

    for name in ("plugins", "home"):
        shutil.rmtree(folder / name)
    return environment(folder)


def running() -> str:
    """Every process's command line."""
    lines = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(file.read_text(errors="replace"))
        except OSError:
            continue
    return "\n".join(lines)
