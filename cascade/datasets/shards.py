"""Shards: disjoint parts of a dataset's items, so that the tasks of a job array can share them out.

An item's shard follows from the digest of its clip's path: questions about one clip stay together, and a dataset that
grows leaves every item in its shard.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from cascade.errors import UserError
from cascade.io.digests import digest
from cascade.types import Item, Shard

_FORM = re.compile(r"(\d{1,6})/(\d{1,6})")


def split(text: str, items: Sequence[Item]) -> tuple[Shard, tuple[Item, ...]]:
    """Return the shard `i/n` (i from 1 to n) and its items in their order. Raises UserError for any other text."""
    number = count = 0
    if match := _FORM.fullmatch(text):
        number, count = int(match[1]), int(match[2])
    if not 1 <= number <= count:
        raise UserError(f"--shard {text}: write i/n with i from 1 to n, as in --shard 1/4")
    chosen: list[Item] = []
    steps: list[int] = []
    last = 0
    for place, item in enumerate(items):
        if int(digest(item.audio).removeprefix("b2:"), 16) % count == number - 1:
            chosen.append(item)
            steps.append(place - last)
            last = place
    return Shard(shard=f"{number}/{count}", places=" ".join(map(str, steps)), total=len(items)), tuple(chosen)
