"""Captions as the evidence block of a prompt, and the messages of one question.

Nothing here takes an `Item`: a prompt is made from the question, the choices and the captions, so nothing that the
benchmark says about the clip or its answer can reach it.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from random import Random

from cascade.errors import UserError
from cascade.io.digests import digest
from cascade.prompting.templates import Template, fill
from cascade.types import (
    Caption,
    CaptionRecord,
    Prompt,
    PromptSpec,
)


def captions_by_item(captions: Iterable[CaptionRecord]) -> dict[str, dict[str, CaptionRecord]]:
    """Return captions by item and slot."""
    by_item: dict[str, dict[str, CaptionRecord]] = {}
    for caption in captions:
        by_item.setdefault(caption.item, {})[caption.slot] = caption
    return by_item


def captions_shown(
    clips: Mapping[str, str], captions: Iterable[CaptionRecord], spec: PromptSpec
) -> dict[str, dict[str, CaptionRecord]]:
    """Return the captions that each item's prompt is made from, by item and slot: its own clip's, or another's.

    `clips` maps each item's id to its clip. Raises UserError where the captions must be another clip's and there is no
    other.
    """
    own = captions_by_item(captions)
    if spec.mismatch_seed is None or not spec.slots:
        return own
    keys = {clip: tuple(caption.key for caption in own.get(item, {}).values()) for item, clip in clips.items()}
    described = {clip: item for item, clip in clips.items()}
    donors = mismatched(keys, spec.mismatch_seed)
    return {item: own.get(described[donors[clip]], {}) for item, clip in clips.items()}


def mismatched(clips: Mapping[str, object], seed: int) -> dict[str, str]:
    """For each clip another one whose captions differ in what they were made from, drawn by the seed.

    `clips` maps each clip to what tells it apart (the keys of its captions). The donor is one of the clips before it,
    so that a run which grows keeps those it has; the first clip's is the first that comes after. Raises UserError where
    all clips are one.
    """
    names = list(clips)
    donors: dict[str, str] = {}
    for place, name in enumerate(names):
        before = Random(f"{seed}:{name}").sample(names[:place], place)
        donor = next((one for one in (*before, *names[place + 1 :]) if clips[one] != clips[name]), None)
        if donor is None:
            raise UserError("mismatched captions need two different clips; raise --limit")
        donors[name] = donor
    return donors


_HEADINGS = {"speech": "Speech (transcript)", "sound": "Sound", "music": "Music"}


_SILENT = {
    "speech": "No speech was recognised.",
    "sound": "No sound event was recognised.",
    "music": "No music was recognised.",
}


_BLIND = "There are none: the clip was not listened to."


def order_choices(choices: Sequence[str], item: str, seed: int | None, sample: int = 0) -> tuple[str, ...]:
    """The choices as they will stand in the prompt: as given, or shuffled by the seed and the item's id.

    Each further sample of an item turns them on by one, so that as many samples as choices show each in every place.
    """
    shown = list(choices)
    if seed is None:
        return tuple(shown)
    random.Random(f"{seed}:{item}").shuffle(shown)
    turn = sample % len(shown)
    return tuple(shown[turn:] + shown[:turn])


def build_prompt(
    spec: PromptSpec,
    template: Template,
    item: str,
    question: str,
    choices: Sequence[str],
    captions: Mapping[str, Caption],
    sample: int = 0,
) -> Prompt:
    """What one sample of an item is shown. `item` is its id, by which choices are shuffled."""
    heard = evidence_text(spec.slots, captions)
    return render(template, heard, question, order_choices(choices, item, spec.order_seed, sample))


def prompt_digest(prompt: Prompt) -> str:
    """The digest of the messages as they are sent."""
    return digest([dict(message) for message in prompt.messages])


def render(template: Template, evidence: str, question: str, shown: Sequence[str]) -> Prompt:
    """The messages for one question. Fields are filled in once: a `$` in a caption or question stays a `$`."""
    fields = {"evidence": evidence, "question": question, "choices": "\n".join(shown)}
    return Prompt(messages=fill(template, fields), order=tuple(shown))


def evidence_text(slots: Sequence[str], captions: Mapping[str, Caption]) -> str:
    """What was heard, slot by slot in the given order under fixed headings; an empty slot says so in words."""
    return "\n\n".join(f"[{_heading(slot)}]\n{_body(slot, captions[slot])}" for slot in slots) or _BLIND


def _heading(slot: str) -> str:
    return _HEADINGS.get(slot, slot.replace("-", " ").replace("_", " ").capitalize())


def _body(slot: str, caption: Caption) -> str:
    windows = caption.meta.get("windows") or ()
    if caption.text.strip() and len(windows) > 1 and all("text" in window for window in windows):
        return "\n".join(f"{window['start']:.1f}-{window['end']:.1f} s: {window['text']}" for window in windows)
    return caption.text.strip() or _SILENT.get(slot, "Nothing was recognised.")
