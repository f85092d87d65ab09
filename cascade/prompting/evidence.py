"""Captions as the evidence block of a prompt, and the messages of one question.

Nothing here takes an `Item`: a prompt is made from the question, the choices and the captions, so nothing that the
benchmark says about the clip or its answer can reach it.
"""

from __future__ import annotations

import random
import secrets
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from cascade.errors import UserError
from cascade.io.digests import digest
from cascade.io.encoding import audio_part
from cascade.prompting.templates import Template, fill
from cascade.types import SENT_AUDIO, Caption, CaptionRecord, Prompt, PromptSpec

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
    donors = draw_donors(clips, own, spec.mismatch_seed)
    item_of_clip = {clip: item for item, clip in clips.items()}
    shown: dict[str, dict[str, CaptionRecord]] = {}
    for item, clip in clips.items():
        # A caption that depends on the question was already made from the other clip with this item's question.
        asked = {slot: caption for slot, caption in own.get(item, {}).items() if caption.question}
        shown[item] = {**own.get(item_of_clip[donors.get(clip, clip)], {}), **asked}
    return shown


def draw_donors(
    clips: Mapping[str, str],
    captions: Mapping[str, Mapping[str, CaptionRecord]],
    seed: int,
    digests: Mapping[str, object] | None = None,
) -> dict[str, str]:
    """Return the clip that each clip has its captions from in a mismatched run, as `mismatched` draws it.

    `clips` maps each item's id to its clip, `captions` an item and slot to a caption. Captions that depend on the
    question tell no clips apart; where there are no others, the `digests` of the clips do, or nothing is drawn.
    """
    keys: dict[str, object] = {}
    for item, clip in clips.items():
        keys[clip] = [caption.key for caption in captions.get(item, {}).values() if not caption.question]
    if not any(keys.values()):
        if not digests:
            return {}
        keys = dict(digests)
    return mismatched(keys, seed)


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
    if not spec.audio:
        return render(template, evidence_text(spec.slots, captions, spec.headings), question, order)
    place = secrets.token_hex(16)  # a random marker that no caption or question contains
    shown = {**captions, spec.audio: Caption(text=place)}
    prompt = render(template, evidence_text(spec.slots, shown, spec.headings), question, order)
    about = clip_sent(captions[spec.audio].meta)
    messages: list[Mapping[str, Any]] = []
    for message in prompt.messages:
        text = message["content"]
        if message["role"] == "user":
            before, _, after = text.partition(place)
            pieces = [before, after.replace(place, "The clip above.")]
            texts = [{"type": "text", "text": piece} for piece in pieces if piece]
            content = [texts[0], {"type": "input_audio", "input_audio": about}, *texts[1:]]
            messages.append({"role": "user", "content": content})
        else:
            messages.append({**message, "content": text.replace(place, "The clip that follows.")})
    clip, seconds = about.get("clip", ""), about.get("seconds", 0.0)
    return replace(prompt, messages=tuple(messages), clip=clip, seconds=seconds)


def clip_sent(meta: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a caption's `meta` says of the clip that is sent, or {} if it says nothing usable."""
    about = meta.get("audio")
    if isinstance(about, dict) and isinstance(about.get("clip"), str) and isinstance(about.get("seconds"), float):
        return about
    return {}


def with_audio(prompt: Prompt, data: bytes, kind: str) -> Prompt:
    """Return the prompt as it is sent: with the clip's bytes instead of its digest."""
    part, messages = audio_part(data, kind), []
    for message in prompt.messages:
        content = message["content"]
        if isinstance(content, list):
            content = [part if piece["type"] == part["type"] else piece for piece in content]
        messages.append({**message, "content": content})
    return replace(prompt, messages=tuple(messages))


def prompt_digest(prompt: Prompt) -> str:
    """Return the digest of the messages as they are sent."""
    return digest([dict(message) for message in prompt.messages])


def render(template: Template, evidence: str, question: str, order: Sequence[str]) -> Prompt:
    """Return the messages for one question. Fields are filled in once: a `$` in a caption or question stays a `$`."""
    fields = {"evidence": evidence, "question": question, "choices": "\n".join(order)}
    return Prompt(messages=fill(template, fields), order=tuple(order))


def text_to_merge(captions: Mapping[str, CaptionRecord], headings: Mapping[str, str] | UnsetType = UNSET) -> str | None:
    """Return the text of captions (by slot) for a digest, independent of their order, or None if one of them failed.

    The clip itself is left out, because it is not a caption.
    """
    captions = {slot: record for slot, record in captions.items() if slot != SENT_AUDIO}
    texts = {slot: record.caption for slot, record in captions.items() if record.caption is not None}
    if len(texts) < len(captions):
        return None
    return evidence_text(sorted(texts), texts, headings)


def evidence_text(
    slots: Sequence[str], captions: Mapping[str, Caption], headings: Mapping[str, str] | UnsetType = UNSET
) -> str:
    """Return the captions under their headings, slot by slot in the given order; an empty slot says so in words.

    `headings` holds the headings of engines that define their own.
    """
    sections: list[str] = []
    own = headings or {}
    for slot in slots:
        usual = _HEADINGS.get(slot, slot.replace("-", " ").replace("_", " ").capitalize())
        heading = own.get(slot, usual)
        caption = captions[slot]
        text = caption.text.strip()
        if text and (lines := _window_lines(caption.meta.get("windows"))):
            text = "\n".join(lines)
        kind = "" if slot in own else slot
        sections.append(f"[{heading}]\n{text or _SILENT.get(kind, 'Nothing was recognised.')}")
    return "\n\n".join(sections) or _BLIND


def _window_lines(windows: Any) -> list[str]:
    """Return a line for each of several windows that have a text, or no lines for any other value.

    A caption's `meta` may come from a file that was made elsewhere.
    """
    lines: list[str] = []
    for window in windows if isinstance(windows, list | tuple) and len(windows) > 1 else ():
        if not isinstance(window, Mapping) or "text" not in window:
            return []
        start, end = window.get("start"), window.get("end")
        if not isinstance(start, int | float) or not isinstance(end, int | float):
            return []
        lines.append(f"{start:.1f}-{end:.1f} s: {window['text']}")
    return lines
