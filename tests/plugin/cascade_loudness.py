"""How loud a clip is, in words."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cascade import audio
from cascade.types import Caption, Captioner, Host

VERSION = "1"  # raise it when the same clip would get another text
SLOT = "sound"
NEEDS = {"numpy": "pip install 'audio-cascade[local]'"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    loud: float = 0.1  # root mean square, full scale is 1


def make(params: Params, host: Host) -> Captioner:
    import numpy as np

    def caption(clips: Sequence[Path]) -> list[Caption]:
        captions = []
        for clip in clips:
            samples = audio.read(clip, 16000)  # mono float32; a bad clip raises ClipError
            level = float(np.sqrt(np.mean(samples**2)))
            captions.append(Caption(text="loud" if level > params.loud else "quiet", meta={"rms": level}))
        return captions

    return caption
