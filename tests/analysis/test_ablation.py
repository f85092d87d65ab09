"""Families of runs: which there are, whose captions are shown, what is read off them, and the command as one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from cascade.analysis import ablation, verify
from cascade.errors import UnknownName, UserError
from cascade.pipeline import ablation_plan
from cascade.prompting import evidence
from cascade.runs import describe
from cascade.scoring import outcomes
from cascade.types import CaptionerSpec, CaptionRecord, Item, LLMSpec, PromptSpec, RunSpec
from tests.support.commands import cascade, log_of, write
from tests.support.stub_server import Reply, Stub

SLOTS = ("speech", "sound", "music")
ENGINES = tuple(CaptionerSpec(slot=slot, name="fake", version="1", params={}) for slot in SLOTS)
ORACLE = CaptionerSpec(slot="cue", name="oracle", version="1", params={"field": "cue"})
SPEC = RunSpec(
    dataset="d",
    dataset_digest="b2:d",
    captioners=ENGINES,
    prompt=PromptSpec(template="default", template_digest="b2:t", slots=SLOTS),
    llm=LLMSpec(model="fake"),
)


def labels(variants: dict[str, RunSpec]) -> dict[str, str]:
    return {name: describe.evidence_label(spec) for name, spec in variants.items()}


def test_the_whole_family() -> None:
    assert labels(ablation_plan.variants(SPEC, 7, ORACLE)) == {
        "all": "speech+sound+music",
        "speech": "speech",
        "sound": "sound",
        "music": "music",
        "without-speech": "sound+music",
        "without-sound": "speech+music",
        "without-music": "speech+sound",
        "blind": "blind",
        "mismatched": "speech+sound+music, mismatched",
        "oracle": "oracle",
        "shuffled": "speech+sound+music, shuffled",
    }


def test_no_variant_is_there_twice() -> None:
    two = replace(SPEC, captioners=ENGINES[:2], prompt=replace(SPEC.prompt, slots=SLOTS[:2]))
    assert list(ablation_plan.variants(two)) == ["all", "speech", "sound", "blind", "mismatched", "shuffled"]
    none = replace(SPEC, captioners=(), prompt=replace(SPEC.prompt, slots=()))
    assert list(ablation_plan.variants(none, 0, ORACLE)) == ["all", "oracle", "shuffled"]
    assert list(ablation_plan.variants(SPEC, 0, None, ["blind", "oracle"])) == ["all", "blind"]


def test_what_is_no_family_is_refused() -> None:
    with pytest.raises(UnknownName, match=r"unknown kind of variant 'blnd' \(did you mean 'blind'\?\)"):
        ablation_plan.variants(SPEC, 0, None, ["blnd"])
    with pytest.raises(UserError, match="choices in their own order"):
        ablation_plan.variants(replace(SPEC, prompt=replace(SPEC.prompt, order_seed=1)))


@pytest.mark.parametrize("seed", range(5))
def test_a_donor_is_another_clip_and_stays_when_the_run_grows(seed: int) -> None:
    clips: dict[str, object] = {f"{n}.wav": n // 2 for n in range(40)}  # pairs of files with the same sound
    donors = evidence.mismatched(clips, seed)
    assert all(clips[donor] != clips[clip] for clip, donor in donors.items())
    for size in (3, 4, 17, 39):
        part = evidence.mismatched(dict(list(clips.items())[:size]), seed)
        assert part == {clip: donors[clip] for clip in part}
    assert len(set(donors.values())) > 15
    assert donors != evidence.mismatched(clips, seed + 1)


def test_one_clip_alone_has_no_donor() -> None:
    with pytest.raises(UserError, match="need two different clips"):
        evidence.mismatched({"a": 1, "b": 1}, 0)


def test_items_of_one_clip_get_the_same_other_clips_captions() -> None:
    items = [Item(id=f"q{n}", audio=f"{n // 2}.wav", question="?", choices=("a", "b"), answer="a") for n in range(6)]
    captions = [CaptionRecord(item=item.id, slot="speech", key=item.audio, text=f"of {item.audio}") for item in items]
    spec = PromptSpec(template="t", template_digest="b2:t", slots=("speech",), mismatch_seed=3)
    shown = evidence.captions_shown({item.id: item.audio for item in items}, captions, spec)
    assert all(shown[item.id]["speech"].key != item.audio for item in items)
    assert all(shown[f"q{n}"]["speech"].text == shown[f"q{n + 1}"]["speech"].text for n in (0, 2, 4))
    assert (
        evidence.captions_shown({item.id: item.audio for item in items}, captions, replace(spec, mismatch_seed=None))[
            "q3"
        ]["speech"].text
        == "of 1.wav"
    )


# The command, with a model that answers what it reads in its evidence and guesses the first choice elsewhere

CHOICES = ["wind", "rain", "a bell", "a siren"]


@pytest.fixture
def dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Twelve clips; speech tells the answer of seven, sound of three; every other cue helps, the last is missing."""
    monkeypatch.chdir(tmp_path)
    questions = [
        {
            "id": f"q{n}",
            "audio_path": f"{n}.wav",
            "question": f"What is heard in clip {n}?",
            "choices": CHOICES,
            "answer": CHOICES[n % 4],
            "modality": "speech" if n < 8 else "sound",
            "cue": [] if n == 11 else [CHOICES[n % 4] if n % 2 else "a murmur"],
        }
        for n in range(12)
    ]
    for slot, known in {"speech": range(7), "sound": (5, 8, 9)}.items():
        captions = [{"id": f"q{n}", "text": CHOICES[n % 4] if n in known else "a murmur"} for n in range(12)]
        Path(f"{slot}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in captions))
    return write(tmp_path / "mine.jsonl", questions)


def reader(request: dict[str, Any], number: int) -> Reply:
    """Answers with the choice that the notes name, else with the first."""
    notes, _, asked = str(request["messages"][-1]["content"]).partition("Question:")
    named = [choice for choice in CHOICES if choice in notes]
    shown = sorted(CHOICES, key=lambda choice: asked.rindex(choice))
    return Reply(text=f"Answer: {named[0] if len(named) == 1 else shown[0]}")


def ablate(dataset: Path, stub: Stub, *args: str, command: str = "ablate") -> Any:
    captions = "speech=file(path=speech.jsonl),sound=file(path=sound.jsonl)"
    return cascade(
        command, "--dataset", dataset, "--captions", captions, "--llm", "gpt-x", "--api-base", stub.url, *args
    )


def squeezed(text: str) -> list[str]:
    return [" ".join(line.split()) for line in text.splitlines()]


def test_the_command_runs_the_family_and_says_what_adds_what(dataset: Path) -> None:
    with Stub(reader) as stub:
        plan = ablate(dataset, stub, "--dry-run")
        assert plan.exit_code == 0 and not stub.asked and not Path("runs").exists()
        assert "calls 83 (83 questions, 1 sample each; 0 answered already)" in squeezed(plan.stdout)
        first = ablate(dataset, stub)
        assert first.exit_code == 0 and "failed (" not in first.stderr and len(stub.asked) == 83
        assert "; 1 not applicable to oracle, left out there on both sides; chance " in first.stdout
        again = ablate(dataset, stub)
        assert again.stdout == first.stdout and len(stub.asked) == 83
    lines = squeezed(first.stdout)
    assert "all: speech+sound 12 75.00 46.8-91.1 75.00 0 0" in lines
    assert any(line.startswith("speech (without sound) 12 66.67") and " -8.33 " in line for line in lines)
    assert any(line.startswith("sound (without speech) 12 41.67") and " -33.33 " in line for line in lines)
    assert any(line.startswith("blind 12 25.00") and " -50.00 " in line for line in lines)
    mismatched = next(line for line in lines if line.startswith("mismatched 12")).split()
    assert float(mismatched[2]) < 50 and mismatched[5].startswith("-")
    adds = lines[lines.index("adds: all - without it n speech 95 % sound 95 %") :]
    assert adds[1].startswith("all 12 +33.33 ") and " +8.33 " in adds[1]
    assert adds[3].startswith("sound 4 0.00 -49.0 to +49.0 +25.00 ")
    wrong = lines[lines.index("wrong in all n perception reasoning unknown") :]
    assert wrong[1:4] == ["all 3 1 1 1", "sound 2 0 1 1", "speech 1 1 0 0"]
    (folder,) = Path("runs").iterdir()
    assert folder.name.startswith("ablate-mine-gpt-x-")
    assert {path.name for path in folder.iterdir()} == {
        "all", "speech", "sound", "blind", "mismatched", "oracle", "shuffled"
    }  # fmt: skip
    for run in folder.iterdir():
        assert verify.verify(run).problems == [], run


def test_a_run_that_was_cut_goes_on_with_the_whole_family(dataset: Path) -> None:
    def refusing(request: dict[str, Any], number: int) -> Reply:
        return Reply(status=401, text="no such key") if number >= 30 else reader(request, number)

    with Stub(refusing) as stub:
        cut = ablate(dataset, stub, "--concurrency", "1")
        assert cut.exit_code == 2 and len(stub.asked) == 31
    with Stub(reader) as stub:
        assert "--same-model if both serve one model" in ablate(dataset, stub).stderr
        ablate(dataset, stub, "--same-model")
        assert len(stub.asked) == 83 - 30


def test_what_run_asked_before_is_not_asked_again(dataset: Path) -> None:
    with Stub(reader) as stub:
        assert ablate(dataset, stub, "--limit", "5", command="run").exit_code == 0 and len(stub.asked) == 5
        only = ("--variants", "blind")
        assert "calls     19 (" in ablate(dataset, stub, *only, "--dry-run").stdout
        assert ablate(dataset, stub, *only).exit_code == 0 and len(stub.asked) == 5 + 7 + 12
        assert ablate(dataset, stub, *only).exit_code == 0 and len(stub.asked) == 24
    whole = next(Path("runs").glob("ablate-*/all"))
    assert cascade("verify", whole).exit_code == 0
    assert [path.name for path in whole.parent.iterdir() if path.name.startswith(".")] == []


def test_a_larger_run_than_the_family_is_left_alone(dataset: Path) -> None:
    with Stub(reader) as stub:
        assert ablate(dataset, stub, command="run").exit_code == 0
        ablate(dataset, stub, "--variants", "blind", "--limit", "4")
        assert len(stub.asked) == 12 + 2 * 4


def test_a_mismatched_prompt_holds_another_clips_words(dataset: Path) -> None:
    with Stub(reader) as stub:
        ablate(dataset, stub, "--variants", "mismatched", "--limit", "5")
        small = log_of(next(Path("runs").iterdir()) / "mismatched")
        ablate(dataset, stub, "--variants", "mismatched")
    (folder,) = Path("runs").iterdir()
    assert len(small) == 5 and log_of(folder / "mismatched")[:5] == small
    assert len(log_of(folder / "mismatched")) == 12
    own = {(line["item"]): line["captions"] for line in log_of(folder / "all")}
    assert all(line["captions"] != own[line["item"]] for line in log_of(folder / "mismatched"))
    assert verify.verify(folder / "mismatched").problems == []


def test_a_family_is_read_from_its_directories_alone(dataset: Path) -> None:
    with Stub(reader) as stub:
        printed = json.loads(ablate(dataset, stub, "--format", "json").stdout)
    (folder,) = Path("runs").iterdir()
    family = ablation.read_family([outcomes.score_source(run) for run in sorted(folder.iterdir(), reverse=True)])
    assert {member.name: member.accuracy for member in family.members} == {
        member["name"]: member["accuracy"] for member in printed["members"]
    }
    assert family.diagnosis
    assert family.diagnosis.items == {"q7": "perception", "q10": "reasoning", "q11": "unknown"}
    assert family.adds["speech"][""].difference == pytest.approx(4 / 12)
    assert set(printed["adds"]["sound"]) == {"", "speech", "sound"}
    part = ablation.read_family([outcomes.score_source(folder / name) for name in ("shuffled", "blind")])
    assert [member.name for member in part.members] == ["speech+sound, shuffled", "blind"] and part.diagnosis is None


def test_the_budget_is_the_familys_however_often_it_is_resumed(dataset: Path) -> None:
    with Stub(lambda request, number: Reply(text="Answer: a")) as stub:
        args: list[str | Path] = [
            "ablate",
            "--dataset",
            dataset,
            "--llm",
            "openai/x",
            "--captions",
            "none",
            "--api-base",
            stub.url,
        ]
        priced = [*args, "--price", "0,10000", "--max-tokens", "7", "--concurrency", "1", "--budget", "1"]
        for _ in range(3):
            result = cascade(*priced)
            assert result.exit_code == 4 and "--budget 1: $0.9800 is spent" in result.stderr
            assert len(stub.asked) == 14


def test_the_cues_are_no_start() -> None:
    with pytest.raises(UserError, match="cue=oracle: an ablation starts from captions of the clips"):
        ablation_plan.variants(replace(SPEC, captioners=(*ENGINES, ORACLE)))


def test_one_clip_has_no_other_clips_captions(dataset: Path) -> None:
    refused = cascade("ablate", "--dataset", dataset, "--llm", "fake", "--captions", "speech=fake", "--limit", "1")
    assert refused.exit_code == 2 and "mismatched captions need two different clips" in refused.stderr
