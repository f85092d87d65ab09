"""What the benchmark itself says is to be heard (MMAR's `cue`): the upper bound of perception, never a default.

A score with it tells what a cascade could reach if it heard all that matters; it is no result of a captioner, and
every run that used it says so by name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cascade.errors import CaptionMissing, UserError
from cascade.types import Caption, CaptionerSpec, Host, Item

VERSION = "1"
SLOT = "cue"
NEEDS: dict[str, str] = {}
_NEVER = ("thinking", "rubric")  # they hold the answer, not what is heard


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    """`field`: which annotation of the item is told; `cue` is MMAR's list of what the answer hangs on."""

    field: str = "cue"


def lookup(spec: CaptionerSpec, host: Host) -> Callable[[Item, Path], Caption]:
    """A function from an item and its clip to the annotation; it raises CaptionMissing where an item has none.

    Raises UserError for a field that tells the answer.
    """
    field = spec.params["field"]
    if field in _NEVER:
        raise UserError(f"--caption-param {spec.slot}.field={field}: {field} tells the answer; use field=cue")

    def look_up(item: Item, clip: Path) -> Caption:
        said = item.reference.get(field)
        if said in (None, "", [], ()):
            raise CaptionMissing(f"{item.id}: the dataset has no {field!r} for it (MMAR has it since February 2026)")
        return Caption(text="; ".join(map(str, said)) if isinstance(said, list | tuple) else str(said))

    return look_up
