"""The beam search of msclap's captioner over several windows at a time, with GPT-2's keys and values kept.

The beams are those of `msclap.CLAPWrapper._generate_beam` at temperature 1, which takes one window at a time and
computes every token anew from the start. Its peculiarities are kept: a beam that has stopped goes on with token 0 at no
cost, lengths count the stop token, and the stop token is the first of those that " <|endoftext|>" is split into.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

STOP = " <|endoftext|>"


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
