"""A sentence for each window of a clip, by msclap's captioner (CLAP and GPT-2).

Windows of 7 s from the start are captioned by beam search, each alone. The caption has each window's times where there
is more than one; windows in a row with the same sentence are one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cascade.captioners import speech, torch_device
from cascade.captioners.clap import beam_search, model
from cascade.errors import UserError
from cascade.types import Caption, Captioner, Failure, Host

if TYPE_CHECKING:
    from cascade.captioners.clap.windows import ClipResult

VERSION = "1"
SLOT = "sound"
NEEDS = model.NEEDS
FILES = {"weights": None}
lanes, absent = torch_device.workers, partial(model.absent, "clapcap")


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
    """Return the captioner, with its model loaded.

    Raises UserError where the weights cannot be had or are another model's.
    """
    from cascade.captioners.clap.windows import run_windows

    if params.compute != "float32" or params.beam_size < 2 or params.entry_length < 1:
        raise UserError("clapcap computes in float32, with two beams or more and one token or more")
    clap = model.Clap("clapcap", params.weights, params.revision, host, SLOT)

    def caption(clips: Sequence[Path]) -> list[Caption | Failure]:
        results = run_windows(clips, partial(sentences, params, clap), fixed=clap.fixed)
        return [result.failure or _caption(params, clap, result) for result in results]

    return caption


def _caption(params: Params, clap: model.Clap, result: ClipResult) -> Caption:
    windows = [
        {"start": round(start, 3), "end": round(end, 3), "text": text, "score": round(score, 4)}
        for start, end, (text, score) in result.windows
    ]
    meta = {
        "duration_s": windows[-1]["end"],
        "windows": windows,
        "seconds": round(result.seconds, 3),
        "compute": params.compute,
        **clap.about,
        **result.decoding,
    }
    return Caption(
        text=speech.join_windows([(start, end, text) for start, end, (text, _) in result.windows]), meta=meta
    )


def sentences(params: Params, clap: model.Clap, samples: Any) -> list[tuple[str, float]]:
    """Return each window's sentence and score (mean log-probability a token); samples have shape (windows, 7 s)."""
    import torch

    captioner, tokenizer, args = clap.model, clap.wrapper.tokenizer, clap.wrapper.args
    with torch.no_grad():
        prefix = clap.embed_audio(samples)
        if args.normalize_prefix:
            prefix = prefix / prefix.norm(2, -1).reshape(-1, 1)
        width = captioner.gpt.transformer.wte.weight.shape[1]
        prefixes = captioner.clap_project(prefix).view(-1, args.prefix_length, width)
    stop = tokenizer.encode(beam_search.STOP)[0]
    beams = beam_search.search(captioner.gpt, prefixes, stop, params.beam_size, params.entry_length, fixed=clap.fixed)
    return [(tidy(tokenizer.decode(tokens).capitalize()), score) for tokens, score in beams]


def tidy(text: str) -> str:
    """Return a sentence with its full stop and without the remains of the stop token."""
    text = text.replace("<|endoftext|>", " ").strip()
    text = " ".join(text.split()).replace(" .", ".").replace(" ,", ",")
    if text and text[-1] not in ".!?":
        text += "."
    return text
