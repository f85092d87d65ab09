"""A captioner that gives every clip the same text, for tests and dry runs. It needs no package and reads no clip."""

from __future__ import annotations

from dataclasses import dataclass

from cascade.types import Caption, Captioner, Host

VERSION = "1"
SLOT = "any"
NEEDS: dict[str, str] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    """`text`: the caption of every clip."""

    text: str = "A fixed caption."


def make(params: Params, host: Host) -> Captioner:
    """Return the captioner; `host` changes nothing."""
    return lambda clips: [Caption(text=params.text) for _ in clips]
