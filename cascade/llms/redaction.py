"""Keep secrets out of everything that is written or shown: a provider's error may repeat the key that it was sent."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from typing import Any

_HIDDEN = "[hidden]"
_NAME = re.compile(r"(?:KEY|TOKEN|SECRET|PASSWORD|CREDENTIALS?)$", re.IGNORECASE)
_SHAPE = re.compile(
    r"(?i:bearer|basic)\s+[\w.~+/=-]{8,}|\b(?:sk|pk|rk|hf|gsk|xai|AIza)[-_]?[\w*-]{12,}|(?<=://)[^\s/@]+(?=@)"
)
_SHORTEST = 8  # hiding a shorter value would hide ordinary words


def is_secret(name: str) -> bool:
    """Return whether a variable or parameter of that name holds a key; `prompt_cache_key` and its like do not."""
    return bool(_NAME.search(name)) and not re.search(r"cache_?key$", name, re.IGNORECASE)


def holds_secret(value: Any) -> bool:
    """Return whether a parameter's value has, at any depth, a part whose name says that it is a key."""
    if isinstance(value, Mapping):
        return any(is_secret(str(name)) or holds_secret(part) for name, part in value.items())
    return isinstance(value, list | tuple) and any(map(holds_secret, value))


def redact(text: str) -> str:
    """Return the text without the keys in this process's environment, and without anything shaped like a key."""
    return _SHAPE.sub(_HIDDEN, str(secret_remover()(text)))


def secret_remover() -> Callable[[Any], Any]:
    """Return a function that removes the keys known now from a text, and returns anything else as it is."""
    values = {value for name, value in os.environ.items() if _NAME.search(name) and len(value) >= _SHORTEST}
    known = sorted(values, key=len, reverse=True)

    def remove(text: Any) -> Any:
        if isinstance(text, str):
            for secret in known:
                text = text.replace(secret, _HIDDEN)
        return text

    return remove


def one_line(text: str, longest: int = 300) -> str:
    """Return the text on one line, cut between words at `longest` characters."""
    line = " ".join(text.split())
    if len(line) <= longest:
        return line
    kept, _, word = line[: longest - 1].rpartition(" ")
    return f"{kept} …" if kept else f"{word}…"
