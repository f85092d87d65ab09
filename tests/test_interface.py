"""The commands' verbs as functions."""

from __future__ import annotations

from pathlib import Path

import pytest

import cascade as package
from cascade import errors
from tests.test_cli import cascade, mini, only_run

__all__ = ["mini"]  # a fixture


def test_the_verbs_do_what_the_commands_do(mini: Path) -> None:
    from cascade import ask, caption, compare, load, score

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


def test_mistakes_are_raised(mini: Path) -> None:
    with pytest.raises(errors.UnknownName, match=r"unknown flag 'limits' \(did you mean 'limit'\?\)"):
        package.ask("fake", mini, limits=3)
    with pytest.raises(errors.UserError):
        package.load("no/such.jsonl")
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        package.nothing  # noqa: B018 - asking is the test
