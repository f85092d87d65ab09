"""What a model's tokens cost: as the user states it, or else by the price map in litellm's package, or else unknown."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from cascade.errors import UserError
from cascade.llms import credentials
from cascade.types import Params, Prompt

_OVERHEAD = 64  # tokens of a chat format around the texts, at most
# Tokens of a second of audio, as published: 6.25 Gemma 3n, 10 OpenAI, 12.5 Voxtral, 25 Qwen2-Audio, 32 Gemini. A call's
# bound is beyond them: the frames of Whisper's encoder, and 30 seconds, to which some models fill up a shorter clip.
PUBLISHED_RATES = (6.25, 32.0)
_MOST_AUDIO_TOKENS = 50.0  # a second
_SHORTEST_AUDIO = 30.0  # seconds
_AUDIO = "input_cost_per_audio_token"
_INPUT, _OUTPUT, _REASONING = "input_cost_per_token", "output_cost_per_token", "output_cost_per_reasoning_token"


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """US dollars a token, and their `source`. `dearest` holds the highest rates, where they depend on the length.

    `most` is how many tokens a reply may have, where that is known. `audio` is the rate of the input's audio tokens,
    None where it is unknown.
    """

    input: float
    output: float
    source: str
    dearest: tuple[float, float]
    most: int | None = None
    audio: float | None = None

    def of(self, input_tokens: int, output_tokens: int, *, audio: bool = False) -> float:
        """Return the cost of so many tokens; with `audio`, as if all of the input were audio."""
        rate = max(self.input, self.audio or 0.0) if audio else self.input
        return input_tokens * rate + output_tokens * self.output

    def bound(self, prompt: Prompt, params: Params) -> float | None:
        """Return the most that a call can cost; None where nothing bounds its reply, or its clip has no price."""
        most = reply_limit(params) or self.most
        if not self.dearest[1]:
            most = 0
        if most is None:
            return None
        # No token is less than a byte.
        sent = sum(len(text.encode("utf-8", "replace")) for text in prompt.texts()) + _OVERHEAD
        sent += sum(len(json.dumps(params[name])) for name in ("response_format", "tools") if name in params)
        clips = 0.0
        if prompt.seconds:
            if self.audio is None:
                return None
            clips = max(prompt.seconds, _SHORTEST_AUDIO) * _MOST_AUDIO_TOKENS * max(self.audio, self.dearest[0])
        return sent * self.dearest[0] + clips + most * self.dearest[1]


def reply_limit(params: Params) -> int | None:
    """Return the most tokens that a reply may have by its parameters."""
    for name in ("max_completion_tokens", "max_tokens"):
        if isinstance(params.get(name), int):
            return int(params[name])
    return None


def find(model: str, stated: str | None, *, own: bool = False) -> Price | None:
    """Return the price of a model, as stated (`INPUT,OUTPUT` in dollars a million tokens) or listed; None is unknown.

    A server on one's `own` machine is in no list. Raises UserError for a stated price that cannot be read.
    """
    listed = None if own else credentials.listed(model)
    most = (listed or {}).get("max_output_tokens")
    if stated:
        try:
            input_rate, output_rate = (float(rate) / 1e6 for rate in stated.split(","))
        except ValueError:
            input_rate = output_rate = -1.0
        if not (0 <= input_rate < 1 and 0 <= output_rate < 1):
            raise UserError(
                f"--price {stated}: write INPUT,OUTPUT in US dollars a million tokens, as in --price 2.5,10"
            )
        rates = input_rate, output_rate
        return Price(input=input_rate, output=output_rate, source="--price", dearest=rates, most=most, audio=input_rate)
    if listed is None or not {_INPUT, _OUTPUT} <= listed.keys():
        return None
    return Price(
        input=listed[_INPUT],
        output=listed[_OUTPUT],
        source=f"the price map of litellm {version('litellm')}",
        dearest=(_highest(listed, _INPUT), _highest(listed, _OUTPUT, _REASONING)),
        most=most,
        audio=listed.get(_AUDIO),
    )


def _highest(listed: Mapping[str, Any], *names: str) -> float:
    """Return the highest rate whose name starts with one of the names."""
    rates = [rate for name, rate in listed.items() if name.startswith(names) and isinstance(rate, int | float)]
    return float(max(rates))
