"""Whether a run directory is what it says: every seal, key, digest and prompt derived again from what lies in it.

Found is whatever was changed by hand, or by a fault of a disk, in any of its files, and a run whose parts do not belong
together. It is no proof against someone who seals a forgery anew: that takes asking the model again.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from cascade.errors import RunError, UserError
from cascade.io import jsonl
from cascade.io.digests import caption_key, digest, digest_file
from cascade.prompting import evidence
from cascade.prompting.templates import Template
from cascade.runs import directory, judge_log
from cascade.runs.directory import Run
from cascade.runs.judge_log import Judge, Judgement
from cascade.scoring import export, rubric_score
from cascade.types import Answer, Caption, CaptionerSpec, CaptionRecord, Item

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What was derived again, in words, by file; what does not match; and what could not be checked."""

    checked: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)

    def __repr__(self) -> str:
        return f"Verdict({len(self.checked)} files checked, {len(self.problems)} problems)"

    def to_rows(self) -> list[dict[str, Any]]:
        """Return a row a file that was checked, a thing that could not be, and a problem."""
        rows = [{"state": "checked", "file": file, "detail": text} for file, text in self.checked.items()]
        rows += [{"state": "unchecked", "file": "", "detail": text} for text in self.unchecked]
        return rows + [{"state": "problem", "file": "", "detail": text} for text in self.problems]


def verify(path: Path) -> Verdict:
    """The verdict of a run directory, or of a folder that has a judge's log alone.

    Raises RunError where it is neither; a damaged file is a problem like any other.
    """
    verdict = Verdict()
    if not (path / "run.json").exists():
        if not (path / judge_log.FILE).exists():
            raise RunError(f"{path} is no run directory: it has no run.json")
        _attempt(verdict, lambda: _judge(path, verdict))
        verdict.unchecked.append(f"{judge_log.FILE}: what was judged is not here")
        return verdict
    run = _attempt(verdict, lambda: directory.read_run(path))
    if run is None:
        return verdict
    _attempt(verdict, lambda: _manifest(run, verdict))
    heard = _attempt(verdict, lambda: _captions(run, verdict))
    if heard is not None:
        _attempt(verdict, lambda: _log(run, heard, verdict))
        _attempt(verdict, lambda: _predictions(run, verdict))
    if (path / judge_log.FILE).exists():
        _attempt(verdict, lambda: _judgements(run, verdict))
    return verdict


def _attempt(verdict: Verdict, check: Callable[[], T]) -> T | None:
    try:
        return check()
    except UserError as error:
        verdict.problems.append(str(error))
        return None


def _manifest(run: Run, verdict: Verdict) -> None:
    """The seal of `run.json`, its template, its items."""
    spec, file = run.spec, "run.json"
    if list(jsonl.broken_links([json.loads((run.path / file).read_bytes())])):
        verdict.problems.append(f"{file}: it was changed after it was written: its digest is of other content")
    if Template(name="", text=run.manifest.template).digest != spec.prompt.template_digest:
        verdict.problems.append(f"{file}: the template's text is not the one that spec.prompt.template_digest names")
    twice = [name for name, count in Counter(item.id for item in run.items).items() if count > 1]
    verdict.problems.extend(f"items.jsonl: {name!r} is there twice" for name in twice)
    verdict.checked[file] = f"sealed; the template is {spec.prompt.template!r}, of {spec.prompt.template_digest}"
    verdict.checked["items.jsonl"] = f"{len(run.items)} items, those that run.json names"


def _seals(path: Path, file: str, verdict: Verdict) -> None:
    for number in jsonl.broken_links(jsonl.read(path / file, growing=True)):
        verdict.problems.append(
            f"{file}:{number}: this line, or the one before it, was changed, taken out or moved after it was written"
        )


# Captions


def _captions(run: Run, verdict: Verdict) -> list[CaptionRecord]:
    """Each caption's seal and key, from the clips where they are, and that each item has one in each slot."""
    heard = directory.read_captions(run.path)
    _seals(run.path, "captions.jsonl", verdict)
    specs = {spec.slot: spec for spec in run.spec.captioners}
    clips = {item.id: _clip(Path(run.manifest.audio_root) / item.audio) for item in run.items}
    wanted = Counter((item.id, slot) for item in run.items for slot in specs)
    found = Counter((one.item, one.slot) for one in heard)
    for item, slot in wanted - found:
        verdict.problems.append(f"captions.jsonl: {item!r} has no caption in the slot {slot!r}")
    for item, slot in found - wanted:
        verdict.problems.append(f"captions.jsonl: {item!r} has a caption too many in the slot {slot!r}")
    known = [one for one in heard if (one.item, one.slot) in wanted and one.key]
    derived = {id(one): _derived(one, specs[one.slot], clips[one.item]) for one in known}
    for one in known:
        if one.key not in derived[id(one)] and clips[one.item]:
            verdict.problems.append(f"captions.jsonl: {one.item!r}, {one.slot!r}: the key is of another clip or engine")
    lost = sum(one.key not in derived[id(one)] and not clips[one.item] for one in known)
    if lost:
        verdict.unchecked.append(f"{lost} captions' keys: their clips are not under {run.manifest.audio_root}")
    verdict.checked["captions.jsonl"] = f"{len(heard)} captions, {len(known) - lost} keys derived again"
    return heard


