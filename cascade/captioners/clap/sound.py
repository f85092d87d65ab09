"""Which of AudioSet's 527 kinds of sound a clip is most like, by CLAP: the likeliest with their shares, over time.

The shares are relative to one another, not probabilities that a sound is there: something is always likeliest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from cascade.captioners import torch_device
from cascade.captioners.clap import model
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
    """

    top: int = 5
    floor: float = 0.05


def make(params: Params, host: Host) -> Captioner:
    """Return the tagger, with its model loaded and its vocabulary embedded; raises as `make_tagger` does."""
    from cascade.captioners.clap import tags

    return tags.make_tagger(params, host, SLOT, VOCABULARY, describe)


def describe(params: Params, groups: Mapping[str, Any], windows: Sequence[Mapping[str, Any]]) -> str:
    """Return the clip's tags in words, then each window's likeliest where they change."""
    from cascade.captioners.clap import tags

    listed = "; ".join(tags.list_tags(group, params.floor) for group in groups.values())
    text = f"Likeliest sounds: {listed}."
    likeliest, times = set(), []
    for window in windows:
        name = " and ".join(group[0][0] for group in window["tags"].values())
        likeliest.add(name)
        times.append(f"{window['start']:.0f}-{window['end']:.0f} s {name}")
    if len(likeliest) < 2:
        return text
    return f"{text} In time: {'; '.join(times)}."
