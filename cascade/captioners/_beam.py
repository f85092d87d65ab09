"""The beam search of msclap's captioner, with GPT-2's keys and values kept from token to token.

The same beams as `msclap.CLAPWrapper._generate_beam` at temperature 1, which computes every token anew from the start.
Its ways are kept: a beam that has stopped goes on with token 0 at no cost, lengths count the stop token, and the stop
token is the first of those that " <|endoftext|>" is cut into.
"""

from __future__ import annotations

from typing import Any

STOP = " <|endoftext|>"


def search(gpt: Any, prefix: Any, stop: int, beams: int, longest: int) -> tuple[list[int], float]:
    """The tokens of the best beam and its score, the mean log-probability a token.

    `prefix` has shape (1, positions, width): what GPT-2 is shown before the first token.
    """
    import torch

    with torch.no_grad():
        out = gpt(inputs_embeds=prefix, use_cache=True)
        scores, tokens = out.logits[0, -1].softmax(-1).log().topk(beams)
        tokens, past = tokens[:, None], out.past_key_values
        past.batch_repeat_interleave(beams)
        lengths = torch.ones(beams, device=tokens.device)
        stopped = tokens[:, -1] == stop
        for _ in range(longest - 1):
            if stopped.all():
                break
            out = gpt(inputs_embeds=gpt.transformer.wte(tokens[:, -1:]), past_key_values=past, use_cache=True)
            logs = out.logits[:, -1].softmax(-1).log()
            logs[stopped] = -float("inf")
            logs[stopped, 0] = 0
            lengths[~stopped] += 1
            means, best = ((scores[:, None] + logs) / lengths[:, None]).view(-1).topk(beams)
            source, following = best // logs.shape[1], best % logs.shape[1]
            past.reorder_cache(source)
            lengths, tokens = lengths[source], torch.cat([tokens[source], following[:, None]], dim=1)
            scores, stopped = means * lengths, stopped[source] | (following == stop)
        means = scores / lengths
        winner = int(means.argsort(descending=True)[0])
        return tokens[winner, : int(lengths[winner])].tolist(), float(means[winner])
