"""Which of AudioSet's 527 kinds of sound a clip is most like, by CLAP: the likeliest with their shares, over time.

The shares are relative to one another, not probabilities that a sound is there: something is always likeliest. With
`labels=choices` the item's choices and the words of its question take the vocabulary's place.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from cascade.captioners import torch_device
from cascade.captioners.clap import model, tags
from cascade.captioners.registry import LATER
from cascade.errors import UserError
from cascade.types import Captioner, CaptionInput, Host

VERSION = "1"
SLOT = "sound"
NEEDS = model.NEEDS
VOCABULARY = Path(__file__).parent / "vocabulary" / "audioset.txt"
FILES = {"weights": None, "vocabulary": VOCABULARY}
lanes, absent = torch_device.workers, partial(model.absent, "2023")

_WORD = re.compile(r"[^\W\d_]{2,}")
# English function words and words that are common in audio questions; none of them names a sound.
_STOP = """
about according after again all also am among an and another any appear appears are as asked at audio audios away based
be because been before being best between both but by can choose clip clips come correct could describe described
determine did different do does doing done down during each end events every feel first following for from get given
had happen happened happening has have he hear heard her here him his how identify if in included infer into is it its
itself kind last least less like likely listen long main make many me mentioned might more most much must name next no
not number occur occurred of off often on one only option or order other our out over part people person piece place
please possible present question recording same scenario scene second seconds seem segment segments several she should
situation so some sound sounded sounds such take than that the their them then there these they thing things think this
those three time times to total two type types under up used using video was we were what when where which while who
whom whose why will with would you your
"""


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
    if params.labels not in ("", "choices"):
        raise UserError(f"{SLOT}.labels={params.labels}: choices, or nothing for the vocabulary")
    group_labels = _question_groups if params.labels else None
    return tags.make_tagger(params, host, SLOT, VOCABULARY, describe, group_labels)


def _question_groups(inputs: CaptionInput) -> list[tags.Group]:
    """Return the groups of phrases that a clip is scored against: the choices, then the question's content words.

    A single content word is left out, because its share would be 1 for every clip.
    """
    words = dict.fromkeys(word for word in _WORD.findall(inputs.question.casefold()) if word not in _STOP.split())
    groups = [tags.Group("the choices", "the sound of {}", inputs.choices)]
    if len(words) > 1:
        groups.append(tags.Group("the question's words", "the sound of {}", tuple(words)))
    return groups


def describe(params: Params, groups: Mapping[str, Any], windows: Sequence[Mapping[str, Any]]) -> str:
    """Return the clip's tags in words, then each window's likeliest where they change."""
    if not params.labels:
        listed = "; ".join(tags.list_tags(group, params.floor) for group in groups.values())
        text = f"Likeliest sounds: {listed}."
    else:
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
