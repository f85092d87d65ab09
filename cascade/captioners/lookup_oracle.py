"""The benchmark's own annotation of a clip (MMAR's `cue`) as its caption: the upper bound of perception.

It is no captioner's result and never a default. A score with it is what a cascade reaches when perception is perfect,
and every run that used it says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cascade.errors import NOT_APPLICABLE, ItemError, UserError
from cascade.types import Caption, CaptionerSpec, Host, Item, Lookup

VERSION = "1"
SLOT = "cue"
NEEDS: dict[str, str] = {}
_FORBIDDEN = ("thinking", "rubric")  # they state the answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    """`field`: the annotation of the item that is its caption; `cue` is MMAR's list of what the answer depends on."""

    field: str = "cue"


def lookup(spec: CaptionerSpec, host: Host) -> Lookup:
    """Return a function from an item and its clip to the annotation. It raises ItemError for an item without one.

    Raises UserError for a field that states the answer.
    """
    field = spec.params["field"]
    if field in _FORBIDDEN:
        raise UserError(f"--caption-param {spec.slot}.field={field}: {field} tells the answer; use field=cue")

    def look_up(item: Item, clip: Path) -> Caption:
        annotation = item.reference.get(field)
        if annotation in (None, "", [], ()):
            problem = f"{item.id}: the dataset has no {field!r} for it (MMAR has it since February 2026)"
            raise ItemError(NOT_APPLICABLE, problem)
        if not isinstance(annotation, list | tuple):
            annotation = [annotation]
        return Caption(text="; ".join(map(str, annotation)))

    return look_up
