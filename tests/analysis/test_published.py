"""Published rows: what stands in their files, and the command, against a real server in a provider's place."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from msgspec import UNSET
from msgspec.structs import replace

from cascade.analysis import published
from cascade.pipeline.reproduce import row_jobs
from cascade.pipeline.request import Request
from cascade.runs import directory, provenance
from cascade.scoring.outcomes import ScoredRun, score_items
from cascade.types import (
    Answer,
    CaptionerSpec,
    Choice,
    Completion,
    Item,
    LLMSpec,
    PromptSpec,
    RoundsSpec,
    RunSpec,
)
from tests.support.commands import cascade, rows
from tests.support.hearing_server import audio_of, completion, text_of
from tests.support.stub_server import Reply, Stub

CAPTIONS = ("--captions", "speech=fake")

# MMAR's table: average, then sound, music, speech, S-M, S-Sp, M-Sp, all three.
MMAR = {
    "gpt-4o-audio": (63.50, 53.94, 50.97, 70.41, 63.64, 72.48, 62.20, 75.00),
    "qwen2-audio-instruct": (30.00, 33.33, 24.27, 32.31, 9.09, 31.19, 30.49, 25.00),
    "salmonn-13b": (33.20, 30.30, 31.07, 34.69, 9.09, 34.86, 35.37, 41.67),
    "musilingo": (6.60, 9.09, 7.28, 4.08, 9.09, 6.88, 7.32, 8.33),
    "qwen3-omni-thinking": (66.4, 57.6, 44.7, 78.2, 63.4, 75.2, 69.5, 79.1),
    "gemini-2.5-pro": (74.7, 67.3, 56.8, 82.0, 100, 84.9, 80.5, 66.7),
    "qwen2.5-omni-7b": (56.70, 58.79, 40.78, 59.86, 54.55, 61.93, 67.07, 58.33),
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


def test_rows_have_the_figures_of_the_benchmarks_table() -> None:
    rows = published.published_rows()
    for name, figures in MMAR.items():
        assert list(rows[name].published) == ["", *SIZES]
        assert [round(100 * share, 2) for share in rows[name].published.values()] == list(figures)


def test_the_modalities_of_each_row_make_its_whole() -> None:
    """A mistyped figure would be another number of items, and the parts would not add up."""
    shares = [row.published for row in published.published_rows().values() if len(row.published) > 1]
    assert len(shares) == 37
    for figures in shares:
        assert sum(round(figures[group] * size) for group, size in SIZES.items()) == round(1000 * figures[""])


def test_every_row_says_its_source_and_what_is_ours() -> None:
    rows = published.published_rows()
    assert len(rows) == 54
    for row in rows.values():
        assert "arXiv" in row.source or "technical report" in row.source
        assert row.ours and row.title and 0 < row.published[""] < 1
        assert row.run.keys() <= {
            *("llm", "captions", "caption-param", "prompt", "param"),
            *("digest", "digest-question", "rounds", "rounds-with", "tools"),
        }
        assert bool(row.run) != bool(row.unserved)


def test_every_row_that_can_be_served_can_be_planned(mini: Path) -> None:
    result = cascade("reproduce", "--dataset", mini, "--dry-run")
    assert result.exit_code == 0 and "dry run" in result.stderr and not Path("runs").exists()
    served = [row.name for row in published.published_rows().values() if not row.unserved]
    assert [line.split(":")[0] for line in result.stdout.splitlines() if ": runs/mini-" in line] == served
    assert result.stdout.count("cost  ") == len(served) == 33
    assert "passed over: 21 rows that cannot be served" in result.stderr


def test_rows_of_one_kind(mini: Path) -> None:
    planned = cascade("reproduce", "--kind", "OLM", "--dataset", mini, "--dry-run").stdout
    names = [line.split(":")[0] for line in planned.splitlines() if ": runs/mini-" in line]
    assert names == ["gemini-2.5-pro", "gemini-2.5-flash", "qwen2.5-omni-7b", "qwen2.5-omni-3b"]
    listed = json.loads(cascade("reproduce", "--kind", "larm", "--list", "--format", "json").stdout)
    assert {row["kind"] for row in listed} == {"LARM"} and len(listed) == 5
    unknown = cascade("reproduce", "--kind", "omni", "--list")
    assert unknown.exit_code == 2 and "unknown kind 'omni' (did you mean 'olm'?)" in unknown.stderr
    both = cascade("reproduce", "o3", "--kind", "lrm")
    assert both.exit_code == 2 and "name rows or a kind, not both" in both.stderr


def test_a_row_that_cannot_be_served_is_refused_by_name(mini: Path) -> None:
    result = cascade("reproduce", "salmonn-7b", "--dataset", mini)
    assert result.exit_code == 2 and result.stdout == ""
    reason = "neither vLLM nor vLLM-Omni lists its architecture"
    assert result.stderr == f"cascade: the row salmonn-7b cannot be served: {reason}\n"
    assert f"SALMONN, 7B; cannot be served: {reason}" in cascade("reproduce", "--list", "--format", "csv").stdout


def test_a_row_whose_model_hears_the_clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The row is run against a server, and the run is known as the row's among other runs."""
    mini = hearing_dataset(tmp_path, monkeypatch, 4)
    with Stub(hearing_script) as stub:
        monkeypatch.setenv("HOSTED_VLLM_API_BASE", stub.url)
        result = cascade("reproduce", "qwen2.5-omni-7b", "--dataset", mini, "--format", "json")
        assert result.exit_code == 0, result.output
        assert {request["model"] for request in stub.asked} == {"Qwen/Qwen2.5-Omni-7B"}
        assert all(audio_of(request) for request in stub.asked) and len(stub.asked) == 4
        asked: list[str | Path] = ["run", "--dataset", mini, "--api-base", stub.url, "--llm"]
        assert cascade(*asked, "openai/unknown", "--captions", "audio").exit_code == 0
    with Stub(lambda request, number: Reply(text="Answer: rain", reasoning="It is wet.")) as stub:
        asked[4] = stub.url
        assert cascade(*asked, "openai/thinker", "--captions", "speech=fake").exit_code == 0
    assert cascade("run", "--dataset", mini, "--llm", "fake", "--captions", "none").exit_code == 0
    assert json.loads(result.stdout)["groups"][""]["published"] == pytest.approx(0.567)
    board = json.loads(cascade("leaderboard", "runs", "--by", "kind", "--format", "json").stdout)
    assert [(row["kind"], row["model"]) for row in board] == [
        ("LALM", "openai/unknown"),
        ("OLM", "hosted_vllm/Qwen/Qwen2.5-Omni-7B"),
        ("LLM", "fake"),
        ("LRM", "openai/thinker"),
    ]
    assert cascade("leaderboard", "runs", "--by", "kind").stdout.splitlines()[0].startswith("kind  model")
    assert "kind" not in json.loads(cascade("leaderboard", "runs", "--format", "json").stdout)[0]
    page = Path("page.html")
    assert cascade("report", *Path("runs").iterdir(), "--out", page).exit_code == 0
    heads = re.findall(r'<tr class="kind"><th[^>]*>(\w+)<', page.read_text())
    assert sorted(heads) == ["LALM", "LLM", "LRM", "OLM"]
    assert "published" not in re.findall(r'class="mark (\w+)"', page.read_text())  # of other items
    text = cascade("report", *Path("runs").iterdir(), "--format", "md").stdout
    assert "(OLM)" in text and "| published |" not in text


