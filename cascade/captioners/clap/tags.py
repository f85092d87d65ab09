"""Zero-shot tags by CLAP for `clap-sound` and `clap-music`: which phrases of a vocabulary a clip is most like.

A vocabulary is a text file: `[group] a sentence with {} for the phrase`, then a phrase a line; `#` begins a comment.
Within a group the phrases' likenesses to a window become shares by softmax; a clip's shares are the mean of its
windows'.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from cascade.captioners.clap import model
from cascade.captioners.clap.windows import ClipResult, run_windows
from cascade.errors import UserError
from cascade.io import audio
from cascade.types import Caption, Captioner, CaptionInput, Failure, Host

# From an engine's parameters, the clip's tags and the windows' records, the text of the caption.
Describe = Callable[[Any, Mapping[str, Any], Sequence[Mapping[str, Any]]], str]
_GROUP = re.compile(r"\[([^\[\]]+)\]\s*(.*)\Z")


@dataclass(frozen=True, slots=True)
class Group:
    """Phrases of which one is to be told from the others, and the sentence that CLAP reads each in."""

    name: str
    sentence: str
    phrases: tuple[str, ...]


def read_vocabulary(path: Path) -> list[Group]:
    """Return a vocabulary's groups. Raises UserError, with file and line, for a file that is no vocabulary."""
    groups: dict[str, tuple[str, list[str]]] = {}
    phrases: list[str] | None = None  # of the group that the line belongs to
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as a vocabulary ({error})") from None
    for number, line in enumerate(map(str.strip, lines), 1):
        if not line or line.startswith("#"):
            continue
        if heading := _GROUP.match(line):
            name, sentence = heading[1].strip(), heading[2] or "{}"
            if name in groups or sentence.count("{}") != 1:
                raise UserError(f"{path}:{number}: a group stands once, and its wording has {{}} once, not {line!r}")
            phrases = []
            groups[name] = (sentence, phrases)
        elif phrases is None:
            raise UserError(f"{path}:{number}: {line!r} stands before the first [group]")
        elif line in phrases:
            raise UserError(f"{path}:{number}: {line!r} stands twice")
        else:
            phrases.append(line)
    if not groups or any(len(phrases) < 2 for _, phrases in groups.values()):
        raise UserError(f"{path}: a vocabulary has [groups] of two phrases or more")
    return [Group(name, sentence, tuple(phrases)) for name, (sentence, phrases) in groups.items()]


class Tagger:
    """A vocabulary's groups, embedded, and the model that embeds windows."""

    def __init__(self, clap: model.Clap, groups: Sequence[Group], folder: Path | None) -> None:
        self.clap = clap
        self.groups = groups
        texts: list[str] = []
        for group in groups:
            texts.extend(group.sentence.replace("{}", phrase) for phrase in group.phrases)
        self._texts = clap.embed_texts(texts, folder)

    def shares(self, samples: audio.Samples) -> list[list[audio.Samples]]:
        """Return each window's shares, one array a group in the vocabulary's order; a group's sum to one."""
        ends = np.cumsum([len(group.phrases) for group in self.groups])[:-1]
        return [_shares(np.split(row, ends)) for row in self.clap.likeness(samples, self._texts)]

    def top(self, shares: Sequence[audio.Samples], count: int) -> dict[str, list[list[Any]]]:
        """Return the `count` likeliest phrases of each group with their shares, the likeliest first."""
        tags: dict[str, list[list[Any]]] = {}
        for group, values in zip(self.groups, shares, strict=True):
            order = np.argsort(-values, kind="stable")[:count]
            tags[group.name] = [[group.phrases[at], round(float(values[at]), 4)] for at in order]
        return tags


def _shares(groups: Sequence[audio.Samples]) -> list[audio.Samples]:
    """Return the softmax of each group's likenesses."""
    shares = []
    for likeness in groups:
        raised = np.exp((likeness - likeness.max()).astype(np.float64))
        shares.append(np.asarray(raised / raised.sum()))
    return shares


def make_tagger(
    params: Any,
    host: Host,
    slot: str,
    shipped: Path,
    describe: Describe,
    group_labels: Callable[[CaptionInput], list[Group]] | None = None,
) -> Captioner:
    """Return the captioner of a tagging engine; `group_labels` gives the phrases of an item in the vocabulary's place.

    Raises UserError where the weights or the vocabulary cannot be had, or a parameter cannot be.
    """
    for value, is_wrong in (
        (f"compute={params.compute}", params.compute != "float32"),
        (f"top={params.top}", params.top < 1),
        (f"floor={params.floor}", not 0 <= params.floor <= 1),
    ):
        if is_wrong:
            raise UserError(f"{slot}.{value}: compute is float32, top is 1 or more, floor is 0 to 1")
    groups = read_vocabulary(host.files.get(params.vocabulary, shipped))
    clap = model.Clap("2023", params.weights, params.revision, host, slot)

    def caption_with(tagger: Tagger, clips: Sequence[Path]) -> list[Caption | Failure]:
        results = run_windows(clips, tagger.shares, fixed=clap.fixed)
        return [result.failure or _caption(tagger, result, params, describe) for result in results]

    if group_labels is None:
        return partial(caption_with, Tagger(clap, groups, host.scratch))

    def caption(inputs: Sequence[CaptionInput]) -> list[Caption | Failure]:
        captions: list[Caption | Failure] = []
        for given in inputs:
            # The few labels of an item are embedded with its clip, and not kept: they would be a file an item.
            captions += caption_with(Tagger(clap, group_labels(given), None), [given.clip or Path()])
        return captions

    return caption


def _caption(tagger: Tagger, result: ClipResult, params: Any, describe: Describe) -> Caption:
    """Return a clip's caption; the `top` tags a group stand in `meta`, of the clip and of each window."""
    windows = [
        {"start": round(start, 3), "end": round(end, 3), "tags": tagger.top(shares, params.top)}
        for start, end, shares in result.windows
    ]
    by_group = zip(*[shares for _, _, shares in result.windows], strict=True)
    means = [sum(shares) / len(windows) for shares in by_group]
    tags = tagger.top(means, params.top)
    meta = {
        "duration_s": windows[-1]["end"],
        "tags": tags,
        "windows": windows,
        "seconds": round(result.seconds, 3),
        "compute": params.compute,
        **tagger.clap.about,
        **result.decoding,
    }
    return Caption(text=describe(params, tags, windows), meta=meta)


def list_tags(tags: Sequence[Sequence[Any]], floor: float) -> str:
    """Return tags in words, with shares: the likeliest always, the others where they reach the floor."""
    listed = [(name, share) for place, (name, share) in enumerate(tags) if place == 0 or share >= floor]
    return ", ".join(f"{name} ({share:.2f})" for name, share in listed)
