"""Shards: a dataset's items in parts of their own, so that a job array can share them out.

An item's part follows from the digest of its clip's path: questions about one clip stay together, and a dataset that
grows leaves every item where it was.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from cascade.errors import UserError
from cascade.io.digests import digest
from cascade.types import Item, Shard

_FORM = re.compile(r"(\d{1,6})/(\d{1,6})")


def split(text: str, items: Sequence[Item]) -> tuple[Shard, tuple[Item, ...]]:
    """The items of the shard `i/n` (i from 1 to n), in their order. Raises UserError for a text that names none."""
    form = _FORM.fullmatch(text)
    number, of = (int(form[1]), int(form[2])) if form else (0, 0)
    if not 1 <= number <= of:
        raise UserError(f"--shard {text}: write i/n with i from 1 to n, as in --shard 1/4")
    chosen = [(place, item) for place, item in enumerate(items) if _home(item, of) == number - 1]
    places = [place for place, _ in chosen]
    steps = [after - before for before, after in zip([0, *places], places, strict=False)]
    part = Shard(shard=f"{number}/{of}", places=" ".join(map(str, steps)), total=len(items))
    return part, tuple(item for _, item in chosen)


def _home(item: Item, of: int) -> int:
    return int(digest(item.audio).removeprefix("b2:"), 16) % of
