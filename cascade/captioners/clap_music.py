"""What music in a clip is most like, by CLAP: genre, instruments, mood, vocals, tempo and texture, each by itself.

The shares within a group are of one another, not probabilities: where there is no music, something is still likeliest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cascade.types import Captioner, Host

VERSION = "1"
SLOT = "music"
_INSTALL = "pip install 'audio-cascade[clap]'"
NEEDS = dict.fromkeys(("msclap", "transformers", "huggingface_hub", "soundfile", "av", "soxr"), _INSTALL)
_VOCABULARY = Path(__file__).parent / "vocabulary" / "music.txt"
FILES = {"weights": None, "vocabulary": _VOCABULARY}


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    """What may change the tags.

    `weights`: a folder that holds `CLAP_weights_2023.pth` and `gpt2/`; "" is the hub's microsoft/msclap.
    `revision`: of that repository.
    `compute`: the arithmetic, float32.
    `vocabulary`: a file of your own; its digest stands in the spec, the shipped file's too.
    `top`: tags a group. `floor`: the share (0 to 1) under which only a group's likeliest is told.
    """

    weights: str = ""
    revision: str = "main"
    compute: str = "float32"
    vocabulary: str = ""
    top: int = 3
    floor: float = 0.1


def make(params: Params, host: Host) -> Captioner:
    """The tagger, with its model loaded and its vocabulary embedded. Raises UserError where one cannot be had."""
    from cascade.captioners import _tags

    return _tags.maker(params, host, SLOT, _VOCABULARY, _worded)


def lanes(params: Params, host: Host) -> int:
    """Clips heard side by side on a processor; on a GPU their windows are one batch."""
    from cascade.captioners import _torch

    return _torch.lanes(host)


def absent(params: Params, host: Host) -> tuple[str, str] | None:
    """What is to be fetched before the first clip, and from where; None where the weights are here."""
    from cascade.captioners import _clap

    return _clap.absent("2023", params.weights, params.revision, host)


def _worded(params: Params, whole: Mapping[str, Any], windows: Sequence[Mapping[str, Any]]) -> str:
    """The likeliest tags of each group."""
    from cascade.captioners import _tags

    return " ".join(f"{name.capitalize()}: {_tags.listed(found, params.floor)}." for name, found in whole.items())
