"""A sentence for each window of a clip, by msclap's captioner (CLAP and GPT-2).

Windows of 7 s from the start are captioned by beam search, each alone. The caption has each window's times where there
is more than one; windows in a row with the same sentence are one.

The search takes several windows at a time, with GPT-2's keys and values kept. The beams are those of
`msclap.CLAPWrapper._generate_beam` at temperature 1, which takes one window at a time and computes every token anew
from the start. Its peculiarities are kept: a beam that has stopped goes on with token 0 at no cost, lengths count the
stop token, and the stop token is the first of those that " <|endoftext|>" is split into.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from cascade.captioners import speech, torch_device
from cascade.captioners.clap import model
from cascade.captioners.clap.windows import Results, caption_windows
from cascade.errors import UserError
from cascade.types import Captioner, Host

VERSION = "1"
SLOT = "sound"
NEEDS = model.NEEDS
FILES = {"weights": None}
lanes, absent = torch_device.workers, partial(model.absent, "clapcap")
STOP = " <|endoftext|>"


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
    if params.compute != "float32" or params.beam_size < 2 or params.entry_length < 1:
        raise UserError("clapcap computes in float32, with two beams or more and one token or more")
    clap = model.Clap("clapcap", params.weights, params.revision, host, SLOT)
    return lambda clips: caption_windows(clips, clap, partial(sentences, params, clap), describe)


def describe(results: Results) -> tuple[str, dict[str, Any]]:
    """Return the text of a clip from its windows' sentences and scores, and their records for `meta`."""
    windows = [
        {"start": round(start, 3), "end": round(end, 3), "text": text, "score": round(score, 4)}
        for start, end, (text, score) in results
    ]
    return speech.join_windows([(start, end, text) for start, end, (text, _) in results]), {"windows": windows}


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
    stop = tokenizer.encode(STOP)[0]
    beams = search(captioner.gpt, prefixes, stop, params.beam_size, params.entry_length, fixed=clap.fixed)
    return [(tidy(tokenizer.decode(tokens).capitalize()), score) for tokens, score in beams]


def tidy(text: str) -> str:
    """Return a sentence with its full stop and without the remains of the stop token."""
    text = text.replace("<|endoftext|>", " ").strip()
    text = " ".join(text.split()).replace(" .", ".").replace(" ,", ",")
    if text and text[-1] not in ".!?":
        text += "."
    return text


@dataclass(slots=True)
class _Beams:
    """The beams of the windows in `rows`, whose search goes on; shapes are (windows, beams[, tokens])."""

    rows: Any
    tokens: Any
    scores: Any
    lengths: Any
    stopped: Any

    def best(self, at: int) -> tuple[list[int], float]:
        """Return the tokens and the score of a window's best beam."""
        means = self.scores[at] / self.lengths[at]
        winner = int(means.argsort(descending=True)[0])
        return self.tokens[at, winner, : int(self.lengths[at, winner])].tolist(), float(means[winner])


def search(
    gpt: Any, prefixes: Any, stop: int, beams: int, longest: int, *, fixed: bool = False
) -> list[tuple[list[int], float]]:
    """Return the tokens of each window's best beam and its score, the mean log-probability a token.

    `prefixes` has shape (windows, positions, width): what GPT-2 gets before the first token. Windows whose beams have
    all stopped are taken out, unless the shape must stay `fixed`.
    """
    import torch

    results: dict[int, tuple[list[int], float]] = {}
    with torch.no_grad():
        out = gpt(inputs_embeds=prefixes, use_cache=True)
        past = out.past_key_values
        past.batch_repeat_interleave(beams)
        scores, tokens = out.logits[:, -1].softmax(-1).log().topk(beams)
        rows = torch.arange(len(prefixes), device=scores.device)
        beam = _Beams(rows, tokens[:, :, None], scores, torch.ones_like(scores), tokens == stop)
        for _ in range(longest - 1):
            done = beam.stopped.all(dim=1)
            if done.all():
                break
            if done.any() and not fixed:
                results.update((int(beam.rows[at]), beam.best(at)) for at in done.nonzero().flatten().tolist())
                kept = (~done).nonzero().flatten()
                past.reorder_cache((kept[:, None] * beams + torch.arange(beams, device=kept.device)).flatten())
                parts = (beam.rows, beam.tokens, beam.scores, beam.lengths, beam.stopped)
                beam = _Beams(*(part[kept] for part in parts))
            last = gpt.transformer.wte(beam.tokens[:, :, -1].reshape(-1, 1))
            out = gpt(inputs_embeds=last, past_key_values=past, use_cache=True)
            past.reorder_cache(_extend(beam, out.logits[:, -1].view(*beam.scores.shape, -1), stop))
        results.update((int(row), beam.best(at)) for at, row in enumerate(beam.rows))
    return [results[row] for row in range(len(prefixes))]


def _extend(beam: _Beams, logits: Any, stop: int) -> Any:
    """Extend every beam by a token; return the row of keys and values that each beam goes on from, flat."""
    import torch

    windows, beams, words = logits.shape
    logs = logits.softmax(-1).log()
    logs[beam.stopped] = -float("inf")
    logs[:, :, 0].masked_fill_(beam.stopped, 0)
    beam.lengths[~beam.stopped] += 1
    means, best = ((beam.scores[:, :, None] + logs) / beam.lengths[:, :, None]).view(windows, -1).topk(beams)
    source, following = best // words, best % words
    earlier = beam.tokens.gather(1, source[:, :, None].expand_as(beam.tokens))
    beam.tokens = torch.cat([earlier, following[:, :, None]], 2)
    beam.lengths = beam.lengths.gather(1, source)
    beam.scores = means * beam.lengths
    beam.stopped = beam.stopped.gather(1, source) | (following == stop)
    return (source + torch.arange(windows, device=source.device)[:, None] * beams).flatten()
