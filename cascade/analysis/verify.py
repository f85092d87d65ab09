"""Verification of a run directory: every line digest, cache key and prompt digest is derived again from its files.

It finds what was changed by hand, or by a fault of a disk, in any of the files, and a run whose parts do not belong
together. It cannot detect a forgery whose digests were computed again.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from cascade.errors import ClipError, RunError, UserError
from cascade.io import jsonl
from cascade.io.digests import caption_key, digest, digest_bytes, digest_file
from cascade.io.encoding import AudioForm, encode
from cascade.io.terminal import quantity
from cascade.plugins import DIGEST
from cascade.prompting import evidence, rounds
from cascade.prompting.listening import question_digest
from cascade.prompting.templates import Template
from cascade.runs import directory, provenance
from cascade.runs.call_log import JUDGE, READER, CallLog, Inquiry
from cascade.runs.directory import Run
from cascade.runs.served import count_served, served_text
from cascade.scoring import export, outcomes, rubric_score, second_reader
from cascade.types import SENT_AUDIO, Answer, Caption, CaptionRecord, Item

_Shown = Mapping[str, Mapping[str, CaptionRecord]]  # the captions of each prompt, by item and slot
_Answers = Mapping[tuple[str, int], Answer]  # by item and sample
# By the role of a second model: the participle for its run, the name of its log's lines, and the subject of a line.
_WORDS = {JUDGE: ("judged", "judgements", "answer or rubric"), READER: ("read", "readings", "reply")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The result of a verification: what was checked, by file; what does not match; what could not be checked."""

    checked: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)

    def __repr__(self) -> str:
        return f"Verdict({len(self.checked)} files checked, {len(self.problems)} problems)"

    def to_rows(self) -> list[dict[str, Any]]:
        """Return one row per file that was checked, a thing that could not be, and a problem."""
        rows = [{"state": "checked", "file": file, "detail": text} for file, text in self.checked.items()]
        rows += [{"state": "unchecked", "file": "", "detail": text} for text in self.unchecked]
        return rows + [{"state": "problem", "file": "", "detail": text} for text in self.problems]

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Record a UserError of the block as a problem, and go on after the block."""
        try:
            yield
        except UserError as error:
            self.problems.append(str(error))


def verify(path: Path) -> Verdict:
    """Return the verdict of a run directory or of a folder with the log of a judge or reader.

    Raises RunError where it is none of these.
    """
    verdict = Verdict()
    logs = [log for log in (CallLog(path, role) for role in _WORDS) if log.file.exists()]
    if not (path / "run.json").exists():
        if not logs:
            raise directory.missing_run(path)
        for log in logs:
            with verdict.recording():
                _check_call_log(log, verdict, has_run=False)
            verdict.unchecked.append(f"{log.file.name}: the run that was {_WORDS[log.role][0]} is not here")
        return verdict
    try:
        run = directory.read_run(path, any_log=True)
    except UserError as error:
        verdict.problems.append(str(error))
        return verdict
    with verdict.recording():
        _check_manifest(run, verdict)
    with verdict.recording():
        captions = directory.read_captions(path)
        shown = evidence.captions_shown(run.clips, captions, run.spec.prompt)
        _check_captions(run, captions, shown, verdict)
        with verdict.recording():
            answers = directory.last_answers(path)
            _check_log(run, shown, answers, verdict)
            _check_audio(run, shown, answers, verdict)
        with verdict.recording():
            _check_predictions(run, verdict)
    if (path / "charges.jsonl").exists():
        with verdict.recording():
            _check_chain(path, "charges.jsonl", verdict)
            verdict.checked["charges.jsonl"] = "digests checked"
    for log in logs:
        with verdict.recording():
            _check_call_log(log, verdict, has_run=True)
    return verdict


def _check_manifest(run: Run, verdict: Verdict) -> None:
    """Check the digests of `run.json` and its template, and that no item is repeated."""
    spec, file = run.spec, "run.json"
    if list(jsonl.broken_links([json.loads((run.path / file).read_bytes())])):
        verdict.problems.append(f"{file}: it was changed after it was written: its digest does not match")
    if Template(name="", text=run.manifest.template).digest != spec.prompt.template_digest:
        verdict.problems.append(f"{file}: the template's text is not the one that spec.prompt.template_digest names")
    for item, count in Counter(item.id for item in run.items).items():
        if count > 1:
            verdict.problems.append(f"items.jsonl: {item!r} is there twice")
    verdict.checked[file] = (
        f"digest checked; the template is {spec.prompt.template!r}, of {spec.prompt.template_digest}"
    )
    verdict.checked["items.jsonl"] = f"{quantity(len(run.items), 'item')}, as run.json names them"


def _check_chain(path: Path, file: str, verdict: Verdict) -> None:
    for number in jsonl.broken_links(jsonl.read(path / file, growing=True)):
        verdict.problems.append(
            f"{file}:{number}: this line, or the one before it, was changed, taken out or moved after it was written"
        )


def _check_captions(run: Run, captions: Sequence[CaptionRecord], shown: _Shown, verdict: Verdict) -> None:
    """Check the captions' digests and keys, and that each item has one caption in each slot."""
    file, specs = "captions.jsonl", {spec.slot: spec for spec in run.spec.captioners}
    _check_chain(run.path, file, verdict)
    wanted = Counter((item.id, slot) for item in run.items for slot in specs)
    present = Counter((caption.item, caption.slot) for caption in captions)
    for name, slot in wanted - present:
        verdict.problems.append(f"{file}: {name!r} has no caption in the slot {slot!r}")
    for name, slot in present - wanted:
        verdict.problems.append(f"{file}: {name!r} has an extra caption in the slot {slot!r}")
    derived = lost = 0
    keyed = [caption for caption in captions if (caption.item, caption.slot) in wanted and caption.key]
    for caption, (source, question) in zip(keyed, _origins(run, keyed, captions, shown), strict=True):
        # The key is of the clip or, for a caption that was looked up, of its text.
        spec = specs[caption.slot]
        sources = [source] * bool(source)
        if caption.text is not None and not question:
            sources.append(digest(caption.text))
        about = (spec.slot, spec.name, spec.version, spec.params)
        if caption.key in [caption_key(*about, source, question) for source in sources]:
            derived += 1
        elif source:
            derived += 1
            verdict.problems.append(f"{file}: {caption.item!r}, {caption.slot!r}: the key is of another clip or engine")
        else:
            lost += 1
    if lost:
        verdict.unchecked.append(f"{lost} captions' keys: their clips are not under {run.manifest.audio_root}")
    verdict.checked[file] = f"{quantity(len(captions), 'caption')}, {quantity(derived, 'key')} derived again"


