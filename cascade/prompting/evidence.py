"""Captions as the evidence block of a prompt, and the messages of one question.

Nothing here takes an `Item`: a prompt is made from the question, the choices and the captions, so nothing that the
benchmark says about the clip or its answer can reach it.
"""

from __future__ import annotations

import random
import secrets
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from cascade.errors import UserError
from cascade.io.digests import digest
from cascade.io.encoding import EncodedAudio, audio_part
from cascade.prompting.templates import Template, fill
from cascade.types import Caption, CaptionRecord, Prompt, PromptSpec

_HEADINGS = {"speech": "Speech (transcript)", "sound": "Sound", "music": "Music"}
_SILENT = {
    "speech": "No speech was recognised.",
    "sound": "No sound event was recognised.",
    "music": "No music was recognised.",
}
_BLIND = "There are none: the clip was not listened to."


def captions_by_item(captions: Iterable[CaptionRecord]) -> dict[str, dict[str, CaptionRecord]]:
    """Return captions by item and slot."""
    by_item: dict[str, dict[str, CaptionRecord]] = {}
    for caption in captions:
        by_item.setdefault(caption.item, {})[caption.slot] = caption
    return by_item


def captions_shown(
    clips: Mapping[str, str], captions: Iterable[CaptionRecord], spec: PromptSpec
) -> dict[str, dict[str, CaptionRecord]]:
    """Return the captions in each item's prompt, by item and slot: its own clip's, or those of a drawn clip.

    `clips` maps each item's id to its clip. Raises UserError where no other clip can be drawn.
    """
    own = captions_by_item(captions)
    if spec.mismatch_seed is None or not spec.slots:
        return own
    keys: dict[str, object] = {}
    item_of_clip: dict[str, str] = {}
    for item, clip in clips.items():
        keys[clip] = [caption.key for caption in own.get(item, {}).values()]
        item_of_clip[clip] = item
    donors = mismatched(keys, spec.mismatch_seed)
    return {item: own.get(item_of_clip[donors[clip]], {}) for item, clip in clips.items()}


def mismatched(clips: Mapping[str, object], seed: int) -> dict[str, str]:
    """Draw for each clip, by the seed, another clip whose captions were made from something else.

    `clips` maps each clip to what tells it apart (the keys of its captions). The donor is one of the clips before it,
    so that a run which grows keeps its donors; the first clip's donor is the first different clip after it. Raises
    UserError where no two clips differ.
    """
    names = list(clips)
    donors: dict[str, str] = {}
    for place, name in enumerate(names):
        before = random.Random(f"{seed}:{name}").sample(names[:place], place)
        candidates = [*before, *names[place + 1 :]]
        donor = next((candidate for candidate in candidates if clips[candidate] != clips[name]), None)
        if donor is None:
            raise UserError("mismatched captions need two different clips; raise --limit")
        donors[name] = donor
    return donors


def order_choices(choices: Sequence[str], item: str, seed: int | None, sample: int = 0) -> tuple[str, ...]:
    """Return the choices in the order of the prompt: as given, or shuffled by the seed and the item's id.

    Each further sample of an item rotates them by one, so that as many samples as choices show each in every place.
    """
    order = list(choices)
    if seed is None:
        return tuple(order)
    random.Random(f"{seed}:{item}").shuffle(order)
    shift = sample % len(order)
    return tuple(order[shift:] + order[:shift])


def build_prompt(
    spec: PromptSpec,
    template: Template,
    item: str,
    question: str,
    choices: Sequence[str],
    captions: Mapping[str, Caption],
    sample: int = 0,
) -> Prompt:
    """Return the prompt for one sample of an item. `item` is its id, by which choices are shuffled.

    Where the clip is sent, a part of the message names it by its digest and form; `with_audio` puts the clip there.
    """
    order = order_choices(choices, item, spec.order_seed, sample)
    place = secrets.token_hex(16) if spec.audio else ""  # no caption or question can hold it
    prompt = render(template, evidence_text(spec.slots, captions, spec.audio or "", place), question, order)
    if not spec.audio:
        return prompt
    about = captions[spec.audio].meta.get("audio", {})
    part = {"type": "input_audio", "input_audio": dict(about)}
    messages: list[Mapping[str, Any]] = []
    for message in prompt.messages:
        before, mark, after = message["content"].partition(place)
        if mark:
            texts = [{"type": "text", "text": text} for text in (before, after.replace(place, "The clip above."))]
            message = {"role": message["role"], "content": [texts[0], part, texts[1]]}
        messages.append(message)
    clip, seconds = about.get("clip", ""), about.get("seconds", 0.0)
    return replace(prompt, messages=tuple(messages), clip=clip, seconds=seconds)


def message_text(message: Mapping[str, Any], clip: str) -> str:
    """Return a message's text, with `clip` in brackets where the clip is sent."""
    content = message["content"]
    if isinstance(content, str):
        return content
    return "".join(f"<{clip}>" if part["type"] == "input_audio" else part["text"] for part in content)


def with_audio(prompt: Prompt, clip: EncodedAudio) -> Prompt:
    """Return the prompt as it is sent: the clip's bytes in the place of its digest."""
    messages = []
    for message in prompt.messages:
        content = message["content"]
        if not isinstance(content, str):
            content = [audio_part(clip) if part["type"] == "input_audio" else part for part in content]
        messages.append({**message, "content": content})
    return replace(prompt, messages=tuple(messages))


def prompt_digest(prompt: Prompt) -> str:
    """Return the digest of the messages as they are sent."""
    return digest([dict(message) for message in prompt.messages])


def render(template: Template, evidence: str, question: str, order: Sequence[str]) -> Prompt:
    """Return the messages for one question. Fields are filled in once: a `$` in a caption or question stays a `$`."""
    fields = {"evidence": evidence, "question": question, "choices": "\n".join(order)}
    return Prompt(messages=fill(template, fields), order=tuple(order))


def evidence_text(slots: Sequence[str], captions: Mapping[str, Caption], audio: str = "", place: str = "") -> str:
    """Return the captions under fixed headings, slot by slot in the given order; an empty slot says so in words.

    Under the heading of the slot `audio` stands `place`.
    """
    sections: list[str] = []
    for slot in slots:
        heading = _HEADINGS.get(slot, slot.replace("-", " ").replace("_", " ").capitalize())
        if slot == audio:
            sections.append(f"[{heading}]\n{place}")
            continue
        caption = captions[slot]
        windows = caption.meta.get("windows") or ()
        text = caption.text.strip()
        if text and len(windows) > 1 and all("text" in window for window in windows):
            lines = [f"{window['start']:.1f}-{window['end']:.1f} s: {window['text']}" for window in windows]
            text = "\n".join(lines)
        sections.append(f"[{heading}]\n{text or _SILENT.get(slot, 'Nothing was recognised.')}")
    return "\n\n".join(sections) or _BLIND
