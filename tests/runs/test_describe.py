"""Labels: two runs that differ in anything are told apart wherever they stand together."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import fields, replace

from cascade.report import load
from cascade.runs import describe
from cascade.types import CaptionerSpec, CaptionRecord, LLMSpec, PromptSpec, RoundsSpec, RunSpec
from tests.support.commands import cascade, rows, write

SPEECH = CaptionerSpec(slot="speech", name="whisper", version="1", params={"model": "tiny", "prompt": "x" * 60})
SOUND = CaptionerSpec(slot="sound", name="clapcap", version="1", params={"weights": "b2:" + "a" * 32})
SPEC = RunSpec(
    dataset="mmar",
    dataset_digest="b2:" + "1" * 32,
    captioners=(SPEECH, SOUND),
    prompt=PromptSpec(template="default", template_digest="b2:" + "2" * 32, slots=("speech", "sound")),
    llm=LLMSpec(model="local:x.gguf@b2:11", params={"temperature": 0}),
    limit=5,
    only={"modality": ("speech",)},
)
ROUNDS = RoundsSpec(most=1, engines=(SPEECH,), form="calls", version="1")
CHANGED: dict[type, dict[str, tuple[Any, ...]]] = {
    LLMSpec: {
        "model": ("gpt-4o", "local:x.gguf@b2:12"),
        "params": ({}, {"temperature": 1}, {"temperature": 0, "seed": 3}),
        "samples": (3,),
        "answer_as": ("choice",),
    },
    PromptSpec: {
        "template": ("steps",),
        "template_digest": ("b2:" + "3" * 32,),
        "mismatch_seed": (0, 1),
        "order_seed": (0, 1),
    },
    CaptionerSpec: {
        "name": ("faster-whisper",),
        "version": ("2",),
        "params": (
            {**SPEECH.params, "model": "large-v3"},
            {**SPEECH.params, "prompt": "x" * 59 + "y"},
            {**SPEECH.params, "prompt": "x" * 60 + "\n"},
        ),
    },
    RunSpec: {
        "dataset": ("mmau",),
        "dataset_digest": ("b2:" + "4" * 32,),
        "captioners": ((SPEECH,), (SOUND, SPEECH), ()),
        "limit": (None, 6),
        "only": ({}, {"modality": ("sound",)}),
        "rounds": (
            ROUNDS,
            replace(ROUNDS, most=2),
            replace(ROUNDS, form="text"),
            replace(ROUNDS, version="2"),
            replace(ROUNDS, engines=(SPEECH, SOUND)),
            replace(ROUNDS, engines=(replace(SPEECH, params={**SPEECH.params, "model": "base"}),)),
        ),
    },
}


def changed_specs() -> list[RunSpec]:
    """Return the spec, and each that differs from it in one part."""
    specs = [SPEC]
    for kind, changes in CHANGED.items():
        for name, values in changes.items():
            for value in values:
                if kind is RunSpec:
                    spec = replace(SPEC, **{name: value})
                    slots = tuple(captioner.slot for captioner in spec.captioners)
                    specs.append(replace(spec, prompt=replace(spec.prompt, slots=slots)))
                elif kind is CaptionerSpec:
                    specs.append(replace(SPEC, captioners=(replace(SPEECH, **{name: value}), SOUND)))
                else:
                    part = "llm" if kind is LLMSpec else "prompt"
                    specs.append(replace(SPEC, **{part: replace(getattr(SPEC, part), **{name: value})}))
    return specs


def test_every_field_of_a_spec_is_tried() -> None:
    """A field that a spec gains is tried here; others follow the captioners, and `origin` is a place."""
    followed = {"slots", "slot", "headings", "audio", "origin"}
    for kind, changes in CHANGED.items():
        named = {field.name for field in fields(kind)} - followed
        assert changes.keys() | {"prompt", "llm"} >= named, kind


def test_runs_that_differ_in_anything_have_different_labels() -> None:
    specs = changed_specs()
    assert len({str(spec) for spec in specs}) == len(specs)
    labels = describe.differences(specs, ())
    assert len(set(labels)) == len(specs)
    for spec in specs[1:]:
        alone = describe.differences([SPEC, spec], ())
        assert alone[0] != alone[1], spec
        paths = [Path("a/x"), Path("b/x")]
        names = load._names([SPEC, spec], paths)
        assert names[0] != names[1] and not any("x)" in name for name in names), spec
    names = load._names(specs, [Path("x")] * len(specs))
    assert len(set(names)) == len(specs)


def test_equal_parts_are_left_out() -> None:
    other = replace(SPEC, llm=replace(SPEC.llm, params={"temperature": 1}))
    assert describe.differences([SPEC, other], ()) == ["temperature=0", "temperature=1"]
    assert describe.differences([SPEC, SPEC, None], ())[0].startswith("captions=speech=whisper sound=clapcap")
    assert describe.differences([SPEC, SPEC], ()) == ["", ""]
    cut = replace(SPEC, captioners=(SPEECH,))
    assert describe.differences([SPEC, cut], ()) == [
        "captions=speech=whisper sound=clapcap",
        "captions=speech=whisper",
    ]
    prompt = replace(SPEC, prompt=replace(SPEC.prompt, template_digest="b2:" + "3" * 32))
    assert describe.differences([SPEC, prompt], ()) == ["default digest=22222222", "default digest=33333333"]


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Runs of one folder name that differ in a caption's parameter, in temperature, and in the prompt's text."""
    monkeypatch.chdir(tmp_path)
    data = write(tmp_path / "mini.jsonl", [*rows(4)])
    flags = {
        "a": ["--captions", "sound=fake(text=Rain.)"],
        "b": ["--captions", "sound=fake(text=Wind.)"],
        "c": ["--captions", "sound=fake(text=Rain.)", "--param", "temperature=1"],
        "d": ["--captions", "sound=fake(text=Rain.)", "--prompt", "default.md"],
    }
    text = cascade("prompts", "show", "default").stdout
    Path("default.md").write_text(text.replace("Question", "The question"))
    for name, given in flags.items():
        assert cascade("run", "--dataset", data, "--llm", "fake", *given, "--out", f"{name}/x").exit_code == 0
    return [f"{name}/x" for name in flags]


