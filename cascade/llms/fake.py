"""The model `fake`: it always gives the same choice for the same prompt and seed, and needs nothing installed."""

from __future__ import annotations

from cascade.io.digests import digest
from cascade.types import Completion, Params, Prompt


async def complete(prompt: Prompt, params: Params) -> Completion:
    """Return `Answer: <a choice>`, drawn by the digest of the messages and `params["seed"]`."""
    drawn = int(digest([list(map(dict, prompt.messages)), params.get("seed", 0)]).removeprefix("b2:"), 16)
    return Completion(
        text=f"Answer: {prompt.order[drawn % len(prompt.order)]}",
        finish="stop",
        model="fake",
        input_tokens=0,
        output_tokens=0,
        reasoning_tokens=0,
        cost=0.0,
    )