def _origins(
    run: Run, keyed: Sequence[CaptionRecord], captions: Sequence[CaptionRecord], shown: _Shown
) -> Iterator[tuple[str, str]]:
    """Yield two digests for each keyed caption: of the clip or the captions that it was made from, and of the question.

    The first is `""` if the clip is not on this machine, the second if the engine was not shown the question.
    """
    clips: dict[str, str] = {}
    for item in run.items:
        try:
            clips[item.audio] = digest_file(Path(run.manifest.audio_root) / item.audio)
        except (OSError, ValueError):  # A ValueError is a name that no file can have.
            clips[item.audio] = ""
    items = {item.id: item for item in run.items}
    own: _Shown = evidence.captions_by_item(captions)
    donors: Mapping[str, str] = {clip: clip for clip in clips}
    if (seed := run.spec.prompt.mismatch_seed) is not None and any(caption.question for caption in captions):
        donors = evidence.draw_donors(run.clips, own, seed, clips if all(clips.values()) else None)
    specs = {spec.slot: spec for spec in run.spec.captioners}
    for caption in keyed:
        item, spec, question = items[caption.item], specs[caption.slot], ""
        if caption.question and (spec.name != DIGEST or spec.params.get("question")):
            question = question_digest(item.question, item.choices)
        clip, merged = item.audio, own
        if caption.question:  # Then the caption is made from what the prompt shows.
            clip, merged = donors.get(item.audio, ""), shown
        if spec.name != DIGEST:
            yield clips.get(clip, ""), question
            continue
        beside = {slot: record for slot, record in merged[item.id].items() if slot != caption.slot}
        text = evidence.text_to_merge(beside, run.spec.prompt.headings)
        source = digest(text) if text else ""
        yield source, question