def hearing_dataset(folder: Path, monkeypatch: pytest.MonkeyPatch, count: int, **changes: Any) -> Path:
    """Write questions over one clip of three seconds in the current folder."""
    import numpy as np
    import soundfile

    monkeypatch.chdir(folder)
    soundfile.write("tone.wav", np.sin(np.arange(48000) / 5).astype("float32") / 2, 16000)
    questions = [{**row, "audio_path": "tone.wav", **changes} for row in rows(count)]
    file = folder / "mini.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in questions))
    return file


def hearing_script(request: dict[str, Any], number: int) -> Reply:
    return completion("rain", text_of(request), 3.0)


def test_a_run_of_the_published_items_has_published_marks() -> None:
    figures = published.published_figures
    run = scored(500, {"modality": "speech"}, spec=row_spec("qwen2.5-omni-7b"))
    assert figures(run)["speech"] == pytest.approx(0.5986)
    assert figures(scored(499, {}, count=999, spec=row_spec("qwen2.5-omni-7b"))) == {}
    shuffled = row_spec("qwen2.5-omni-7b", order_seed=3)
    assert figures(scored(500, {}, spec=shuffled)) == {}
    assert figures(scored(500, {}, spec=row_spec("gpt-4o")))[""] == 0.507
    small = row_spec("gpt-4o", params={"speech.model": "turbo"})
    assert figures(scored(500, {}, spec=small)) == {} and published.run_kind(scored(500, {}, spec=small)) == "LLM"
    silent = row_spec("qwen2.5-omni-7b", params={"audio.content": "silence"})
    assert figures(scored(500, {}, spec=silent)) == {} and published.run_kind(scored(500, {}, spec=silent)) == "OLM"
    rounds = RoundsSpec(most=1, engines=(), form="text", version="1")
    asking = replace(row_spec("gpt-4o"), rounds=rounds)
    assert figures(scored(500, {}, spec=asking)) == {} and published.run_kind(scored(500, {}, spec=asking)) == "LLM"
    both = row_spec("gemini-2.5-pro", captions={"audio": "audio", "speech": "whisper"})
    assert figures(scored(500, {}, spec=both)) == {} and published.run_kind(scored(500, {}, spec=both)) == "OLM"


