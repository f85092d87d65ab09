"""Captioners in this process, a batch at a time. A batch that fails is tried again clip by clip."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from cascade import captioners
from cascade.errors import ItemError, UserError
from cascade.types import Caption, Captioner, CaptionerSpec, Failure, Host


def run(spec: CaptionerSpec, host: Host, clips: Sequence[Path]) -> Iterator[tuple[Path, Caption | Failure]]:
    """Each clip with its caption, or with what went wrong with it."""
    captioner = captioners.build(spec, host)
    for start in range(0, len(clips), host.batch):
        yield from _batch(captioner, clips[start : start + host.batch])


def _batch(captioner: Captioner, clips: Sequence[Path]) -> Iterator[tuple[Path, Caption | Failure]]:
    try:
        captions: Sequence[Caption | Failure] = captioner(clips)
    except UserError:
        raise
    except Exception as error:  # noqa: BLE001 - an engine may raise anything; a bad clip costs one failure, not the run
        if len(clips) > 1:
            for clip in clips:
                yield from _batch(captioner, [clip])
            return
        captions = [_failure(error, clips[0])]
    yield from zip(clips, captions, strict=True)


def _failure(error: Exception, clip: Path) -> Failure:
    if isinstance(error, ItemError):
        return error.failure()
    return Failure(kind="engine", message=f"{clip.name}: {type(error).__name__}: {error}")
