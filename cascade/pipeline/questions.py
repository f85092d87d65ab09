"""The questions of a run as they are asked: prompts, with the clips that are sent, and the rounds that are offered."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from msgspec import UNSET, UnsetType

from cascade.captioning.generate import clip_digest
from cascade.errors import NOT_APPLICABLE
from cascade.io.digests import digest_bytes
from cascade.io.encoding import AudioForm, RecentClips, audio_part, encode
from cascade.prompting import evidence
from cascade.prompting.rounds import offered, opening
from cascade.prompting.templates import Template
from cascade.runs.directory import Run
from cascade.types import (
    SENT_AUDIO,
    Answer,
    Caption,
    CaptionerSpec,
    CaptionRecord,
    Failure,
    Item,
    Prompt,
    PromptSpec,
    RoundsSpec,
)

# A function that returns the part of a message that carries a clip, and the digest of its bytes. Raises ClipError.
Encode = Callable[[Path], tuple[Mapping[str, Any], str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One sample of one item, ready to be asked; `failure` gives the reason if a caption failed.

    `clip` is sent with the prompt, as `encode` returns it; both are None if only captions are sent. `rounds` are those
    that the model is offered, about the clip `subject`. `before` is the sample's last line in the log, if its exchange
    goes on.
    """

    item: str
    sample: int
    prompt: Prompt
    captions: Mapping[str, str]
    failure: Failure | None = None
    clip: Path | None = None
    encode: Encode | None = None
    rounds: RoundsSpec | UnsetType = UNSET
    subject: Path = Path()
    before: Answer | None = None


# A function that takes an item, a sample and the sample's last line in the log, and returns the question.
Build = Callable[[Item, int, Answer | None], Question]


def builder(run: Run, captions: Sequence[CaptionRecord]) -> Build:
    """Return a function that builds the questions of a run.

    In a mismatched run, rounds are about the clip that the captions of another item describe.
    """
    spec, encode_clip, root = run.spec.prompt, encoder(run.spec.captioners), Path(run.manifest.audio_root)
    template = Template(name=spec.template, text=run.manifest.template)
    clips = run.clips
    captions_by_item = evidence.captions_shown(clips, captions, spec)
    donors: Mapping[str, str] = {}
    if spec.mismatch_seed is not None and run.spec.rounds:
        digests = {clip: clip_digest(root / clip) for clip in clips.values()}
        donors = evidence.draw_donors(clips, evidence.captions_by_item(captions), spec.mismatch_seed, digests)

    def build(item: Item, sample: int, before: Answer | None) -> Question:
        shown = captions_by_item.get(item.id, {})
        question = build_question(item, sample, spec, template, shown, run.spec.rounds, before)
        question = replace(question, subject=root / donors.get(item.audio, item.audio))
        if question.rounds and not question.failure and not question.subject.is_file():
            failure = Failure(kind="audio", message=f"{question.subject.name}: there is no such file")
            question = replace(question, failure=failure)
        if question.failure or encode_clip is None:
            return question
        return replace(question, clip=root / clips[shown[SENT_AUDIO].item], encode=encode_clip)

    return build


def sent_form(captioners: Sequence[CaptionerSpec]) -> AudioForm | None:
    """Return the form in which the clip itself is sent, or None if only captions are sent."""
    return next((AudioForm(**spec.params) for spec in captioners if spec.name == SENT_AUDIO), None)


def encoder(captioners: Sequence[CaptionerSpec]) -> Encode | None:
    """Return the function that encodes the clips that are sent, or None if only captions are sent.

    The questions about a clip share its encoded form, which is kept for the last few clips.
    """
    form = sent_form(captioners)
    if form is None:
        return None

    def encode_clip(clip: Path) -> tuple[Mapping[str, Any], str]:
        data, kind = encode(clip, form)
        return audio_part(data, kind), digest_bytes(data)

    return RecentClips(encode_clip)


def build_question(
    item: Item,
    sample: int,
    spec: PromptSpec,
    template: Template,
    captions: Mapping[str, CaptionRecord],
    rounds: RoundsSpec | UnsetType = UNSET,
    before: Answer | None = None,
) -> Question:
    """Return one sample of an item, its prompt made from its question, choices and captions (by slot) only.

    Where the run's `rounds` are offered to the sample, the prompt also says what the model may ask for. `before` is the
    sample's last line in the log.
    """
    failure, kind = None, "caption"
    slots: dict[str, list[str]] = {}  # By message: a clip that cannot be decoded fails in each of its slots.
    for caption in captions.values():
        if caption.failure:
            slots.setdefault(caption.failure.message, []).append(caption.slot)
            if caption.failure.kind == NOT_APPLICABLE:
                kind = NOT_APPLICABLE
    if slots:
        problem = "; ".join(f"{', '.join(names)}: {message}" for message, names in slots.items())
        failure = Failure(kind=kind, message=problem)
    texts = {slot: captions[slot].caption or Caption(text="") for slot in spec.slots}
    prompt = evidence.build_prompt(spec, template, item.id, item.question, item.choices, texts, sample)
    offer = offered(rounds, before)
    if offer:
        prompt = opening(prompt, offer)
    if before and not (before.first or before.rounds):
        before = None  # It has no exchange that could go on.
    return Question(
        item=item.id,
        sample=sample,
        prompt=prompt,
        captions={slot: captions[slot].key for slot in spec.slots},
        failure=failure,
        rounds=offer,
        before=before,
    )