def test_a_run_gets_the_figures_of_the_row_with_the_same_evidence_only(mini: Path) -> None:
    def spec(**flags: Any) -> RunSpec:
        row = published.published_rows()["taltech-two-listeners"].run
        [job] = row_jobs({"taltech-two-listeners": row}, [], Request(dataset="mini.jsonl", **flags))
        return job.job.spec

    run = scored(500, {}, spec=spec())
    assert published.published_figures(run) == pytest.approx({"": 0.766}) and published.run_kind(run) == "LRM"
    blind = scored(500, {}, spec=spec(caption_param=["a.question=false", "b.question=false"]))
    assert published.published_figures(blind) == {} and published.run_kind(blind) == "LLM"


def test_the_report_marks_published_values_and_groups_by_kind(tmp_path: Path) -> None:
    runs = [whole_run(tmp_path / name, row_spec(name)) for name in ("qwen2.5-omni-7b", "gpt-4o", "qwen2.5-omni-3b")]
    page = tmp_path / "page.html"
    assert cascade("report", *runs, "--out", page).exit_code == 0
    marks = re.findall(r"<title>published: ([\d.]+) %", page.read_text())
    # Of the run with the most captions by modality, the largest first; then of each run.
    assert marks[:7] == ["60.9", "53.7", "40.3", "46.1", "46.3", "45.8", "27.3"]
    assert marks[7:] == ["50.7", "56.7", "53.8"]
    assert re.findall(r'<tr class="kind"><th[^>]*>(\w+)<', page.read_text()) == ["LLM", "OLM"]
    lines = cascade("report", *runs, "--format", "md").stdout.splitlines()
    (head,) = [line for line in lines if line.startswith("| run | n |") and "| cost | published |" in line]
    rows = lines[lines.index(head) + 2 :][:4]
    assert ["(LLM)" in row for row in rows] == [True, False, False, False]
    assert [row.split(" | ")[-1] for row in rows] == ["50.7 |", "56.7 |", "53.8 |", " |"]


def whole_run(path: Path, spec: RunSpec) -> Path:
    """Write a run of as many items of each modality as MMAR has, all answered rightly."""
    groups = [group for group, size in SIZES.items() for _ in range(size)]
    items = []
    for at, group in enumerate(groups):
        item = Item(id=str(at), audio="a", question="?", choices=("a", "b"), answer="a", tags={"modality": group})
        items.append(item)
    manifest = directory.new_manifest(spec, "# user\n$question\n$choices\n", provenance.session())
    with directory.open_run(path, manifest, tuple(items)) as (_, log):
        for item in items:
            result = Completion(text="Answer: a", finish="stop")
            log.append(Answer(item=item.id, sample=0, prompt="", captions={}, result=result, seconds=1.0, at=""))
    return path


def row_spec(
    name: str,
    order_seed: int | None = None,
    captions: dict[str, str] | None = None,
    params: dict[str, str] | None = None,
) -> RunSpec:
    """Return the spec that a row's run has, with some of its captioners or their parameters changed."""
    row = published.published_rows()[name].run
    given = {"audio.content": "clip", **row.get("caption-param", {}), **(params or {})}
    captioners = []
    for slot, engine in (captions or row["captions"]).items():
        own = {key.partition(".")[2]: value for key, value in given.items() if key.startswith(f"{slot}.")}
        captioners.append(CaptionerSpec(slot=slot, name=engine, version="1", params=own))
    slots = tuple(captioner.slot for captioner in captioners)
    audio = "audio" if "audio" in slots else UNSET
    prompt = PromptSpec(template="mmar", template_digest="b2:0", slots=slots, order_seed=order_seed, audio=audio)
    llm = LLMSpec(model=row["llm"], params={})
    return RunSpec(dataset="mmar", dataset_digest="b2:0", captioners=tuple(captioners), prompt=prompt, llm=llm)


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


def scored(
    right: int, tags: dict[str, str], dataset: str = "mmar", count: int = 1000, spec: RunSpec | None = None
) -> ScoredRun:
    """Return a run of so many right items; `tags` are those of its first eleven items."""
    items = []
    for at in range(count):
        tagged = tags if at < 11 else {}
        items.append(Item(id=str(at), audio="a", question="?", choices=("a", "b"), answer="a", tags=tagged))
    choices = {item.id: {0: Choice(text="a", how="")} for item in items[-right:]}
    about = {"dataset": dataset, "llm": "m", "run": "r"}
    scores = score_items(items, choices)
    return ScoredRun(items=items, scores=scores, failed=frozenset(), about=about, replies={}, spec=spec)


def beside(right: int, tags: dict[str, str], dataset: str = "mmar", count: int = 1000) -> published.Reproduced:
    """Return a run of so many right items beside the row gpt-4o."""
    run = scored(right, tags, dataset, count)
    return published.compare_published(published.published_rows()["gpt-4o"], run)


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
    assert cascade("reproduce", "--list", "--format", "csv").stdout.startswith("row,kind,published,what,source\n")
    assert len(json.loads(cascade("reproduce", "--list", "--format", "json").stdout)) == len(published.published_rows())