def _check_log(run: Run, shown: _Shown, answers: _Answers, verdict: Verdict) -> None:
    """Check the log's digests and, of each answer that counts, the prompt, the captions and the parameters."""
    _check_chain(run.path, "log.jsonl", verdict)
    if directory.log_owner(run.path) not in (None, "", directory.identity(run.spec)):  # "" is of the first version
        verdict.problems.append("log.jsonl: its first line names another run")
    items = {item.id: item for item in run.items}
    template = Template(name=run.spec.prompt.template, text=run.manifest.template)
    plain: dict[tuple[str, int], Answer] = {}  # the answers without rounds, where some are asked again
    if run.spec.rounds and run.spec.rounds.when:
        for answer in jsonl.records(Answer, run.path / "log.jsonl", growing=True):
            if not answer.first:
                plain[answer.item, answer.sample] = answer
    for (name, sample), answer in answers.items():
        mismatches = ["there is no such item"]
        if name in items:
            mismatches = list(_mismatches(run, items[name], answer, shown.get(name, {}), template))
            before = plain.get((name, sample), answer)
            if answer.first and answer.first != before.result:
                mismatches.append("its first reply is not the one that was logged without rounds")
            elif answer.first:
                mismatches += _mismatches(run, items[name], before, shown.get(name, {}), template)
        verdict.problems.extend(f"log.jsonl: {name!r}, sample {sample}: {mismatch}" for mismatch in mismatches)
    checked = f"{quantity(len(answers), 'answer')}, their prompts rendered again"
    missing = len(run.items) * run.spec.llm.samples - len(answers)
    if missing > 0:
        checked += f"; {missing} of {len(run.items) * run.spec.llm.samples} questions not asked yet"
    if servers := count_served(answers.values()):
        checked += f"; {served_text(servers, models=True)}"
    verdict.checked["log.jsonl"] = checked


def _check_audio(run: Run, shown: _Shown, answers: _Answers, verdict: Verdict) -> None:
    """Encode the clips again as they were sent, and compare the digests with those in the log.

    Another machine, or other decoders than the run's, may give other bytes: then they are not checked.
    """
    params = [spec.params for spec in run.spec.captioners if spec.name == SENT_AUDIO]
    if not params:
        return
    root, clips = Path(run.manifest.audio_root), run.clips
    try:
        form = AudioForm(**params[0])
    except TypeError as error:
        raise RunError(f"run.json: the parameters of the audio cannot be read ({error})") from None
    here = provenance.session(modules=("av", "soundfile", "soxr"))
    alike = all(
        session.platform == here.platform and here.versions.items() <= session.versions.items()
        for session in run.manifest.sessions
    )

    @cache
    def sent_digest(clip: str) -> str:
        try:
            return digest_bytes(encode(root / clip, form)[0])
        except (ClipError, OSError, ValueError):
            return ""

    same = lost = 0
    for (item, sample), answer in answers.items():
        if not answer.audio or SENT_AUDIO not in shown.get(item, {}):
            continue
        sent = sent_digest(clips[shown[item][SENT_AUDIO].item])
        if sent == answer.audio:
            same += 1
        elif sent and alike:
            verdict.problems.append(f"log.jsonl: {item!r}, sample {sample}: other audio than the clip gives")
        else:
            lost += 1
    verdict.checked["log.jsonl"] += f"; the audio of {same} encoded again"
    if lost:
        verdict.unchecked.append(f"the audio of {lost} answers: the clips or the run's decoders are not here")


