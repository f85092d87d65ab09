"""What music in a clip is most like, by CLAP: genre, instruments, mood, vocals, tempo and texture, a group each.

The shares of a group's tags are relative to one another, not probabilities: without music something is still likeliest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from cascade.captioners import torch_device
from cascade.captioners.clap import model, tags
from cascade.types import Captioner, Host

VERSION = "1"
SLOT = "music"
NEEDS = model.NEEDS
VOCABULARY = Path(__file__).parent / "vocabulary" / "music.txt"
FILES = {"weights": None, "vocabulary": VOCABULARY}
lanes, absent = torch_device.workers, partial(model.absent, "2023")


@dataclass(frozen=True, slots=True, kw_only=True)
class Params(model.TaggingParams):
    """What may change the tags, beside the parameters of both taggers.

    `top`: tags a group. `floor`: the share (0 to 1) under which only a group's likeliest tag is in the text.
    """

    top: int = 3
    floor: float = 0.1


def make(params: Params, host: Host) -> Captioner:
    """Return the tagger, with its model loaded and its vocabulary embedded; raises as `make_tagger` does."""
    return tags.make_tagger(params, host, SLOT, VOCABULARY, describe)


def describe(params: Params, groups: Mapping[str, Any], windows: Sequence[Mapping[str, Any]]) -> str:
    """Return the likeliest tags of each group in words."""
    return " ".join(f"{name.capitalize()}: {tags.list_tags(group, params.floor)}." for name, group in groups.items())
