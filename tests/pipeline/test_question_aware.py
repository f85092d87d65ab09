"""Runs whose evidence knows the question, or is merged in a digest: identity, cache, faults, budget, controls, arms."""

from __future__ import annotations

import base64
import io
import json
import re
import wave
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from cascade.captioning.cache import CaptionCache
from cascade.io.digests import digest_file
from cascade.prompting.listening import question_digest
from cascade.runs import directory
from cascade.types import Caption, CaptionerSpec, CaptionRecord
from tests.support import clips
from tests.support.commands import cascade, rows, write
from tests.support.pages import Page
from tests.support.stub_server import Reply, Stub

np = pytest.importorskip("numpy")
pytest.importorskip("soundfile")
CHOICES = ["rain", "a bell", "a siren", "wind"]


class Ear:
    """A listener, a digester and an answering model in one server; `asked` counts the calls of each."""

    def __init__(self) -> None:
        self.faults: list[Reply] = []
        self.listened: list[tuple[str, int, str]] = []  # model, Hz of the clip, question or ""
        self.merged: list[str] = []
        self.answered: list[str] = []

    def __call__(self, request: dict[str, Any], number: int) -> Reply:
        content = request["messages"][-1]["content"]
        if self.faults and request["model"] != "gpt-x":
            return self.faults.pop(0)
        if isinstance(content, list):
            question = re.search(r"Question: (.*)", content[0]["text"])
            hertz = _pitch(content[-1]["input_audio"]["data"])
            self.listened.append((request["model"], hertz, question[1] if question else ""))
            if question:
                return Reply(text=f"It is a tone of {hertz} Hz. The answer is {CHOICES[hertz // 100 % 4]}.")
            return Reply(text=f"A tone of {hertz} Hz by {request['model']}.")
        if content.startswith("The reports"):
            self.merged.append(content)
            return Reply(text="Both hear " + " and ".join(sorted(set(re.findall(r"\d+ Hz", content)))) + ".")
        self.answered.append(content)
        pitches = re.findall(r"(\d+) Hz", content)
        return Reply(text=f"Answer: {CHOICES[int(pitches[0]) // 100 % 4] if pitches else 'rain'}")


def _pitch(data: str) -> int:
    with wave.open(io.BytesIO(base64.b64decode(data))) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
        strongest = float(np.abs(np.fft.rfft(samples)).argmax())
        rate = file.getframerate()
    return int(strongest * rate / samples.size + 0.5)


