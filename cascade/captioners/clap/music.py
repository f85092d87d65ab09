"""What music in a clip is most like, by CLAP: genre, instruments, mood, vocals, tempo and texture, each by itself.

The shares within a group are of one another, not probabilities: where there is no music, something is still likeliest.
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
SLOT = "music"
NEEDS = model.NEEDS
_VOCABULARY = Path(__file__).parent / "vocabulary" / "music.txt"
FILES = {"weights": None, "vocabulary": _VOCABULARY}
lanes, absent = torch_device.lanes, partial(model.absent, "2023")


@dataclass(frozen=True, slots=True, kw_only=True)
class Params(model.Tagging):
    """What may change the tags, beside what both taggers have.

    `top`: tags a group. `floor`: the share (0 to 1) under which only a group's likeliest is told.
    """

    top: int = 3
    floor: float = 0.1


def make(params: Params, host: Host) -> Captioner:
    """The tagger, with its model loaded and its vocabulary embedded. Raises UserError where one cannot be had."""
    from cascade.captioners.clap import tags

    return tags.maker(params, host, SLOT, _VOCABULARY, _worded)


def _worded(params: Params, whole: Mapping[str, Any], windows: Sequence[Mapping[str, Any]]) -> str:
    """The likeliest tags of each group."""
    from cascade.captioners.clap import tags

    return " ".join(f"{name.capitalize()}: {tags.listed(found, params.floor)}." for name, found in whole.items())
