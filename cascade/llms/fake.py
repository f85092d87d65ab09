"""The model `fake`: it always gives the same choice for the same prompt and seed, and needs nothing installed."""

from __future__ import annotations

import json

from cascade.io.digests import digest
from cascade.types import Completion, Params, Prompt


async def complete(prompt: Prompt, params: Params) -> Completion:
    """Return `Answer: <a choice>`, drawn by the digest of the messages and `params["seed"]`.

    Where the prompt shows no choices, before the answer of a run that has rounds, it asks for nothing more. A
    `response_format` is honoured: the choice is then the `answer` of a JSON object, whose other fields are empty.
    """
    drawn = int(digest([list(map(dict, prompt.messages)), params.get("seed", 0)]).removeprefix("b2:"), 16)
    text = f"Answer: {prompt.order[drawn % len(prompt.order)]}" if prompt.order else "Nothing more is needed."
    if "response_format" in params:
        fields = params["response_format"]["json_schema"]["schema"]["properties"]
        choices = fields["answer"]["enum"]
        text = json.dumps({**dict.fromkeys(fields, ""), "answer": choices[drawn % len(choices)]}, ensure_ascii=False)
    return Completion(
        text=text, finish="stop", model="fake", input_tokens=0, output_tokens=0, reasoning_tokens=0, cost=0.0
    )
