"""Published rows: what stands in their files, and the command, against a real server in a provider's place."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cascade.analysis import published
from cascade.scoring.outcomes import ScoredRun, score_items
from cascade.types import Choice, Item
from tests.support.commands import cascade
from tests.support.stub_server import Reply, Stub

CAPTIONS = ("--captions", "speech=fake")

# The paper's table: average, then sound, music, speech, S-M, S-Sp, M-Sp, all three.
MMAR = {
    "deepseek-v3": (47.60, 42.42, 40.78, 56.12, 18.18, 50.00, 45.12, 37.50),
    "gpt-4o": (50.70, 46.06, 40.29, 60.88, 27.27, 53.67, 46.34, 45.83),
    "o1": (53.00, 48.48, 43.20, 63.61, 18.18, 56.88, 45.12, 45.83),
    "o3": (54.70, 49.70, 41.75, 63.95, 36.36, 60.09, 52.44, 54.17),
    "deepseek-r1": (55.50, 46.67, 49.51, 62.59, 45.45, 58.72, 56.10, 54.17),
}
SIZES = {
    "sound": 165, "music": 206, "speech": 294, "mix-sound-music": 11, "mix-sound-speech": 218,
    "mix-music-speech": 82, "mix-sound-music-speech": 24,
}  # fmt: skip


def test_the_benchmarks_rows_are_those_of_its_table() -> None:
    rows = published.published_rows()
    for name, figures in MMAR.items():
        shares = rows[name].published
        assert list(shares) == ["", *SIZES]
        assert [round(100 * share, 2) for share in shares.values()] == list(figures)
        # The parts make the whole: no figure was mistyped.
        right = sum(round(shares[group] * size) for group, size in SIZES.items())
        assert right / 1000 == pytest.approx(shares[""])


def test_every_row_says_its_source_and_what_is_ours() -> None:
    rows = published.published_rows()
    assert len(rows) >= 10
    for row in rows.values():
        assert "arXiv" in row.source and row.ours and row.title and 0 < row.published[""] < 1
        assert row.run.keys() <= {"llm", "captions", "caption-param", "prompt", "param"}


def test_every_row_can_be_planned(mini: Path) -> None:
    result = cascade("reproduce", "--dataset", mini, "--dry-run")
    assert result.exit_code == 0 and "dry run" in result.stderr and not Path("runs").exists()
    for name in published.published_rows():
        assert f"{name}: runs/mini-" in result.stdout
    assert result.stdout.count("cost  ") == len(published.published_rows())


def test_a_row_without_its_key_is_named_and_passed_over(mini: Path) -> None:
    result = cascade("reproduce", "gpt-4o", "o3", "--dataset", mini, *CAPTIONS)
    assert result.exit_code == 2 and result.stdout == ""
    assert "gpt-4o: passed over: --llm gpt-4o: the key is missing: export OPENAI_API_KEY" in result.stderr
    assert "o3: passed over:" in result.stderr


def test_a_row_against_an_endpoint(mini: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test-0123456789abcdef")
    with Stub(lambda request, number: Reply(text="rain")) as stub:
        args: list[str | Path] = ["reproduce", "gpt-4o", "--dataset", mini, *CAPTIONS, "--api-base", stub.url]
        result = cascade(*args)
        assert result.exit_code == 0 and len(stub.asked) == 8
        assert "Please select one answer from the provided choices." in stub.asked[0]["messages"][-1]["content"]
        assert stub.asked[0]["model"] == "gpt-4o" and stub.asked[0]["temperature"] == 0
        row = json.loads(cascade(*args, "--format", "json").stdout)
        assert len(stub.asked) == 8
    assert (row["row"], row["failed"], row["unread"]) == ("gpt-4o", 0, 0)
    whole = row["groups"][""]
    assert (whole["n"], whole["published"], whole["accuracy"]) == (8, 0.507, 0.25)
    assert whole["differs"] is None and whole["ci95"][0] < 0.507 < whole["ci95"][1]
    assert row["groups"]["speech"]["published"] == 0.6088
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert "gpt-4o (other captions) 8 50.70 25.00 7.1-59.1 0 0" in lines
    assert "the captions are not those of the rows but speech=fake" in result.stderr
    assert row["other_captions"] == "speech=fake"
    assert (
        "the protocol here is ours" in result.stdout and "of MMAR's 1000 items; these are of 8 others" in result.stderr
    )


def test_several_models_on_one_rows_captions(mini: Path) -> None:
    with Stub(lambda request, number: Reply(text="Answer: rain")) as stub:
        args: list[str | Path] = ["reproduce", "gpt-4o", "--dataset", mini, *CAPTIONS, "--api-base", stub.url]
        result = cascade(*args, "--models", "fake,openai/other", "--format", "json")
        assert result.exit_code == 0 and {request["model"] for request in stub.asked} == {"other"}
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [row["llm"] for row in rows] == ["fake", "openai/other"]
    assert all(row["groups"][""]["published"] is None for row in rows)
    refused = cascade("reproduce", "--dataset", mini, "--models", "fake")
    assert refused.exit_code == 2 and "name the one row" in refused.stderr


def beside(right: int, tags: dict[str, str], dataset: str = "mmar", count: int = 1000) -> published.Reproduced:
    """Return a run of so many right items beside the row gpt-4o; `tags` are those of its first eleven items."""
    items = []
    for at in range(count):
        tagged = tags if at < 11 else {}
        items.append(Item(id=str(at), audio="a", question="?", choices=("a", "b"), answer="a", tags=tagged))
    choices = {item.id: Choice(text="a", how="") for item in items[-right:]}
    about = {"dataset": dataset, "llm": "m", "run": "r"}
    scored = ScoredRun(items=items, scores=score_items(items, choices), failed=frozenset(), about=about, replies={})
    return published.compare_published(published.published_rows()["gpt-4o"], scored)


def test_a_verdict_is_of_the_benchmarks_own_items_alone() -> None:
    verdicts = [beside(right, {}).groups[""].differs for right in (700, 539, 507, 476)]
    assert verdicts == [True, True, False, False]  # at 95 % Wilson's interval of 538 of 1000 has 50.7 %, of 539 not
    assert beside(500, {}, count=999).groups[""].differs is None
    assert beside(500, {}, dataset="mine").groups[""].differs is None


def test_a_verdict_is_corrected_over_the_groups_of_a_row() -> None:
    row = beside(538, {"modality": "mix-sound-music"})  # none of the eleven is right, 27.27 % were
    group = row.groups["mix-sound-music"]
    assert group.published == 0.2727 and group.ci95[1] < group.published
    assert not group.differs


def test_the_rows_share_one_budget(mini: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test-0123456789abcdef")
    with Stub(lambda request, number: Reply(text="rain")) as stub:
        args: list[str | Path] = ["reproduce", "gpt-4o", "--models", "openai/a,openai/b", "--dataset", mini, *CAPTIONS]
        # Each reply has 7 tokens: seven cents. The first row takes eight of the twelve that are within the budget.
        result = cascade(*args, "--api-base", stub.url, "--price", "0,10000", "--concurrency", "1", "--budget", "0.85")
        assert result.exit_code == 4 and "--budget 0.85: $0.8400 is spent" in result.stderr
        assert [request["model"] for request in stub.asked] == ["a"] * 8 + ["b"] * 4


def test_what_is_no_row_is_refused() -> None:
    result = cascade("reproduce", "gpt4o")
    assert result.exit_code == 2 and "unknown row 'gpt4o' (did you mean 'gpt-4o'?)" in result.stderr


def test_the_rows_are_listed() -> None:
    result = cascade("reproduce", "--list").stdout
    assert "deepseek-r1" in result and "55.50" in result and "arXiv 2505.13032" in result
    assert cascade("reproduce", "--list", "--format", "csv").stdout.startswith("row,published,what,source\n")
    assert len(json.loads(cascade("reproduce", "--list", "--format", "json").stdout)) == len(published.published_rows())
