"""Zero-shot tags by CLAP: which phrases of a vocabulary a clip is most like, for `clap-sound` and `clap-music`.

A vocabulary is a text file: `[group] how a phrase is said, with {} in its place`, then a phrase a line; `#` begins a
comment. Within a group the phrases' likenesses to a window become shares by softmax; a clip's shares are the mean of
its windows'.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cascade.captioners.clap import model
from cascade.captioners.clap.windows import WindowResult, caption_windows
from cascade.errors import UserError
from cascade.types import Caption, Captioner, Failure, Host

if TYPE_CHECKING:
    from cascade.io.audio import Samples

Worded = Callable[[Any, Mapping[str, Any], Sequence[Mapping[str, Any]]], str]
_GROUP = re.compile(r"\[([^\[\]]+)\]\s*(.*)\Z")


@dataclass(frozen=True, slots=True)
class Group:
    """Phrases of which one is to be told from the others, and how one is said."""

    name: str
    template: str
    phrases: tuple[str, ...]


def read(path: Path) -> list[Group]:
    """A vocabulary's groups. Raises UserError, with file and line, for what is none."""
    groups: dict[str, tuple[str, list[str]]] = {}
    current: list[str] | None = None
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as a vocabulary ({error})") from None
    for number, line in enumerate(map(str.strip, lines), 1):
        if not line or line.startswith("#"):
            continue
        if heading := _GROUP.match(line):
            name, template = heading[1].strip(), heading[2] or "{}"
            if name in groups or template.count("{}") != 1:
                raise UserError(f"{path}:{number}: a group stands once, and its wording has {{}} once, not {line!r}")
            current = groups.setdefault(name, (template, []))[1]
        elif current is None or line in current:
            why = "stands twice" if current else "stands before the first [group]"
            raise UserError(f"{path}:{number}: {line!r} {why}")
        else:
            current.append(line)
    if not groups or any(len(phrases) < 2 for _, phrases in groups.values()):
        raise UserError(f"{path}: a vocabulary has [groups] of two phrases or more")
    return [Group(name, template, tuple(phrases)) for name, (template, phrases) in groups.items()]


class Tagger:
    """A vocabulary's groups, embedded, and the model that hears."""

    def __init__(self, clap: model.Clap, groups: Sequence[Group], scratch: Path | None) -> None:
        self.clap = clap
        self.groups = groups
        texts = [group.template.replace("{}", phrase) for group in groups for phrase in group.phrases]
        self._texts = clap.embedded(texts, scratch)

    def shares(self, samples: Samples) -> list[list[Samples]]:
        """Each window's shares, a group after the other in the vocabulary's order; they sum to one a group."""
        ends = np.cumsum([len(group.phrases) for group in self.groups])[:-1]
        return [[_softmax(part) for part in np.split(row, ends)] for row in self.clap.likeness(samples, self._texts)]


def _softmax(values: Samples) -> Samples:
    raised = np.exp((values - values.max()).astype(np.float64))
    return np.asarray(raised / raised.sum())


def maker(params: Any, host: Host, slot: str, shipped: Path, worded: Worded) -> Captioner:
    """The tagger of an engine, its text `worded(params, tags of the clip, windows)`.

    Raises UserError where the weights or the vocabulary cannot be had, or a parameter cannot be.
    """
    check(params.compute, params.top, params.floor, slot)
    groups = read(host.files.get(params.vocabulary, shipped))
    clap = model.Clap("2023", params.weights, params.revision, host, slot)
    tagger = Tagger(clap, groups, host.scratch)

    def caption(clips: Sequence[Path]) -> list[Caption | Failure]:
        return [
            one.failure or _caption(tagger, one, params, worded)
            for one in caption_windows(clips, tagger.shares, fixed=clap.fixed)
        ]

    return caption


def _caption(tagger: Tagger, heard: WindowResult, params: Any, worded: Worded) -> Caption:
    """A clip's caption; the `top` tags a group and window stand in `meta`."""
    windows = [
        {"start": round(start, 3), "end": round(end, 3), "tags": tags(tagger.groups, shares, params.top)}
        for start, end, shares in heard.windows
    ]
    means = [sum(parts) / len(windows) for parts in zip(*(shares for _, _, shares in heard.windows), strict=True)]
    whole = tags(tagger.groups, means, params.top)
    meta = {
        "duration_s": windows[-1]["end"],
        "tags": whole,
        "windows": windows,
        "seconds": round(heard.seconds, 3),
        "compute": params.compute,
        **tagger.clap.about,
    }
    return Caption(text=worded(params, whole, windows), meta=meta)


def tags(groups: Sequence[Group], shares: Sequence[Samples], top: int) -> dict[str, list[list[Any]]]:
    """The `top` phrases of each group with their shares, the likeliest first."""
    return {group.name: _likeliest(group.phrases, share, top) for group, share in zip(groups, shares, strict=True)}


def _likeliest(phrases: Sequence[str], shares: Samples, top: int) -> list[list[Any]]:
    order = np.argsort(-shares, kind="stable")[:top]
    return [[phrases[at], round(float(shares[at]), 4)] for at in order]


def listed(found: Sequence[Sequence[Any]], floor: float) -> str:
    """Tags in words, with shares: the likeliest always, the others where they reach the floor."""
    kept = [(name, share) for place, (name, share) in enumerate(found) if not place or share >= floor]
    return ", ".join(f"{name} ({share:.2f})" for name, share in kept)


def check(compute: str, top: int, floor: float, slot: str) -> None:
    """Raise UserError for parameters that no tagging can have."""
    wrong: Mapping[str, bool] = {
        f"compute={compute}": compute != "float32",
        f"top={top}": top < 1,
        f"floor={floor}": not 0 <= floor <= 1,
    }
    for value in [value for value, is_wrong in wrong.items() if is_wrong]:
        raise UserError(f"{slot}.{value}: compute is float32, top is 1 or more, floor is 0 to 1")
