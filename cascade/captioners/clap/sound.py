"""Which of AudioSet's 527 kinds of sound a clip is most like, by CLAP: the likeliest with their shares, over time.

The shares are of one another, not probabilities that a sound is there: something is always likeliest, in silence too.
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
_VOCABULARY = Path(__file__).parent / "vocabulary" / "audioset.txt"
FILES = {"weights": None, "vocabulary": _VOCABULARY}
lanes, absent = torch_device.lanes, partial(model.absent, "2023")


@dataclass(frozen=True, slots=True, kw_only=True)
class Params(model.Tagging):
    """What may change the tags, beside what both taggers have.

    `top`: tags a window and clip. `floor`: the share (0 to 1) under which only the likeliest is told.
    """

    top: int = 5
    floor: float = 0.05


def make(params: Params, host: Host) -> Captioner:
    """The tagger, with its model loaded and its vocabulary embedded. Raises UserError where one cannot be had."""
    from cascade.captioners.clap import tags

    return tags.maker(params, host, SLOT, _VOCABULARY, _worded)


def _worded(params: Params, whole: Mapping[str, Any], windows: Sequence[Mapping[str, Any]]) -> str:
    """The clip's tags, then each window's likeliest where they change."""
    from cascade.captioners.clap import tags

    told = "; ".join(tags.listed(found, params.floor) for found in whole.values())
    leading = [" and ".join(found[0][0] for found in window["tags"].values()) for window in windows]
    if len(set(leading)) < 2:
        return f"Likeliest sounds: {told}."
    times = [f"{one['start']:.0f}-{one['end']:.0f} s {name}" for one, name in zip(windows, leading, strict=True)]
    return f"Likeliest sounds: {told}. In time: {'; '.join(times)}."
