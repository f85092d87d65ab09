"""Shards of a run, merged, are the run; what does not belong together is refused."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cascade.datasets.registry import split_shard
from cascade.errors import RunError, UserError
from cascade.runs import charges, directory, merge
from cascade.types import Item
from tests.support.commands import FAKE, ROOT, cascade, log_of, rows, write

ITEMS = [Item(id=f"q{n}", audio=f"{n % 700}.wav", question="?", choices=("a", "b"), answer="a") for n in range(1000)]


def test_every_item_is_in_one_shard_and_its_clips_other_questions_too() -> None:
    parts = [split_shard(f"{number}/7", ITEMS) for number in range(1, 8)]
    assert sorted(item.id for _, items in parts for item in items) == sorted(item.id for item in ITEMS)
    clips = [{item.audio for item in items} for _, items in parts]
    assert sum(map(len, clips)) == 700
    assert all(80 < len(shard) < 120 for shard in clips)
    for part, items in parts:
        assert [ITEMS[place] for place in part.positions()] == list(items)


def test_a_dataset_that_grows_keeps_its_shards() -> None:
    for number in range(1, 5):
        before, after = (split_shard(f"{number}/4", ITEMS[:n])[1] for n in (400, 1000))
        assert after[: len(before)] == before
    assert [item.id for item in split_shard("2/3", ITEMS[:12])[1]] == ["q3", "q7", "q10"]


@pytest.mark.parametrize("text", ["0/4", "5/4", "1", "1/0", "-1/4", "1/4/2", "a/b", "", "1/9999999"])
def test_a_shard_that_is_none_is_a_mistake(text: str) -> None:
    with pytest.raises(UserError, match=r"--shard .*as in --shard 1/4"):
        split_shard(text, ITEMS)


def test_an_empty_shard_text_is_not_the_whole(mini: Path) -> None:
    for command in (("run", *FAKE), ("caption", "--captions", "speech=fake")):
        result = cascade(*command, "--dataset", "mini.jsonl", "--shard", "")
        assert result.exit_code == 2 and "write i/n" in result.output


def run(*args: str | Path, code: int = 0) -> None:
    result = cascade("run", "--dataset", "mini.jsonl", *FAKE, *args)
    assert result.exit_code == code, result.output


def scored(path: str) -> dict[str, Any]:
    summary: dict[str, Any] = json.loads(cascade("score", path, "--format", "json").stdout)
    return {name: value for name, value in summary.items() if name != "run"}


def contents(path: str, *names: str) -> dict[str, bytes]:
    return {name: (Path(path) / name).read_bytes() for name in names}


@pytest.mark.parametrize("order", [(1, 2, 3), (3, 1, 2)])
def test_merged_shards_are_one_run(mini: Path, order: tuple[int, ...]) -> None:
    more = ["--samples", "3", "--shuffle-choices", "--param", "temperature=1"]
    run("--out", "whole", *more)
    for number in order:
        run("--shard", f"{number}/3", "--cache", f"cache-{number}", *more)
    parts = sorted(Path("runs").iterdir(), reverse=order[0] == 3)
    assert [part.name.rpartition("-shard-")[2] for part in parts] == (
        ["1-of-3", "2-of-3", "3-of-3"] if order[0] == 1 else ["3-of-3", "2-of-3", "1-of-3"]
    )
    result = cascade("merge", *parts, "--out", "merged")
    assert result.stdout == "merged: 8 items of 3 runs\n" and result.exit_code == 0
    assert contents("merged", "items.jsonl", "captions.jsonl") == contents("whole", "items.jsonl", "captions.jsonl")
    assert scored("merged") == scored("whole")
    for path in ("merged", "whole"):
        assert cascade("verify", path).exit_code == 0
        assert cascade("export", path).exit_code == 0
    assert contents("merged", "predictions.jsonl") == contents("whole", "predictions.jsonl")
    assert directory.read_run(Path("merged")).spec == directory.read_run(Path("whole")).spec
    before = log_of(Path("merged"))
    run("--out", "merged", *more)  # nothing is left to ask
    assert log_of(Path("merged")) == before


def test_charges_for_captions_are_merged_once(mini: Path) -> None:
    for number, amounts in ((1, (0.25, 0.25)), (2, (0.5,))):
        run("--shard", f"{number}/2", "--out", f"s{number}")
        with charges.charge_log(Path(f"s{number}")) as charge:
            for amount in amounts:
                charge(amount)
    shutil.copytree("s2", "copy")
    assert cascade("merge", "s2", "s1", "copy", "--out", "merged").exit_code == 0
    assert sorted(line.charged for line in charges.caption_charges(Path("merged"))) == [0.25, 0.25, 0.5]
    assert cascade("verify", "merged").exit_code == 0
    with charges.charge_log(Path("merged")) as charge:  # The chain can be continued.
        charge(1.0)
    assert cascade("verify", "merged").exit_code == 0


def test_judgements_that_are_not_merged_are_said_to_be(mini: Path) -> None:
    run("--out", "one")
    assert cascade("merge", "one", "--out", "unjudged").stderr == ""
    Path("one/judge.jsonl").write_text("{}\n")
    result = cascade("merge", "one", "--out", "merged")
    assert result.exit_code == 0 and not Path("merged/judge.jsonl").exists()
    assert result.stderr == (
        "1 of these runs were judged, and judge.jsonl is not merged: `cascade judge merged --judge MODEL` asks anew\n"
    )


def test_the_caches_of_shards_are_merged_too(mini: Path) -> None:
    for number in (1, 2):
        result = cascade("caption", "--dataset", mini, "--captions", "speech=fake", "--shard", f"{number}/2",
                       "--cache", f"c{number}", "--format", "jsonl")  # fmt: skip
        assert result.exit_code == 0
    assert cascade("cache", "merge", "c1", "c2", "--cache", "all").exit_code == 0
    assert json.loads(cascade("cache", "info", "--cache", "all", "--format", "json").stdout)["captions"] == 8


def test_a_shard_is_resumed_as_that_shard_only(mini: Path) -> None:
    run("--shard", "1/2", "--out", "a", "--limit", "4")
    run("--shard", "1/2", "--out", "a")
    result = cascade("run", "--dataset", mini, *FAKE, "--shard", "2/2", "--out", "a")
    assert result.exit_code == 2 and "a holds shard 1/2, and 2/2 is asked for" in result.stderr
    assert cascade("run", "--dataset", mini, *FAKE, "--out", "a").exit_code == 2
    run("--shard", "2/2", "--out", "b")
    assert cascade("merge", "a", "b", "--out", "c").exit_code == 0
    assert len(directory.read_run(Path("c")).items) == 8


def test_an_empty_shard_is_nothing_to_do(mini: Path) -> None:
    write(mini, list(rows(1)))
    empty = next(n for n in (1, 2) if not split_shard(f"{n}/2", runs_items(mini))[1])
    result = cascade("run", "--dataset", mini, *FAKE, "--shard", f"{empty}/2")
    assert result.exit_code == 0 and "nothing to do" in result.stderr and not Path("runs").exists()
    run("--shard", f"{3 - empty}/2", "--out", "a")
    assert cascade("merge", "a", "--out", "b").exit_code == 0
    result = cascade("caption", "--dataset", mini, "--captions", "speech=fake", "--shard", f"{empty}/2")
    assert result.exit_code == 0


def runs_items(file: Path) -> tuple[Item, ...]:
    from cascade.datasets import registry

    return registry.load(str(file)).items


def test_missing_shards_are_named(mini: Path) -> None:
    run("--shard", "1/3", "--out", "a")
    with pytest.raises(RunError, match=r"\d of 8 items are in none of these runs \(no run is of shard 2/3, 3/3\)"):
        merge.merge([Path("a")], Path("m"))
    assert not Path("m").exists() and not list(Path.cwd().glob(".m.*"))


def test_a_merged_run_that_cannot_be_made_there_is_a_mistake(mini: Path) -> None:
    run("--out", "one")
    with pytest.raises(RunError, match="cannot be made there"):
        merge.merge([Path("one")], Path("mini.jsonl/below"))


def test_runs_of_other_things_are_refused(mini: Path) -> None:
    run("--shard", "1/2", "--out", "a")
    run("--shard", "2/2", "--out", "b", "--seed", "5")
    result = cascade("merge", "a", "b", "--out", "m")
    assert result.exit_code == 2 and "b holds another run (llm.params.seed is 5 there, 0 here)" in result.stderr
    run("--shard", "2/2", "--out", "c")
    assert cascade("merge", "a", "c", "--out", "b").exit_code == 2
    log = Path("c/log.jsonl")
    log.write_text(log.read_text().replace("Answer: ", "Answer:  ", 1))
    result = cascade("merge", "a", "c", "--out", "m")
    assert result.exit_code == 2 and "c/log.jsonl: it was changed after it was written" in result.stderr


def test_of_two_answers_that_of_the_run_with_more_stands_then_that_of_the_first(mini: Path) -> None:
    run("--out", "short", "--limit", "3")
    run("--out", "long")
    reseal(Path("long"), "a bell")
    reseal(Path("short"), "rain")
    done = merge.merge([Path("short"), Path("long")], Path("m"))
    assert (done.items, done.shared, done.conflicts) == (8, 3, 3)
    replies = {line["item"]: line["result"]["text"] for line in log_of(Path("m"))}
    assert replies == {f"q{n}": f"Answer: {'rain' if n < 3 else 'a bell'}" for n in range(8)}
    reseal(Path("short"), None)
    merge.merge([Path("short"), Path("long")], Path("n"))
    replies = {line["item"]: line["result"]["text"] for line in log_of(Path("n"))}
    assert set(replies.values()) == {"Answer: a bell"} and len(replies) == 8
    assert cascade("verify", "n").exit_code == 0


def reseal(path: Path, text: str | None) -> None:
    """Let every answer of a run be this one, or a failure."""
    from cascade.io import jsonl

    lines = [{name: part for name, part in line.items() if name != "digest"} for line in log_of(path)]
    for line in lines:
        failed = {"type": "failure", "kind": "server", "message": "down", "cost": None}
        line["result"] = {**line["result"], "text": f"Answer: {text}"} if text else failed
    jsonl.write(path / "log.jsonl", jsonl.hash_chain(lines))


def test_what_failed_in_a_shard_is_left_to_ask_in_the_whole(mini: Path) -> None:
    run("--shard", "1/2", "--out", "a")
    run("--shard", "2/2", "--out", "b")
    reseal(Path("b"), None)
    result = cascade("merge", "a", "b", "--out", "m")
    assert result.exit_code == 3 and "failed (server)" in result.stderr
    run("--out", "m")
    assert cascade("verify", "m").exit_code == 0


def test_the_job_array_of_the_examples(mini: Path) -> None:
    """As Slurm would call it, one task after the other; a task that is called again makes nothing again."""
    bin_ = Path("bin")
    bin_.mkdir()
    (bin_ / "cascade").write_text(f'#!/bin/sh\nexec {sys.executable} -m cascade "$@"\n')
    (bin_ / "cascade").chmod(0o755)
    given = {"DATASET": "mini.jsonl", "CAPTIONS": "speech=fake", "LLM": "fake", "SLURM_JOB_ID": "7", "TMPDIR": "."}
    given |= {"PATH": f"{bin_.resolve()}:{os.environ['PATH']}", "SLURM_ARRAY_TASK_COUNT": "2"}

    def submit(script: str, **more: str) -> str:
        result = subprocess.run(
            ["bash", str(ROOT / "examples" / script)],
            env={**os.environ, **given, **more},
            capture_output=True,
            text=True,
        )
        assert result.returncode == 0, result.stderr
        return result.stdout

    for task in ("1", "2", "2"):
        submit("slurm-array.sh", SLURM_ARRAY_TASK_ID=task)
    assert "shared-runs/merged: 8 items of 2 runs" in submit("slurm-merge.sh")
    assert "8 new, 0 there already" in cascade("cache", "import", "shared-runs/captions.jsonl").stdout
    run("--out", "whole")
    assert scored("shared-runs/merged") == scored("whole")
    assert not list(Path.cwd().glob("cascade-*"))
