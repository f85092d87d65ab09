"""What a model's tokens cost: by the user's word, else by the map that comes in litellm's package; else unknown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from cascade.errors import UserError
from cascade.llms import credentials
from cascade.types import Params, Prompt

_OVERHEAD = 64  # tokens of a prompt that stand around its text, generously
_INPUT, _OUTPUT = "input_cost_per_token", "output_cost_per_token"


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """US dollars a token; `source` says whose word it is. `dearest` are the highest rates, where length changes them.

    `most` is how many tokens a reply may have, where that is known.
    """

    input: float
    output: float
    source: str
    dearest: tuple[float, float]
    most: int | None = None

    def of(self, input_tokens: int, output_tokens: int) -> float:
        """What so many tokens cost."""
        return input_tokens * self.input + output_tokens * self.output

    def bound(self, prompt: Prompt, params: Params) -> float | None:
        """What a call can cost at most; None where nothing bounds its reply. No token is less than a byte."""
        most = limit(params) or self.most
        if most is None:
            return None
        sent = sum(len(str(one["content"]).encode()) for one in prompt.messages) + _OVERHEAD
        return sent * self.dearest[0] + most * self.dearest[1]


def limit(params: Params) -> int | None:
    """The most tokens that a reply may have by its parameters."""
    for name in ("max_completion_tokens", "max_tokens"):
        if isinstance(params.get(name), int):
            return int(params[name])
    return None


def find(model: str, stated: str | None, *, own: bool = False) -> Price | None:
    """The price of a model: as stated (`INPUT,OUTPUT` in dollars a million tokens) or as listed; None is unknown.

    What an endpoint of one's `own` machine costs is in no list.
    """
    if stated:
        rates = _rates(stated)
        return Price(input=rates[0], output=rates[1], source="--price", dearest=rates)
    about = None if own else credentials.listed(model)
    if about is None or not {_INPUT, _OUTPUT} <= about.keys():
        return None
    return Price(
        input=about[_INPUT],
        output=about[_OUTPUT],
        source=f"the price map of litellm {version('litellm')}",
        dearest=(_highest(about, _INPUT), _highest(about, _OUTPUT, "output_cost_per_reasoning_token")),
        most=about.get("max_output_tokens"),
    )


def _highest(about: Mapping[str, Any], *names: str) -> float:
    rates = [rate for name, rate in about.items() if name.startswith(names) and isinstance(rate, int | float)]
    return float(max(rates))


def _rates(text: str) -> tuple[float, float]:
    try:
        given, told = (float(part) / 1e6 for part in text.split(","))
    except ValueError:
        given = told = -1.0
    if not (0 <= given < 1 and 0 <= told < 1):
        raise UserError(f"--price {text}: write INPUT,OUTPUT in US dollars a million tokens, as in --price 2.5,10")
    return given, told