def test_no_two_rows_of_a_table_have_the_same_label(runs: list[str]) -> None:
    board = list(csv.DictReader(io.StringIO(cascade("leaderboard", *runs, "--format", "csv").stdout)))
    assert len({(row["model"], row["captions"], row["prompt"], row["differs"]) for row in board}) == 4
    latex = cascade("leaderboard", *runs, "--format", "latex").stdout.splitlines()
    assert len({line.rpartition(" & ")[0] for line in latex if line.startswith("fake")}) == 4
    for form in ("table", "latex", "md", "csv"):
        printed = cascade("compare", *runs, "--format", form).stdout
        for label in ("text=Rain.", "text=Wind.", "temperature=1", "digest="):
            assert label in printed, form
    for form in ("table", "latex", "md"):
        printed = cascade("compare", runs[0], runs[2], "--format", form).stdout
        assert "A: a/x (fake)" in printed and "B: c/x (fake; temperature=1)" in printed
    report = cascade("report", *runs, "--format", "md").stdout
    table = next(part for part in report.split("\n\n") if part.startswith("| run | n | mmar"))
    names = [line.split(" | ")[0] for line in table.splitlines()[2:-1]]
    assert len(set(names)) == 4 and any("temperature=1" in name for name in names)


def test_captions_that_were_cut_off_are_named_by_slot() -> None:
    def record(number: int, slot: str, **meta: Any) -> CaptionRecord:
        return CaptionRecord(item=f"q{number}", slot=slot, key="", text="", meta=meta)

    cut = [record(number, "a", truncated=number != 1) for number in range(5)]
    assert describe.truncated_captions([record(0, "b"), *cut, record(1, "b", truncated="no")]) == [
        "a: 4 of 5 captions are cut off at the end: q0, q2, q3, …; they are used as they are, and --caption-param "
        "a.max_tokens=N with a higher limit makes all of a anew"
    ]
    assert describe.truncated_captions(cut[1:2]) == []
