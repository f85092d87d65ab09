"""Which of AudioSet's 527 kinds of sound a clip is most like, by CLAP: the likeliest with their shares, over time.

The shares are relative to one another, not probabilities that a sound is there: something is always likeliest. With
`labels=choices` the item's choices and the words of its question take the vocabulary's place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from cascade.captioners import torch_device
from cascade.captioners.clap import model
from cascade.captioners.registry import LATER
from cascade.errors import UserError
from cascade.types import Captioner, Host

VERSION = "1"
SLOT = "sound"
NEEDS = model.NEEDS
VOCABULARY = Path(__file__).parent / "vocabulary" / "audioset.txt"
FILES = {"weights": None, "vocabulary": VOCABULARY}
lanes, absent = torch_device.workers, partial(model.absent, "2023")


@dataclass(frozen=True, slots=True, kw_only=True)
class Params(model.TaggingParams):
    """What may change the tags, beside the parameters of both taggers.

    `top`: tags a window and clip. `floor`: the share (0 to 1) under which only the likeliest tag is in the text.
    `labels`: "choices" scores the choices and the content words of the question, and not the vocabulary.
    """

    top: int = 5
    floor: float = 0.05
    labels: str = field(default="", metadata=LATER)


def needs_question(params: Mapping[str, Any]) -> bool:
    """Return whether the labels are those of the item."""
    return params.get("labels") == "choices"


def turned(params: Mapping[str, Any], *, asks: bool) -> dict[str, Any]:
    """Return the parameters to give for the same tagger with the labels of the item, or with its vocabulary."""
    return {**params, "labels": "choices" * asks}


def make(params: Params, host: Host) -> Captioner:
    """Return the tagger, with its model loaded and its vocabulary embedded; raises as `make_tagger` does."""
    from cascade.captioners.clap import labels, tags

    if params.labels not in ("", "choices"):
        raise UserError(f"{SLOT}.labels={params.labels}: choices, or nothing for the vocabulary")
    group_labels = labels.question_groups if params.labels else None
    return tags.make_tagger(params, host, SLOT, VOCABULARY, describe, group_labels)


def describe(params: Params, groups: Mapping[str, Any], windows: Sequence[Mapping[str, Any]]) -> str:
    """Return the clip's tags in words, then each window's likeliest where they change."""
    from cascade.captioners.clap import tags

    listed = "; ".join(tags.list_tags(group, params.floor) for group in groups.values())
    text = f"Likeliest sounds: {listed}."
    if params.labels:
        parts = [f"Likeliest of {name}: {tags.list_tags(group, params.floor)}." for name, group in groups.items()]
        text = f"{' '.join(parts)} These are shares among the words alone: something is always likeliest."
    likeliest, times = set(), []
    for window in windows:
        name = " and ".join(group[0][0] for group in window["tags"].values())
        likeliest.add(name)
        times.append(f"{window['start']:.0f}-{window['end']:.0f} s {name}")
    if len(likeliest) < 2:
        return text
    return f"{text} In time: {'; '.join(times)}."
