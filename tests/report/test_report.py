"""What a report holds, without a browser: the figures, the data of every item, and what hostile text becomes."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from cascade.analysis.compare import McNemar, PairedDifference
from cascade.api import score
from cascade.errors import MissingExtra, RunError, UserError
from cascade.io import audio
from cascade.report import charts, clips, items, load, timeline
from cascade.report.markdown import markdown_report
from cascade.report.page import html_report
from cascade.runs import directory
from cascade.scoring import outcomes
from cascade.scoring.statistics import mcnemar, paired_interval
from cascade.types import CaptionRecord, Completion, Failure
from tests.support.commands import cascade, only_run, rows, write
from tests.support.pages import Page
from tests.support.reports import DEMO, FLAGS, HOSTILE, hostile_run


@pytest.fixture
def run(mini: Path) -> Path:
    assert cascade("run", "--dataset", mini, *FLAGS).exit_code == 0
    return only_run()


@pytest.fixture
def family(mini: Path) -> Path:
    assert cascade("ablate", "--dataset", mini, *FLAGS, "--out", "family").exit_code == 0
    return Path("family")


def page(*sources: Path, **how: Any) -> Page:
    return Page(html_report(sources, Path("report.html"), **how))


def change(run: Path, item: str, result: Any) -> None:
    old = directory.last_answers(run)[(item, 0)]
    held = directory.read_run(run)
    answer = replace(old, result=result)
    with directory.open_run(run, held.manifest, held.items) as (_, log):
        log.append(answer)


# What was run, and every item


def test_the_index_says_of_each_item_what_scoring_says(run: Path) -> None:
    change(run, "q0", Failure(kind="empty", message="nothing was said"))
    change(run, "q1", Completion(text="I would rather not say.", finish="stop"))
    summary, shown = score(run), page(run)
    found = [item["st"] for item in shown.index["items"]]
    assert found[:2] == ["failed", "unread"] and found.count("failed") == 1 and found.count("unread") == 1
    assert found.count("right") == round(summary.scores["mmar"].accuracy * 8)
    assert [item["id"] for item in shown.index["items"]] == [f"q{number}" for number in range(8)]
    assert f"{100 * summary.scores['mmar'].accuracy:.1f}" in shown.text and "75.0%" in "".join(shown.text.split())
    facets = {facet["key"]: facet["options"] for facet in shown.index["facets"]}
    assert facets["modality"] == [["sound", "sound"], ["speech", "speech"]]
    assert facets["captions"][0] == ["empty", "any empty"] and "why" not in facets and "vs" not in facets


def test_details_have_the_exact_prompt_the_reply_and_how_it_was_read(run: Path) -> None:
    found = page(run).details
    assert len(found) == 8
    (reply,) = found[3]["replies"]
    answer = directory.last_answers(run)[("q3", 0)]
    assert isinstance(answer.result, Completion)
    assert reply["text"] == answer.result.text and reply["how"] == "answer line: text" and reply["same"] is True
    assert reply["choice"] in found[3]["choices"] and reply["finish"] == "stop"
    shown = cascade("prompts", "show", "default", "--item", "q3", "--dataset", "mini.jsonl", *FLAGS[2:]).stdout
    for message in reply["prompt"]:
        assert message["content"] in shown
    assert [(one["slot"], one["engine"], one["text"]) for one in found[3]["captions"]][1] == ("sound", "fake", "rain")
    assert found[3]["cue"] == ["secret cue 3"]


def test_a_prompt_that_is_not_the_logged_one_is_said_to_be_so(run: Path) -> None:
    text = (run / "run.json").read_text()
    assert "Answer:" in text
    (run / "run.json").write_text(text.replace("Answer:", "Reply:"))
    assert {one["replies"][0]["same"] for one in page(run).details} == {False}


def test_samples_are_all_told_with_the_prompts_that_differ(mini: Path) -> None:
    cascade("run", "--dataset", mini, *FLAGS, "--samples", "3", "--shuffle-choices")
    shown = page(only_run())
    replies = shown.details[0]["replies"]
    assert [one["sample"] for one in replies] == [0, 1, 2]
    assert len({json.dumps(one["prompt"]) for one in replies}) == 3
    assert all(one["same"] for one in replies)
    assert shown.index["items"][0]["vote"] and "pass@3" in shown.text


def test_a_run_with_a_clip_missing_says_why_there_is_no_reply(mini: Path) -> None:
    Path("2.wav").unlink()
    assert cascade("run", "--dataset", mini, *FLAGS).exit_code == 3
    shown = page(only_run())
    item, found = shown.index["items"][2], shown.details[2]
    assert (item["st"], item["lost"]) == ("failed", ["speech", "sound"])
    assert "No such file" in found["captions"][0]["failure"] and "caption" in found["replies"][0]["failure"]
    assert "prompt" not in found["replies"][0]
    assert "and cannot be played or drawn: 1." in shown.text


# Several runs


def test_the_full_set_comes_first_and_controls_are_known_by_their_specs(family: Path) -> None:
    paths = sorted(family.iterdir(), reverse=True)
    told = load.load_report(paths)
    assert told.main.run.path.name == "all"
    assert {one.run.path.name for one in told.others if one.role} == {"blind", "mismatched", "oracle", "shuffled"}
    assert {one.role for one in told.others if one.role} == {"blind", "mismatched", "oracle", "shuffled"}
    assert [bool(one.role) for one in told.others] == sorted(bool(one.role) for one in told.others)
    assert load.load_report([family]).main.name == "all: speech + sound"


def test_wrong_items_are_perception_or_reasoning(family: Path) -> None:
    main, oracle = outcomes.score_source(family / "all"), outcomes.score_source(family / "oracle")
    right = {one.item: one.correct["mmar"] for one in oracle.scores.values()}
    wrong = [one.item for one in main.scores.values() if not one.correct["mmar"]]
    wanted = {item: "perception" if right[item] else "reasoning" for item in wrong}
    shown = page(family)
    assert {item["id"]: item["why"] for item in shown.index["items"] if "why" in item} == wanted and wanted
    assert "What each source adds" in shown.text and "Side by side" in shown.text
    keys = [facet["key"] for facet in shown.index["facets"]]
    assert keys == ["st", "why", "flag", "modality", "layer", "captions", "vs"]
    assert shown.index["runs"][1 + shown.index["blind"]] == "blind"


def test_an_ablation_with_rounds_has_the_same_diagnosis_in_both_places(mini: Path) -> None:
    flags = ["--llm", "fake", "--captions", "speech=fake", "--rounds", "1", "--rounds-with", "sound=fake"]
    printed = cascade("ablate", "--dataset", mini, *flags, "--out", "family", "--format", "json")
    causes = json.loads(printed.stdout)["diagnosis"]["items"]
    assert causes == {"q2": "perception", "q5": "reasoning", "q6": "reasoning", "q7": "reasoning"}
    assert load.load_report([Path("family")]).causes == causes


def test_mismatched_captions_are_shown_as_they_were_asked_with(family: Path) -> None:
    assert all(one["replies"][0]["same"] for one in page(family / "mismatched").details)


def test_other_runs_answers_stand_beside_each_item(family: Path) -> None:
    shown = page(family / "all", family / "blind")
    blind = outcomes.score_source(family / "blind")
    assert [one["others"][0]["choice"] for one in shown.details] == [one.choice.text for one in blind.scores.values()]
    assert [item["o"][0] for item in shown.index["items"]] == [
        "right" if one.correct["mmar"] else "wrong" for one in blind.scores.values()
    ]


def test_runs_of_different_lengths_are_paired_on_what_both_have(mini: Path) -> None:
    cascade("run", "--dataset", mini, *FLAGS, "--out", "long")
    cascade("run", "--dataset", mini, "--llm", "fake", "--captions", "none", "--limit", "5", "--out", "short")
    shown = page(Path("long"), Path("short"))
    assert "paired on 5 items; 3 are only in" in shown.text
    assert [item["o"] for item in shown.index["items"]][5:] == [[""]] * 3


def test_runs_without_a_common_item_are_refused(mini: Path) -> None:
    cascade("run", "--dataset", mini, *FLAGS, "--out", "one")
    other = write(Path("other.jsonl"), [{**row, "id": f"x{row['id']}"} for row in rows(3)])
    cascade("run", "--dataset", other, *FLAGS, "--out", "two")
    with pytest.raises(UserError, match="no item in common"):
        page(Path("one"), Path("two"))


# Hostile text


@pytest.fixture
def hostile(mini: Path) -> Path:
    return hostile_run()


def test_hostile_text_stays_text(hostile: Path) -> None:
    shown = page(hostile)
    names = [name for name, _ in shown.tags]
    assert names.count("script") == 3 and not {"img", "iframe", "b onmouseover"} & set(names)
    for tag, attributes in shown.tags:
        assert not [name for name in attributes if name.startswith("on") or name in ("style", "src")], (tag, attributes)
        assert str(attributes.get("href", "#")).startswith(("#", "data:,")), attributes
    assert [item["q"] for item in shown.index["items"]] == HOSTILE
    assert [one["captions"][0]["text"] for one in shown.details] == HOSTILE
    assert not set("<>&\u2028\u2029") & set(shown.block("index"))
    assert all(text.strip("\x00") in shown.text for text in HOSTILE if "\x00" not in text)


def test_half_a_surrogate_pair_does_not_stop_a_report(run: Path) -> None:
    change(run, "q0", Completion(text="Answer: \ud800 rain", finish="stop"))
    html_report([run], Path("report.html")).encode()


def test_the_policy_lets_in_nothing_but_our_script_and_style(run: Path) -> None:
    shown = page(run)
    (policy,) = (attributes["content"] for _, attributes in shown.tags if "http-equiv" in attributes)
    for kind in ("script", "style"):
        hashed = base64.b64encode(hashlib.sha256(shown.block(kind).encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{hashed}'" in str(policy)
    assert str(policy).startswith("default-src 'none'") and "unsafe" not in str(policy)
    assert not [tag for tag, attributes in shown.tags if "src" in attributes]
    addresses = set(re.findall(r"https?://[^\s\"']+", shown.block("script") + shown.block("style")))
    assert addresses == {"http://www.w3.org/2000/svg"}


# Clips


def test_a_clip_is_found_from_where_the_page_lies(tmp_path: Path) -> None:
    clip = tmp_path / "data" / "a b#1%'é.wav"
    assert clips.address(clip, tmp_path / "out" / "report.html") == "../data/a%20b%231%25%27%C3%A9.wav"
    assert clips.address(tmp_path / "javascript:x", tmp_path / "report.html") == "javascript%3Ax"


def test_peaks_are_characters_and_as_long_as_the_clip() -> None:
    found = clips.peaks(DEMO / "02.flac")
    assert len(found["peaks"]) == clips.BINS and set(found["peaks"]) >= {"0", "Z"} and found["peaks"].isalnum()
    assert found["seconds"] == pytest.approx(audio.probe(DEMO / "02.flac").duration_s, abs=0.001)


def test_copies_are_small_and_can_be_heard(tmp_path: Path) -> None:
    made = tmp_path / "copy.webm"
    made.write_bytes(audio.opus(DEMO / "04.flac"))
    source, copy = audio.probe(DEMO / "04.flac"), audio.probe(made)
    assert made.stat().st_size * 8 / source.duration_s < 40_000
    assert copy.channels == 1 and copy.duration_s == pytest.approx(source.duration_s, abs=0.1)


def test_clips_are_drawn_embedded_or_said_to_be_missing(mini: Path) -> None:
    cascade("run", "--dataset", mini, *FLAGS)
    Path("0.wav").write_bytes((DEMO / "02.flac").read_bytes())
    Path("1.wav").unlink()
    shown = page(only_run(), embed_audio=True)
    whole, missing, damaged = shown.index["clips"][:3]
    assert whole["peaks"] and whole["src"] == "0.wav" and "data" not in whole
    assert "no such file" in missing["missing"] and "src" not in missing
    assert "cannot be decoded" in damaged["damage"]
    assert base64.b64decode(shown.block("copy-0"))[:4] == b"\x1aE\xdf\xa3"  # WebM


def test_clips_that_are_no_files_are_missing(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    told = clips.clip_records([], "", tmp_path / "r.html", embed=False)
    assert told == {}


@pytest.mark.parametrize(
    ("meta", "told"),
    [
        ({}, []),
        ({"spans": [{"label": "music", "start": 1, "end": 2.5}]}, [(1, 2.5, "music")]),
        ({"segments": [{"start": 0, "end": 1, "text": "hi", "dropped": "improbable"}]}, [(0, 1, "hi")]),
        ({"windows": [{"start": 7, "end": 9, "text": "b"}, {"start": 0, "end": 7, "text": "a"}]}, [(0, 7, "a"), (7, 9, "b")]),  # noqa: E501
        ({"windows": [{"start": 0, "end": 7, "tags": {"x": [["Dog", 1]], "y": [["Bark"]]}}]}, [(0, 7, "Dog, Bark")]),
        ({"windows": [{"start": 0, "end": 7, "language": "en"}]}, []),
        ({"silences": [[1.0, 2.0]]}, [(1.0, 2.0, "silence")]),
        ({"spans": "no", "segments": [3, {"start": "0", "end": 1, "text": "x"}], "windows": [{"start": 0.0}]}, []),
        ({"spans": [{"label": "x", "start": float("nan"), "end": 1}]}, []),
    ],
)  # fmt: skip
def test_when_something_was_heard(meta: dict[str, Any], told: list[tuple[float, float, str]]) -> None:
    assert [(one["start"], one["end"], one["text"]) for one in timeline.timeline_spans(meta)] == told


# Markdown


def test_markdown_of_one_run(run: Path) -> None:
    text = markdown_report([run])
    summary = score(run)
    share = f"{100 * summary.scores['mmar'].accuracy:.1f}"
    assert text.startswith("## fake on mini\n\nspeech: fake · sound: fake\n\nitems 8 · prompt default · when ")
    assert f"\n| speech + sound | 8 | {share} | " in text
    assert "\n| chance |  | 25.0 |  | 25.0 |  |  |  |  |  |\n" in text
    assert "\n| modality | n | speech + sound | 95 % |\n" in text
    assert text.count("\n\n") == 6


def test_markdown_of_a_family_has_every_table(family: Path) -> None:
    tables = [part for part in markdown_report([family]).split("\n\n") if part.startswith("|")]
    heads = [table.split("|")[1].strip() for table in tables]
    assert heads == ["run", "modality", "layer", "run", "adds: all − without it", ""]
    assert tables[3].startswith("| run | n | run − all: speech + sound | 95 % |")
    for table in tables:
        assert len({line.replace(r"\|", "").count("|") for line in table.splitlines()}) == 1


def test_report_and_ablate_give_a_difference_the_same_sign(family: Path) -> None:
    ablated = json.loads(
        cascade("ablate", "--dataset", "mini.jsonl", *FLAGS, "--out", family, "--format", "json").stdout
    )
    wanted = {}
    for member in ablated["members"]:
        if member["to_full"]:
            wanted[Path(member["run"]).name] = member["to_full"]["difference"]
    told = load.load_report([family])
    assert {
        one.run.path.name: pair.difference for one, pair in zip(told.others, told.comparisons, strict=True)
    } == wanted
    assert any(wanted.values())
    table = next(part for part in markdown_report([family]).split("\n\n") if part.startswith("| run | n | run −"))
    for one, line in zip(told.others, table.splitlines()[2:], strict=True):
        assert line.split(" | ")[2] == charts.signed(wanted[one.run.path.name])


def test_only_what_the_corrected_test_supports_has_a_colour() -> None:
    """Twelve of twelve discordant items are p = 0.0005, five of five 0.06 although the interval is above zero."""

    def kind(only_a: int, p_holm: float | None = None) -> str:
        test = McNemar(only_a=only_a, only_b=0, p=mcnemar(only_a, 0), p_holm=p_holm)
        ends = paired_interval(only_a, 0, 12)
        assert ends[0] > 0
        pair = PairedDifference(n=12, a=1.0, b=0.0, difference=only_a / 12, ci95=ends, mcnemar=test)
        return charts.difference(pair, 1.0).kind

    assert [kind(12), kind(12, 0.04), kind(12, 0.06), kind(5)] == ["more", "more", "even", "even"]


def test_hostile_text_stays_text_in_markdown(hostile: Path) -> None:
    text = markdown_report([hostile])
    assert "<script" not in text and "<img" not in text and "\u202e" not in text and "\x1b" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text


# The command


def test_the_command_writes_into_the_run_and_verify_does_not_mind(run: Path) -> None:
    said = cascade("report", run)
    assert (said.exit_code, said.stdout) == (0, f"{run}/report.html\n")
    assert (run / "report.html").read_text().startswith("<!doctype html>")
    assert cascade("verify", run).exit_code == 0
    assert cascade("run", "--dataset", "mini.jsonl", *FLAGS).exit_code == 0


def test_markdown_goes_to_stdout_or_a_file(run: Path) -> None:
    assert cascade("report", run, "--format", "md").stdout.startswith("## fake on mini")
    assert cascade("report", run, "--format", "md", "--out", "told.md").stdout == "told.md\n"
    assert Path("told.md").read_text() == markdown_report([run])


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["nowhere"], "nowhere: there is no such run directory"),
        (["empty"], "empty is no run directory, and has none in it"),
        (["mini.jsonl"], "mini.jsonl is a file: a report is made from run directories; `cascade score mini.jsonl`"),
        (["{run}", "--out", "no/report.html"], "there is no folder no; make it first: mkdir -p no"),
        (["{run}", "--out", "empty"], "is a folder; name a file: --out empty/report.html"),
        (["{run}", "--format", "pdf"], "unknown format 'pdf'"),
        (["{run}", "--format", "md", "--embed-audio"], "Markdown has no clips"),
    ],
)
def test_mistakes_are_one_line(run: Path, flags: list[str], named: str) -> None:
    Path("empty").mkdir()
    said = cascade("report", *[flag.replace("{run}", str(run)) for flag in flags])
    assert said.exit_code == 2 and named in said.stderr and said.stderr.count("\n") == 1


def test_a_missing_package_is_named_with_what_installs_it(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(MissingExtra, match=r"pip install 'audio-cascade\[report\]'"):
        page(run)
    monkeypatch.setattr("cascade.plugins.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"--embed-audio needs the module 'numpy'"):
        page(run, embed_audio=True)


def test_a_damaged_run_is_refused_by_file_and_line(run: Path) -> None:
    (run / "captions.jsonl").write_text("{\n")
    with pytest.raises(RunError, match=r"captions\.jsonl:1"):
        page(run)


@pytest.mark.parametrize(("doubt", "language"), [({"language_doubt": True}, "en, doubtful"), ({}, "en")])
def test_a_doubtful_language_is_shown_as_such(doubt: dict[str, bool], language: str) -> None:
    caption = CaptionRecord(item="q1", slot="speech", key="", text="", meta={"language": "en", **doubt})
    assert items._caption(caption, "faster-whisper")["language"] == language
