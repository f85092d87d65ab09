"""Whisper's tokens as segments with times."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

PRECISION = 0.02  # seconds a timestamp token


def tokenizer(model: Any) -> Any:
    """The tokenizer that goes with a model."""
    from whisper.tokenizer import get_tokenizer

    return get_tokenizer(model.is_multilingual, num_languages=model.num_languages)


def spans(tokens: Sequence[int], words: Any) -> tuple[list[tuple[float, float, str]], float | None]:
    """(start, end, text) of each segment in seconds of the window, and up to where it is finished; None is all of it.

    `words` is the tokenizer. Two timestamps in a row part segments. After the last pair comes an unfinished segment,
    unless a single timestamp closes it: then there is no speech after that.
    """
    first = words.timestamp_begin
    cuts = [at + 1 for at, (one, two) in enumerate(pairwise(tokens)) if one >= first and two >= first]
    parts = [tokens[begin:end] for begin, end in pairwise([0, *cuts, len(tokens)])]
    found = [_span(part, first, words) for part in parts if part]
    closed = len(tokens) > 1 and tokens[-1] >= first and tokens[-2] < first
    return found, None if closed or not cuts else (tokens[cuts[-1] - 1] - first) * PRECISION


def _span(part: Sequence[int], first: int, words: Any) -> tuple[float, float, str]:
    times = [(token - first) * PRECISION for token in part if token >= first]
    text = words.decode([token for token in part if token < words.eot])
    start = times[0] if part[0] >= first else 0.0
    return start, times[-1] if part[-1] >= first and len(times) > 1 else 30.0, text
