"""A captioner that says the same of every clip, for tests and dry runs. It needs nothing and hears nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cascade.types import Caption, Captioner, Host

VERSION = "1"
SLOT = "any"
NEEDS: dict[str, str] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    """What it says."""

    text: str = "A fixed caption."


def make(params: Params, host: Host) -> Captioner:
    """The captioner; `host` changes nothing."""

    def caption(clips: Sequence[Path]) -> list[Caption]:
        return [Caption(text=params.text) for _ in clips]

    return caption