@pytest.fixture
def tones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Six questions about three clips; the answer to a question is told by the pitch of its clip."""
    monkeypatch.chdir(tmp_path)
    questions = []
    for number, row in enumerate(rows(6)):
        row["audio_path"] = f"{number // 2}.wav"
        row["answer"] = CHOICES[(4 + number // 2) % 4]
        questions.append(row)
    file = write(tmp_path / "tones.jsonl", questions)
    for number in range(3):
        clips.write(tmp_path / f"{number}.wav", clips.tone(400 + 100 * number, 0.5))
    return file


def command(
    stub: Stub, *args: str, captions: str = "a=audio-llm(model=la,question=true)", llm: bool = True
) -> list[str]:
    slots = re.findall(r"(\w+)=audio-llm", captions) + (["digest"] if "--digest" in args else [])
    addresses = [f"{slot}.api_base={stub.url}" for slot in slots]
    params = [word for address in addresses for word in ("--caption-param", address)]
    model = ["--llm", "gpt-x", "--api-base", stub.url] if llm else []
    return ["--dataset", "tones.jsonl", "--captions", captions, *params, *model, "--retries", "0", *args]


def ok(words: Sequence[str], code: int = 0) -> Any:
    result = cascade(*words)
    assert result.exit_code == code, result.output
    return result


def records(run: str) -> dict[tuple[str, str], CaptionRecord]:
    return {(record.item, record.slot): record for record in directory.read_captions(Path(run))}


TWO = "a=audio-llm(model=la,question=true),b=audio-llm(model=lb)"


def test_a_run_is_resumed_and_verified_and_pays_nothing_twice(tones: Path) -> None:
    ear = Ear()
    with Stub(ear) as stub:
        ok(["run", *command(stub, "--digest", "d", captions=TWO), "--out", "r"])
        assert sorted(ear.listened) == [
            *(("la", 400 + 100 * (n // 2), f"What is heard in clip {n}?") for n in range(6)),
            *(("lb", 400 + 100 * n, "") for n in range(3)),
        ]
        assert (len(ear.merged), len(ear.answered)) == (3, 6)  # two questions on a clip had equal captions
        before = len(stub.asked)
        ok(["run", *command(stub, "--digest", "d", captions=TWO), "--out", "r"])
        ok(["run", *command(stub, "--digest", "d", "--shuffle-choices", captions=TWO), "--out", "turned"])
        assert len(stub.asked) == before + 6  # the answers of the other run, and no caption
        assert "everything that was derived again matches" in ok(["verify", "r"]).stdout
    assert json.loads(ok(["score", "r", "--format", "json"]).stdout)["scores"]["mmar"]["accuracy"] == 1.0
    record = records("r")["q0", "a"]
    assert record.text == "It is a tone of 400 Hz." and record.meta["answers"] == ["The answer is rain."]
    assert all("The answer is" not in prompt for prompt in [*ear.merged, *ear.answered])
    assert "[Account, merged from several listeners]\nBoth hear 400 Hz." in ear.answered[0] + ear.answered[1]


def test_a_digest_by_the_model_that_answers_goes_to_its_address(mini: Path) -> None:
    with Stub() as server:
        command = ["run", "--llm", "openai/x", "--digest", "openai/x", "--api-base", server.url, "--dataset", mini]
        done = cascade(*command, "--captions", "speech=fake", "--limit", "1")
        assert done.exit_code == 0, done.output
        assert len(server.asked) == 2


def test_what_changes_a_digest_and_what_does_not(tones: Path) -> None:
    ear = Ear()
    swapped = "b=audio-llm(model=lb),a=audio-llm(model=la,question=true)"
    Path("mine.md").write_text("# user\nMerge.\n$evidence\n$question\n")
    with Stub(ear) as stub:
        ok(["caption", *command(stub, "--digest", "d", captions=TWO, llm=False)])
        whole = len(ear.merged)
        ok(["caption", *command(stub, "--digest", "d", captions=swapped, llm=False)])
        assert len(ear.merged) == whole == 3
        for more in (["--digest-question"], ["--caption-param", "digest.prompt=./mine.md"]):
            ok(["caption", *command(stub, "--digest", "d", captions=TWO, llm=False), *more])
        assert len(ear.merged) == whole + 6  # the other prompt begins in another way
        asked = len(stub.asked)
        ok(["caption", *command(stub, "--digest", "e", captions=TWO, llm=False)])
        assert len(stub.asked) == asked + 3
        # Without the question a digest of question-blind captions is one a clip.
        ok(["caption", *command(stub, "--digest", "d", captions="b=audio-llm(model=lb)", llm=False)])
        assert len(stub.asked) == asked + 3 + 3


def test_mismatched_asks_another_clip_under_this_question_and_blind_hears_nothing(tones: Path) -> None:
    ear = Ear()
    with Stub(ear) as stub:
        words = command(stub, "--digest", "d", "--digest-question", captions=TWO)
        ok(["ablate", *words, "--variants", "mismatched,blind", "--out", "family"])
        for name in ("all", "mismatched", "blind"):
            assert "everything that was derived again matches" in ok(["verify", f"family/{name}"]).stdout
    own, other = records("family/all"), records("family/mismatched")
    for number in range(6):
        asked = [hertz for model, hertz, question in ear.listened if question == f"What is heard in clip {number}?"]
        assert len(asked) == 2 and len(set(asked)) == 2
        assert other[f"q{number}", "a"].text == f"It is a tone of {asked[1]} Hz."
        assert other[f"q{number}", "a"].key != own[f"q{number}", "a"].key
        assert own[f"q{number}", "b"].key == other[f"q{number}", "b"].key  # the donor's are taken when they are shown
        assert other[f"q{number}", "digest"].text == f"Both hear {asked[1]} Hz."
    assert sum("There are none: the clip was not listened to." in prompt for prompt in ear.answered) == 6
    report = json.loads(
        cascade("ablate", *words, "--variants", "mismatched,blind", "--out", "family", "--format", "json").stdout
    )
    accuracy = {member["name"]: member["accuracy"] for member in report["members"]}
    assert accuracy["all: a+b, digested"] == 1.0 and accuracy["mismatched"] < 0.5


def test_a_mismatched_digest_that_knows_no_question_is_the_other_clips(tones: Path) -> None:
    ear = Ear()
    with Stub(ear) as stub:
        words = command(stub, "--digest", "d", captions="b=audio-llm(model=lb)")
        ok(["ablate", *words, "--variants", "mismatched", "--out", "family"])
        assert (len(ear.listened), len(ear.merged)) == (3, 3)
        assert "everything that was derived again matches" in ok(["verify", "family/mismatched"]).stdout
    assert [record.key for record in records("family/all").values()] == [
        record.key for record in records("family/mismatched").values()
    ]
    own, other = ear.answered[:6], ear.answered[6:]
    assert len({*own, *other}) == 12


def test_captions_that_were_cut_off_are_kept_and_counted(tones: Path) -> None:
    def script(request: dict[str, Any], number: int) -> Reply:
        asked = str(request["messages"])
        if request["model"] == "d":
            return Reply(text="Both hear a", finish="length")
        return Reply(text="It is a tone of", finish="length" if "clip 2" in asked else "stop")

    with Stub(script) as stub:
        words = command(stub, "--digest", "d")
        stderr = ok(["run", *words, "--out", "r"]).stderr
        stdout = ok(["caption", *command(stub, "--digest", "d", llm=False)]).stdout
        assert ok(["run", *words, "--out", "r"]).stderr.count("cut off at the end") == 2
    for output in (stderr, stdout):
        assert "a: 1 of 6 captions are cut off at the end: q2;" in output
        assert "digest: 6 of 6 captions are cut off at the end: q0, q1, q2, …;" in " ".join(output.split())
    assert [record.meta.get("truncated") for (_, slot), record in records("r").items() if slot == "a"] == [
        True if number == 2 else None for number in range(6)
    ]
    ok(["report", "r"])
    captions = Page(Path("r/report.html").read_text()).details[2]["captions"]
    assert [caption.get("truncated") for caption in captions] == [True, True]


def test_captions_of_a_file_are_merged_without_a_clip(tones: Path) -> None:
    Path("theirs.jsonl").write_text("".join(json.dumps({"id": f"q{n}", "text": f"Clip {n}."}) + "\n" for n in range(6)))
    for clip in Path().glob("*.wav"):
        clip.unlink()
    ear = Ear()
    with Stub(ear) as stub:
        ok(["run", *command(stub, "--digest", "d", captions="speech=file(path=theirs.jsonl)"), "--out", "r"])
        assert len(ear.merged) == 6 and "everything that was derived again matches" in ok(["verify", "r"]).stdout


def test_an_altered_question_or_digest_does_not_verify(tones: Path) -> None:
    with Stub(Ear()) as stub:
        ok(["run", *command(stub, "--digest", "d"), "--out", "r"])
    file = Path("r/captions.jsonl")
    text = file.read_text()
    file.write_text(text.replace("a tone of 400 Hz", "a tone of 500 Hz"))
    altered = ok(["verify", "r"], 2).output
    assert "captions.jsonl:1: this line" in altered and "'digest': the key is of another clip or engine" in altered
    file.write_text(re.sub(r', "question": "b2:\w+"', "", text))
    assert "'q0', 'a': the key is of another clip or engine" in ok(["verify", "r"], 2).output


def test_faults_by_turns_cost_the_item_and_no_other(tones: Path) -> None:
    ear = Ear()
    ear.faults = [
        Reply(status=500, text="down"),
        Reply(text="<html>busy</html>"),
        Reply(text="", finish="content_filter"),
        Reply(raw=b"{"),
        Reply(text=""),
        Reply(drop=3),
    ]
    with Stub(ear) as stub:
        words = [*command(stub, "--digest", "d"), "--concurrency", "1", "--out", "r"]
        first = ok(["run", *words], 3)
        assert ear.listened == [] and ear.answered == [] and ear.merged == []
        assert "6 items failed (caption)" in first.stderr
        assert "no digest was made: no caption of a to merge" in (Path("r") / "captions.jsonl").read_text()
        ear.faults = [Reply(status=429, text="slow"), Reply(text="It is a tone of 400 Hz.")]
        ok(["run", *words], 3)
        assert len(ear.answered) == 5
        ok(["run", *words])
        assert len(ear.answered) == 6 and "everything that was derived again matches" in ok(["verify", "r"]).stdout


def test_a_budget_that_ends_between_listening_and_merging(tones: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cascade.llms.litellm._cost", lambda reply: 0.1)
    monkeypatch.setattr("cascade.llms.origins.is_loopback", lambda api_base: False)
    ear = Ear()
    with Stub(ear) as stub:
        listener = "a=audio-llm(model=gpt-4o-audio-preview,question=true)"  # of a known price, as the digest's model
        base = command(stub, "--digest", "gpt-4o-mini", "--concurrency", "1", captions=listener)
        base += ["--price", "0,1", "--max-tokens", "7", "--out", "r"]
        for _ in range(2):  # What was spent is known at the next start.
            stopped = ok(["run", *base, "--budget", "0.65"], 4)
            assert "--budget 0.65: $0.7000 is spent" in stopped.stderr
            assert (len(ear.listened), len(ear.merged), len(ear.answered)) == (6, 1, 0)
        ok(["run", *base])
        assert (len(ear.listened), len(ear.merged), len(ear.answered)) == (6, 3, 6)
    assert json.loads(ok(["score", "r", "--format", "json"]).stdout)["captions_cost"] == pytest.approx(0.9)


def test_bundles_and_the_export_of_a_dataset_have_such_captions(tones: Path) -> None:
    with Stub(Ear()) as stub:
        ok(["run", *command(stub, "--digest", "d"), "--out", "r"])
        ok(["cache", "export", "all.jsonl"])
        engine = "a=audio-llm(model=la,question=true)"
        assert (
            "6 captions by 1"
            in ok(["cache", "export", "a.jsonl", "--dataset", "tones.jsonl", "--captions", engine]).stdout
        )
        asked = len(stub.asked)
        model = ["--llm", "gpt-x", "--api-base", stub.url]
        ok(["run", "--dataset", "tones.jsonl", "--captions", "all.jsonl", *model, "--cache", "none", "--out", "again"])
        assert len(stub.asked) == asked + 6
    assert "9 captions, every key derived again" in ok(["cache", "verify"]).stdout
    assert {key: record.key for key, record in records("r").items()} == {
        key: record.key for key, record in records("again").items()
    }


def test_a_bundle_by_an_engine_with_other_parameters_is_read(tones: Path) -> None:
    spec = CaptionerSpec(slot="a", name="audio-llm", version="9", params={"model": "la", "question": True, "ears": 3})
    with closing(CaptionCache(Path("cache"))) as cache:
        for number in range(6):
            question = question_digest(f"What is heard in clip {number}?", CHOICES)
            cache.put(spec, digest_file(Path(f"{number // 2}.wav")), Caption(text=f"Heard {number}."), question)
    ok(["cache", "export", "newer.jsonl"])
    ok(["run", "--dataset", "tones.jsonl", "--captions", "newer.jsonl", "--llm", "fake", "--out", "r"])
    assert [record.text for record in records("r").values()] == [f"Heard {number}." for number in range(6)]
    assert "everything that was derived again matches" in ok(["verify", "r"]).stdout


def test_the_report_shows_the_digest_and_what_it_merges(tones: Path) -> None:
    with Stub(Ear()) as stub:
        ok(["run", *command(stub, "--digest", "d", captions=TWO), "--samples", "2", "--out", "r"])
    ok(["report", "r"])
    page = Page(Path("r/report.html").read_text())
    assert next(facet for facet in page.index["facets"] if facet["key"] == "captions")["options"][1:4] == [
        [f"empty:{slot}", f"{slot} empty"] for slot in ("a", "b", "digest")
    ]
    assert "the same choice in all samples 100.0, all right 100.0" in " ".join(page.text.split())


def test_a_family_with_rounds_has_the_same_names_in_the_report_as_in_the_table(tones: Path) -> None:
    with Stub(Ear()) as stub:
        words = [*command(stub, captions=TWO), "--rounds", "2", "--rounds-with", "measure=signal", "--out", "arms"]
        family = json.loads(ok(["ablate", *words, "--arms", "question,rounds", "--format", "json"]).stdout)
    names = [member["name"].replace("+", " + ") for member in family["members"]]
    assert names[:4] == ["all: a + b, 2 rounds", "question-blind", "without rounds", "1 round"]
    ok(["report", "arms", "--out", "page.html"])
    text = " ".join(Page(Path("page.html").read_text()).text.split())
    assert all(name in text for name in names)
    assert "prompt=" not in text.partition("How it was made")[0] and "answers: 6 from" not in text
    assert "a=audio-llm prompt=observe" in ok(["compare", "arms/all", "arms/question-blind"]).stdout
    matrix = ok(["compare", "arms/all", "arms/question-blind", "arms/1-round"]).stdout
    assert matrix.count("answers: ") == 1 and matrix.startswith("each run: answers: 6 from ")


WITHOUT = ["b, digested (without a)", "a, digested (without b)"]


def test_arms_are_paired_with_what_an_item_took(tones: Path) -> None:
    ear = Ear()
    with Stub(ear) as stub:
        words = [*command(stub, "--digest", "d", captions=TWO), "--samples", "3", "--price", "0,1", "--out", "arms"]
        table = ok(["ablate", *words, "--arms", "question,digest"]).stdout
        asked = len(stub.asked)
        arms = json.loads(ok(["ablate", *words, "--arms", "question,digest", "--format", "json"]).stdout)
        assert len(stub.asked) == asked
    members = {member["name"]: member for member in arms["members"]}
    assert list(members) == ["all: a+b, digested", "question-blind", "undigested", *WITHOUT]
    assert members["question-blind"]["to_full"]["n"] == 6 and members["question-blind"]["to_full"]["mcnemar"]["p_holm"]
    assert members["undigested"]["agreement"]["by"]["unanimous"]["n"] == 6 and "unanimous" in table
    # The price of a listener on this machine is unknown.
    assert all(member["item_seconds"] > 0 and member.get("item_cost") is None for member in members.values())
    assert "$ an item  s an item" in table
    # An arm that is switched off has the other arm's captions: the question-blind listener is asked once a clip.
    assert sorted(ear.listened).count(("la", 400, "")) == 1


def test_a_plan_counts_the_replies_that_a_family_then_takes(tones: Path) -> None:
    ear = Ear()
    with Stub(ear) as stub:
        words = [*command(stub, "--digest", "d", "--digest-question", captions=TWO), "--arms", "question,digest"]
        plan = ok(["ablate", *words, "--out", "arms", "--dry-run"]).stdout
        both = ok(["ablate", *words, "--out", "arms", "--dry-run", "--variants", "blind"])
        assert both.stdout == plan and "--variants blind: left out, because --arms takes its place" in both.stderr
        assert not stub.asked
        ok(["ablate", *words, "--out", "arms"])
    asked = Counter(model for model, _, _ in ear.listened)
    for slot, model, count in (("a", "la", asked["la"]), ("b", "lb", asked["lb"]), ("digest", "d", len(ear.merged))):
        assert f"remote    {slot}: up to {count} replies of {model}," in plan
    total = sum(asked.values()) + len(ear.merged)
    assert f"captions  {total}, of which {total} are to be made;" in plan


def test_the_clip_alone_has_no_digest(tones: Path) -> None:
    """In an ablation of the clip and digested captions the controls of the clip are sent the clip and nothing else."""
    with Stub(lambda request, number: Reply(text="Answer: rain")) as server:
        words = ["--captions", "audio,speech=fake", "--digest", "openai/merger"]
        words += ["--caption-param", f"digest.api_base={server.url}", "--out", "family", "--format", "json"]
        done = cascade(
            *("ablate", "--dataset", "tones.jsonl", "--llm", "gpt-x", "--api-base", server.url),
            *(*words, "--accept-silent-audio"),
        )
    assert done.exit_code == 0, done.output
    family = json.loads(done.stdout)
    assert {"audio", "speech"} == family["adds"].keys()
    assert {"all - audio", "audio - silence", "audio - mismatched"} <= family["hearing"].keys()
    for run in ("audio", "silence", "reversed", "mismatched-audio"):
        assert [captioner.name for captioner in directory.read_run(Path("family", run)).spec.captioners] == ["audio"]
    for path in Path("family").iterdir():
        assert cascade("verify", path).exit_code == 0


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--captions", "speech=fake", "--arms", "question"], "no engine here can be told the question"),
        (["--captions", "speech=fake", "--arms", "digest"], "--arms digest: give --digest MODEL"),
        (["--captions", "speech=fake", "--arms", "more"], "unknown arm 'more'"),
        (["--captions", "none", "--digest", "fake"], "there are no captions to merge"),
        (["--captions", "audio", "--digest", "fake"], "there are no captions to merge"),
        (["--captions", "speech=fake", "--digest-question"], "--digest-question: there is no digest"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(tones: Path, words: list[str], named: str) -> None:
    refused = cascade("ablate", "--dataset", "tones.jsonl", "--llm", "fake", *words)
    assert refused.exit_code == 2 and named in refused.stderr and len(refused.stderr.splitlines()) == 1
