"""The commands' verbs as functions."""

from __future__ import annotations

import asyncio
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

import cascade as package
from cascade import errors
from cascade.pipeline.asking import run_coroutine
from tests.support.commands import cascade, only_run


def test_the_verbs_do_what_the_commands_do(mini: Path) -> None:
    from cascade import caption, compare, load, score
    from cascade import run as ask

    assert len(load(mini).items) == 8
    heard = caption(mini, "speech=fake(text=rain)", limit=3)
    assert [(one.item, one.slot, one.text) for one in heard] == [(f"q{n}", "speech", "rain") for n in range(3)]
    run = ask("fake", mini, captions="speech=fake", limit=5)
    assert run.path == only_run() and len(run.items) == 5
    told = score(run.path, by=("modality",))
    assert told.n == 5 and told.answered == 5
    other = ask("fake", mini, captions="none", shuffle_choices=True, seed=3)
    assert other.spec.prompt.order_seed == 3
    found = compare(run.path, other.path, scorer="strict")
    assert (found.n, found.scorer) == (5, "strict")
    before = (run.path / "log.jsonl").read_bytes()
    assert cascade("run", "--dataset", mini, "--llm", "fake", "--captions", "speech=fake").exit_code == 0
    assert (run.path / "log.jsonl").read_bytes().startswith(before)


def test_a_notebook_has_a_loop_of_its_own(mini: Path) -> None:
    async def cell() -> Path:
        return package.run("fake", mini, captions="speech=fake", limit=3).path

    assert package.score(asyncio.run(cell())).answered == 3


def test_an_interrupted_cell_ends_what_it_began() -> None:
    ended, main = threading.Event(), threading.main_thread().ident

    async def endless() -> None:
        try:
            threading.Timer(0.2, signal.pthread_kill, (main, signal.SIGINT)).start()
            await asyncio.sleep(60)
        finally:
            ended.set()

    async def cell() -> None:
        with pytest.raises(KeyboardInterrupt):
            run_coroutine(endless())

    kept = signal.signal(signal.SIGINT, signal.default_int_handler)
    loop = asyncio.new_event_loop()  # asyncio.run would take the signal for itself
    try:
        loop.run_until_complete(cell())
    finally:
        loop.close()
        signal.signal(signal.SIGINT, kept)
    assert ended.is_set()


def test_flags_may_be_text_where_a_command_takes_text(mini: Path) -> None:
    flags: dict[str, Any] = {
        "captions": "speech=fake",
        "only": "modality=speech",
        "cache": "kept",
        "data": str(mini.parent),
    }
    run = package.run("fake", str(mini), out="run", param="top_p=0.5", **flags)
    assert (run.path, run.spec.llm.params["top_p"]) == (Path("run"), 0.5)
    assert set(run.spec.only) == {"modality"} and Path("kept").is_dir()
    assert package.load(mini, str(mini.parent)).items
    assert package.score("run", by="modality").n == len(run.items)


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        ({"limit": -1}, "limit=-1: the least is 1"),
        ({"limit": "3"}, "limit='3': this flag takes int or None"),
        ({"samples": 0}, "samples=0: the least is 1"),
        ({"captions": {"speech": "fake"}}, "this flag takes str or None"),
        ({"spec": "ablation.yaml"}, "unknown flag 'spec'"),
    ],
)
def test_flags_that_a_command_would_refuse_are_refused(mini: Path, flags: dict[str, Any], complaint: str) -> None:
    with pytest.raises(errors.UserError, match=complaint):
        package.run("fake", mini, **flags)
    assert not Path("runs").exists()


def test_mistakes_are_raised(mini: Path) -> None:
    with pytest.raises(errors.UnknownName, match=r"unknown flag 'limits' \(did you mean 'limit'\?\)"):
        package.run("fake", mini, limits=3)
    with pytest.raises(errors.UserError):
        package.load("no/such.jsonl")
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        package.nothing  # noqa: B018 - asking is the test
