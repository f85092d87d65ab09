"""What is heard in a clip, in a sentence a window, by msclap's captioner (CLAP and GPT-2).

Windows of 7 s from the start, each captioned alone by beam search; the clip's line has each window's times where there
is more than one, and windows in a row that say the same are one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from cascade.captioners import speech, torch_device
from cascade.captioners.clap import beam_search
from cascade.captioners.clap import model as clap_model
from cascade.errors import UserError
from cascade.types import Caption, Captioner, Failure, Host

VERSION = "1"
SLOT = "sound"
NEEDS = clap_model.NEEDS
FILES = {"weights": None}
lanes, absent = torch_device.lanes, partial(clap_model.absent, "clapcap")


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    """What may change a caption.

    `weights`: a folder that holds `clapcap_weights_2023.pth` and `gpt2/`; "" is the hub's microsoft/msclap.
    `revision`: of that repository.
    `compute`: the arithmetic, float32.
    `beam_size` and `entry_length` (tokens at most): msclap's own.
    """

    weights: str = ""
    revision: str = "main"
    compute: str = "float32"
    beam_size: int = 5
    entry_length: int = 67


def make(params: Params, host: Host) -> Captioner:
    """The captioner, with its model loaded. Raises UserError where the weights cannot be had or are another model's."""
    from cascade.captioners.clap.windows import caption_windows

    if params.compute != "float32" or params.beam_size < 2 or params.entry_length < 1:
        raise UserError("clapcap computes in float32, with two beams or more and one token or more")
    clap = clap_model.Clap("clapcap", params.weights, params.revision, host, SLOT)

    def found(samples: Any) -> list[tuple[str, float]]:
        return sentences(params, clap, samples)

    def caption(clips: Sequence[Path]) -> list[Caption | Failure]:
        return [one.failure or _caption(params, clap, one) for one in caption_windows(clips, found, fixed=clap.fixed)]

    return caption


def _caption(params: Params, clap: Any, heard: Any) -> Caption:
    windows = [
        {"start": round(start, 3), "end": round(end, 3), "text": text, "score": round(score, 4)}
        for start, end, (text, score) in heard.windows
    ]
    meta = {
        "duration_s": windows[-1]["end"],
        "windows": windows,
        "seconds": round(heard.seconds, 3),
        "compute": params.compute,
        **clap.about,
    }
    return Caption(text=speech.clip_line([(start, end, text) for start, end, (text, _) in heard.windows]), meta=meta)


def sentences(params: Params, clap: Any, samples: Any) -> list[tuple[str, float]]:
    """The sentence for each window and its score (mean log-probability a token); samples of shape (windows, 7 s)."""
    import torch

    model, tokenizer, args = clap.model, clap.wrapper.tokenizer, clap.wrapper.args
    with torch.no_grad():
        prefix = clap.heard(samples)
        if args.normalize_prefix:
            prefix = prefix / prefix.norm(2, -1).reshape(-1, 1)
        width = model.gpt.transformer.wte.weight.shape[1]
        shown = model.clap_project(prefix).view(-1, args.prefix_length, width)
    stop = tokenizer.encode(beam_search.STOP)[0]
    found = beam_search.search(model.gpt, shown, stop, params.beam_size, params.entry_length, fixed=clap.fixed)
    return [(_tidy(tokenizer.decode(tokens).capitalize()), score) for tokens, score in found]


def _tidy(text: str) -> str:
    """A sentence that ends as one; what the stop token leaves behind is cut off."""
    text = text.replace("<|endoftext|>", " ").strip()
    text = " ".join(text.split()).replace(" .", ".").replace(" ,", ",")
    return text if not text or text[-1] in ".!?" else f"{text}."