def _clip(path: Path) -> str:
    """The digest of a clip; `""` where it is not here."""
    try:
        return digest_file(path)
    except (OSError, ValueError):  # A ValueError is a name that no file can have.
        return ""


def _derived(one: CaptionRecord, spec: CaptionerSpec, clip: str) -> set[str]:
    """The keys that a caption may have: of its clip or, where it was looked up, of its text."""
    sources = [clip, *([digest(one.text)] if one.text is not None else [])]
    return {caption_key(spec.slot, spec.name, spec.version, spec.params, source) for source in sources if source}


# Answers


def _log(run: Run, heard: Sequence[CaptionRecord], verdict: Verdict) -> None:
    """The log's seals and, of each answer that counts, the prompt, the captions and the parameters."""
    answers = directory.last_answers(run.path)
    _seals(run.path, "log.jsonl", verdict)
    captions = evidence.captions_shown({item.id: item.audio for item in run.items}, heard, run.spec.prompt)
    items = {item.id: item for item in run.items}
    template = Template(name=run.spec.prompt.template, text=run.manifest.template)
    for (name, sample), answer in answers.items():
        if name not in items:
            verdict.problems.append(f"log.jsonl: {name!r}, sample {sample}: there is no such item")
            continue
        wrong = _mismatches(run, items[name], answer, captions.get(name, {}), template)
        verdict.problems.extend(f"log.jsonl: {name!r}, sample {sample}: {what}" for what in wrong)
    missing = len(run.items) * run.spec.llm.samples - len(answers)
    verdict.checked["log.jsonl"] = f"{len(answers)} answers, their prompts rendered again" + (
        f"; {missing} questions not asked yet" if missing > 0 else ""
    )


def _mismatches(
    run: Run, item: Item, answer: Answer, heard: dict[str, CaptionRecord], template: Template
) -> Iterator[str]:
    spec = run.spec
    if not 0 <= answer.sample < spec.llm.samples:
        yield f"the run has {spec.llm.samples} samples an item"
    if not heard.keys() >= set(spec.prompt.slots):
        return  # A problem of captions.jsonl, said there.
    if answer.captions != {slot: heard[slot].key for slot in spec.prompt.slots}:
        yield "it was asked with other captions than captions.jsonl has"
    captions = {slot: heard[slot].caption or Caption(text="") for slot in spec.prompt.slots}
    shown = evidence.build_prompt(spec.prompt, template, item.id, item.question, item.choices, captions, answer.sample)
    if answer.prompt != evidence.prompt_digest(shown):
        yield "its prompt is not the one that template, captions, question and choices make"
    unlike = {name for name in answer.params.keys() | spec.llm.params.keys() if name != "seed"}
    if answer.params and any(answer.params.get(name) != spec.llm.params.get(name) for name in unlike):
        yield "it was asked with other parameters than run.json has"


def _predictions(run: Run, verdict: Verdict) -> None:
    """Files that `export` wrote into the run, against what it would write now."""
    for name, shape in (("predictions.jsonl", "mmar"), ("predictions.json", "mmau")):
        file = run.path / name
        if file.exists():
            if file.read_bytes() != export.text(run, shape).encode():
                verdict.problems.append(f"{name}: not what `cascade export` makes of this run; export it again")
            verdict.checked[name] = "compared with what the run exports"


def _judge(path: Path, verdict: Verdict) -> tuple[Judge, dict[tuple[str, int], Judgement]] | None:
    """The seals of what a judge said, and its prompt; returns the judge and each call's last line."""
    file = judge_log.FILE
    _seals(path, file, verdict)
    if not judge_log.has_judge(path):
        return None
    judge, said = judge_log.read_judge_log(path)
    if judge.prompt.digest != judge.template_digest:
        verdict.problems.append(f"{file}:1: the prompt's text is not the one that template_digest names")
    last = {(item, call): one for (item, call, _), one in said.items()}
    verdict.checked[file] = f"{len(last)} judgements by {judge.llm.model}, sealed; the prompt is {judge.template!r}"
    return judge, last


def _judgements(run: Run, verdict: Verdict) -> None:
    """What a judge said, and that it was said of what the run holds now."""
    if (found := _judge(run.path, verdict)) is None:
        return
    (judge, last), file = found, judge_log.FILE
    try:
        cases = rubric_score.judge_cases(run.path)
    except UserError as error:  # The rubrics came from a dataset that is not in the run.
        verdict.unchecked.append(f"{file}: what {len(last)} judgements were of: {error}")
        return
    shown = rubric_score.fingerprints(judge.prompt, cases)
    missing = sum((item, call) not in last for item in shown for call in range(judge.calls))
    verdict.checked[file] += f"; {missing} calls not made yet" if missing else ""
    for (item, call), one in last.items():
        if one.prompt != shown.get(item):
            verdict.problems.append(
                f"{file}: {item!r}, call {call}: it was said of another answer or rubric than these"
            )
