"""Secrets kept out of everything that is written or shown: a provider's error may echo the key that it was sent."""

from __future__ import annotations

import os
import re

_HIDDEN = "[hidden]"
_NAME = re.compile(r"(?:KEY|TOKEN|SECRET|PASSWORD|CREDENTIALS?)$", re.IGNORECASE)
_SHAPE = re.compile(
    r"(?i:bearer|basic)\s+[\w.~+/=-]{8,}|\b(?:sk|pk|rk|hf|gsk|xai|AIza)[-_]?[\w*-]{12,}|(?<=://)[^\s/@]+(?=@)"
)
_SHORTEST = 8  # a shorter value would hide ordinary words


def redact(text: str, *secrets: str, shapes: bool = True) -> str:
    """The text without the keys in this process's environment, those given, and, with `shapes`, what looks like one."""
    known = {value for name, value in os.environ.items() if _NAME.search(name)} | set(secrets)
    for secret in sorted(known, key=len, reverse=True):
        if len(secret) >= _SHORTEST:
            text = text.replace(secret, _HIDDEN)
    return _SHAPE.sub(_HIDDEN, text) if shapes else text


def one_line(text: str, longest: int = 300) -> str:
    """The text on one line, cut at `longest` characters."""
    line = " ".join(text.split())
    return line if len(line) <= longest else line[: longest - 1] + "…"