def _mismatches(
    run: Run, item: Item, answer: Answer, shown: Mapping[str, CaptionRecord], template: Template
) -> Iterator[str]:
    """Yield what of an answer does not match its run."""
    prompt, llm = run.spec.prompt, run.spec.llm
    if not 0 <= answer.sample < llm.samples:
        yield f"the run has {llm.samples} samples an item"
    if not shown.keys() >= set(prompt.slots):
        return  # The missing caption is reported as a problem of captions.jsonl.
    if answer.captions != {slot: shown[slot].key for slot in prompt.slots}:
        yield "it was asked with other captions than captions.jsonl has"
    captions = {slot: shown[slot].caption or Caption(text="") for slot in prompt.slots}
    messages = evidence.build_prompt(prompt, template, item.id, item.question, item.choices, captions, answer.sample)
    if offer := rounds.offered(run.spec.rounds, answer):
        messages = rounds.opening(messages, offer)
    if answer.prompt != evidence.prompt_digest(messages):
        yield "its prompt is not the one that template, captions, question and choices make"
    if problem := rounds.mismatch(run.spec.rounds, answer):
        yield problem
    names = (answer.params.keys() | llm.params.keys()) - {"seed"}
    if answer.params and any(answer.params.get(name) != llm.params.get(name) for name in names):
        yield "it was asked with other parameters than run.json has"


def _check_predictions(run: Run, verdict: Verdict) -> None:
    """Compare files that `export` wrote into the run with what it would write now."""
    for shape, name in export.FILES.items():
        file = run.path / name
        if file.exists():
            if file.read_bytes() != export.prediction_file(run, shape)[1].encode():
                verdict.problems.append(f"{name}: not what `cascade export` makes of this run; export it again")
            verdict.checked[name] = "compared with what the run exports"


def _check_call_log(log: CallLog, verdict: Verdict, *, has_run: bool) -> None:
    """Check a second model's log and its prompt, and that its replies are about what is in the run now."""
    file = log.file.name
    _, noun, subject = _WORDS[log.role]
    _check_chain(log.folder, file, verdict)
    if not log.exists():
        return
    model, replies = log.read()
    if model.prompt.digest != model.template_digest:
        verdict.problems.append(f"{file}:1: the prompt's text is not the one that template_digest names")
    last = {(item, call): reply for (item, call, _), reply in replies.items()}
    verdict.checked[file] = (
        f"{len(last)} {noun} by {model.llm.model}, digests checked; the prompt is {model.template!r}"
    )
    if servers := count_served(last.values()):
        verdict.checked[file] += f"; {served_text(servers, models=True)}"
    if not has_run:
        return
    try:
        possible, wanted = _inquiries(log)
    except UserError as error:  # The rubrics are of a dataset that is not in the run.
        verdict.unchecked.append(f"{file}: {len(last)} {noun} could not be compared with their {subject}: {error}")
        return
    missing = sum((question.item, question.call) not in last for question in wanted.questions(model.prompt))
    if missing:
        verdict.checked[file] += f"; {quantity(missing, 'call')} not made yet"
    prompts = {(question.item, question.call): question.digest for question in possible.questions(model.prompt)}
    for (item, call), reply in last.items():
        if reply.prompt != prompts.get((item, call)):
            verdict.problems.append(f"{file}: {item!r}, call {call}: it was made for another {subject}")


def _inquiries(log: CallLog) -> tuple[Inquiry[Any], Inquiry[Any]]:
    """Return the calls that a second model's log may contain, and the calls that it should contain."""
    if log.role == JUDGE:
        inquiry = rubric_score.inquiry(rubric_score.judge_cases(log.folder))
        return inquiry, inquiry
    run, answers = directory.read_run(log.folder), directory.last_answers(log.folder)
    possible = list(second_reader.show_replies(run.spec, run.items, answers.values()))
    # Newer rules may read more replies than the rules at the time of the reading, and then leave fewer to ask about.
    return second_reader.inquiry(possible), second_reader.inquiry(outcomes.score_source(log.folder).unread_replies)
