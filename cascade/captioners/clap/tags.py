"""Zero-shot tags by CLAP for `clap-sound` and `clap-music`: which phrases of a vocabulary a clip is most like.

A vocabulary is a text file: `[group] a sentence with {} for the phrase`, then a phrase a line; `#` begins a comment.
Within a group the phrases' likenesses to a window become shares by softmax; a clip's shares are the mean of its
windows'.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cascade.captioners.clap import model
from cascade.captioners.clap.windows import Results, caption_windows
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
        import numpy as np
        import torch

        clap = self.clap
        with torch.no_grad():
            embeddings = torch.nn.functional.normalize(clap.embed_audio(samples), dim=-1)
            scaled = clap.model.logit_scale.exp() * embeddings @ torch.from_numpy(self._texts).to(clap.device).T
        ends = np.cumsum([len(group.phrases) for group in self.groups])[:-1]
        windows = []
        for row in scaled.float().cpu().numpy():
            powers = [np.exp((likeness - likeness.max()).astype(np.float64)) for likeness in np.split(row, ends)]
            windows.append([power / power.sum() for power in powers])
        return windows

    def top(self, shares: Sequence[audio.Samples], count: int) -> dict[str, list[list[Any]]]:
        """Return the `count` likeliest phrases of each group with their shares, the likeliest first."""
        tags: dict[str, list[list[Any]]] = {}
        for group, values in zip(self.groups, shares, strict=True):
            order = (-values).argsort(kind="stable")[:count]
            tags[group.name] = [[group.phrases[at], round(float(values[at]), 4)] for at in order]
        return tags


def make_tagger(
    params: Any,
    host: Host,
    slot: str,
    shipped: Path,
    describe: Describe,
    group_labels: Callable[[CaptionInput], list[Group]] | None = None,
) -> Captioner:
    """Return the captioner of a tagging engine; `group_labels` gives the phrases of an item in the vocabulary's place.

    `meta` has the `top` tags of each group, for the clip and for each window. Raises UserError for missing weights, an
    unusable vocabulary, or an invalid parameter.
    """
    if params.compute != "float32" or params.top < 1 or not 0 <= params.floor <= 1:
        given = f"compute={params.compute}, top={params.top} and floor={params.floor:g}"
        raise UserError(f"{slot} has {given}: compute is float32, top is 1 or more, floor is 0 to 1")
    groups = read_vocabulary(host.files.get(params.vocabulary, shipped))
    clap = model.Clap("2023", params.weights, params.revision, host, slot)

    def tag(tagger: Tagger, clips: Sequence[Path]) -> list[Caption | Failure]:
        def summarise(results: Results) -> tuple[str, dict[str, Any]]:
            windows = [
                {"start": round(start, 3), "end": round(end, 3), "tags": tagger.top(shares, params.top)}
                for start, end, shares in results
            ]
            by_group = zip(*[shares for _, _, shares in results], strict=True)
            tags = tagger.top([sum(shares) / len(windows) for shares in by_group], params.top)
            return describe(params, tags, windows), {"tags": tags, "windows": windows}

        return caption_windows(clips, clap, tagger.shares, summarise)

    if group_labels is None:
        tagger = Tagger(clap, groups, host.scratch)
        return lambda clips: tag(tagger, clips)

    def tag_inputs(inputs: Sequence[CaptionInput]) -> list[Caption | Failure]:
        captions: list[Caption | Failure] = []
        for each in inputs:
            # The few labels of an item are embedded with its clip and not kept, to avoid one file for each item.
            captions += tag(Tagger(clap, group_labels(each), None), [each.clip or Path()])
        return captions

    return tag_inputs


def list_tags(tags: Sequence[Sequence[Any]], floor: float) -> str:
    """Return tags in words, with shares: the likeliest always, the others where they reach the floor."""
    listed = [(name, share) for place, (name, share) in enumerate(tags) if place == 0 or share >= floor]
    return ", ".join(f"{name} ({share:.2f})" for name, share in listed)
