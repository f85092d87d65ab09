"""The commands' verbs as functions."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import signal
import sys
import threading
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

import cascade as package
from cascade import api, errors
from cascade.pipeline.asking import run_coroutine
from cascade.pipeline.request import Request
from cascade.runs.directory import Run
from tests.support.commands import cascade, only_run


def test_the_verbs_do_what_the_commands_do(mini: Path) -> None:
    from cascade import caption, compare, load, run, score

    assert len(load(mini).items) == 8
    captions = caption(mini, "speech=fake(text=rain)", limit=3)
    assert [(record.item, record.slot, record.text) for record in captions] == [
        (f"q{n}", "speech", "rain") for n in range(3)
    ]
    five = run("fake", mini, captions="speech=fake", limit=5)
    assert five.path == only_run() and len(five.items) == 5
    summary = score(five.path, by=("modality",))
    assert summary.n == 5 and summary.answered == 5
    other = run("fake", mini, captions="none", shuffle_choices=True, seed=3)
    assert other.spec.prompt.order_seed == 3
    comparison = compare(five.path, other.path, scorer="strict")
    assert (comparison.n, comparison.scorer) == (5, "strict")
    before = (five.path / "log.jsonl").read_bytes()
    assert cascade("run", "--dataset", mini, "--llm", "fake", "--captions", "speech=fake").exit_code == 0
    assert (five.path / "log.jsonl").read_bytes().startswith(before)


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
        ({"samples": 10**400}, "samples=1000.*: the least is 1, the most 10000"),
        ({"concurrency": 10**400}, "concurrency=1000.*: the least is 1, the most 10000"),
        ({"budget": float("nan")}, "budget=nan: the least is 0"),
        ({"timeout": float("inf")}, "timeout=inf: the least is 0.001"),
        ({"captions": {"speech": "fake"}}, "this flag takes str or None"),
    ],
)
def test_flags_that_a_command_would_refuse_are_refused(mini: Path, flags: dict[str, Any], complaint: str) -> None:
    with pytest.raises(errors.UserError, match=complaint):
        package.run("fake", mini, **flags)
    assert not Path("runs").exists()


def test_mistakes_are_raised(mini: Path) -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'limits'"):
        package.run("fake", mini, limits=3)  # type: ignore[call-arg]
    with pytest.raises(errors.UserError):
        package.load("no/such.jsonl")
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        package.nothing  # noqa: B018 - asking is the test


def test_a_clip_a_family_a_page_a_judge_and_a_check(mini: Path) -> None:
    answer = package.ask("0.wav", "What is it?", ["rain", "wind"], llm="fake", captions="speech=fake(text=drops)")
    assert answer.choice.text in ("rain", "wind") and repr(answer) == f"ClipAnswer({answer.choice.text!r})"
    assert answer.to_rows()[0]["speech"] == "drops" and answer.to_rows()[0]["failure"] is None
    family = package.ablate("fake", mini, variants="alone,blind", captions="speech=fake,sound=fake", out="family")
    assert [row["run"] for row in family.to_rows()] == [
        f"family/{name}" for name in ("all", "speech", "sound", "blind")
    ]
    assert repr(family) == "Family('mini', 4 runs, 8 items)"
    verdict = package.verify("family/all")
    assert {row["state"] for row in verdict.to_rows()} == {"checked"}
    assert repr(verdict) == f"Verdict({len(verdict.checked)} files checked, 0 problems)"
    page = package.report(["family/all", "family/blind"], format="md")
    assert page == Path("family/all/report.md") and page.read_text().startswith("## ")
    with pytest.raises(errors.UserError, match="no item has a rubric"):
        package.judge("family/all", "fake")
    with pytest.raises(errors.UnknownName, match="unknown scorer 'exact'"):
        package.ablate("fake", mini, scorer="exact")


def test_rows_are_flat_and_a_result_is_shown_in_one_line(mini: Path) -> None:
    Path("0.wav").unlink()
    captions = package.caption(mini, "speech=fake", limit=2)
    run = package.run("fake", mini, captions="speech=fake", limit=2)
    summary = package.score(run.path)
    comparison = package.compare(run.path, run.path, by="modality")
    assert repr(captions) == "Captions(2 captions of 2 items, 1 failed)"
    assert repr(run) == f"Run('{run.path}', 2 items)"
    assert repr(summary).startswith(f"Summary('{run.path}', 2 items, mmar ")
    assert repr(comparison).endswith("2 items, difference +0.0000 [-0.6576, +0.6576])")
    failed, asked = sorted(run.to_rows(), key=lambda row: str(row["item"]))
    assert failed["failure"].startswith("caption: ") and failed["reply"] is None
    assert asked["reply"].startswith("Answer: ") and asked["failure"] is None
    for result in (captions, run, summary, comparison):
        rows = result.to_rows()
        assert rows and all(row.keys() == rows[0].keys() for row in rows)
    whole = [row for row in summary.to_rows() if not row["tag"]]
    assert [(row["scorer"], row["n"]) for row in whole] == [("mmar", 2), ("strict", 2)]
    assert {(row["tag"], row["value"]) for row in comparison.to_rows()} >= {("", ""), ("modality", "sound")}


def test_a_parameter_has_the_default_of_its_flag() -> None:
    defaults = {field.name: field.default for field in fields(Request)}
    for verb in (api.run, api.caption, api.ask, api.ablate, api.judge, api.read):
        for name, parameter in inspect.signature(verb).parameters.items():
            if name in defaults and (verb, name) not in (
                (api.judge, "dataset"),
                (api.judge, "seed"),
                (api.read, "dataset"),
            ):
                assert parameter.default == defaults[name], f"{verb.__name__}: {name}"
    assert defaults.keys() - inspect.signature(api.run).parameters.keys() == {"dry_run"}


def test_the_names_of_the_first_version_still_work(mini: Path) -> None:
    with pytest.warns(DeprecationWarning, match=r"ask\(llm, dataset\) is now run"):
        former: Any = package.ask("fake", str(mini), captions="speech=fake", limit=3)  # type: ignore[call-arg]
    assert isinstance(former, Run) and len(former.items) == 3
    sys.modules.pop("cascade.interface", None)
    with pytest.warns(DeprecationWarning, match=r"cascade\.interface is now cascade\.api"):
        interface = importlib.import_module("cascade.interface")
    assert interface.score(former.path, None, by=()).n == 3
    assert [record.item for record in interface.caption(mini, "speech=fake", limit=1)] == ["q0"]


def test_a_run_may_stand_wherever_its_path_may(mini: Path) -> None:
    run = package.run("fake", mini, captions="speech=fake")
    blind = package.run("fake", mini, captions="none")
    assert package.score(run).to_rows() == package.score(run.path).to_rows()
    assert package.compare(run, blind).n == 8
    assert package.verify(run).problems == []
    assert package.report([run, blind], "page.md", format="md").is_file()
    assert package.report(run) == run.path / "report.html"
