"""What was heard: which captions are missing, made by a backend, kept in the cache as they come."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path

from cascade import backends
from cascade.cache import CaptionCache
from cascade.errors import UserError
from cascade.hashing import caption_key, digest_file
from cascade.progress import Track, silent
from cascade.runs import Heard
from cascade.types import Caption, CaptionerSpec, Execution, Failure, Item

_Result = Caption | Failure


def caption(
    items: Sequence[Item], root: Path, specs: Sequence[CaptionerSpec], execution: Execution, track: Track = silent
) -> list[Heard]:
    """Every item's captions, in the order of items and specs; clips with the same bytes are heard once.

    `root` is the folder that the items' `audio` is relative to. A caption is in the cache as soon as it is made;
    failures are never cached. Raises UserError where not one of the clips is there.
    """
    if not specs:
        return []
    digests = _digests(items, root)
    with closing(CaptionCache(execution.cache)) as cache:
        heard = {spec.slot: _hear(spec, digests, root, cache, execution, track) for spec in specs}
    return [_heard(item, spec, digests[item.audio], heard[spec.slot]) for item in items for spec in specs]


def _digests(items: Sequence[Item], root: Path) -> dict[str, str | Failure]:
    """Each clip's digest, or why it cannot be read."""
    digests = {item.audio: _digest(root / item.audio) for item in items}
    if not any(isinstance(digest, str) for digest in digests.values()):
        raise UserError(
            f"none of the {len(digests)} clips can be read under {root} (the first: {items[0].audio}); "
            "give --data the folder that audio_path is relative to, or ask without sound: --captions none"
        )
    return digests


def _digest(clip: Path) -> str | Failure:
    try:
        return digest_file(clip)
    except OSError as error:
        return Failure(kind="audio", message=f"{clip.name}: {error.strerror}")


def _hear(
    spec: CaptionerSpec,
    digests: Mapping[str, str | Failure],
    root: Path,
    cache: CaptionCache,
    execution: Execution,
    track: Track,
) -> dict[str, _Result]:
    """The results of one engine by the clips' digests."""
    clips = {digest: root / audio for audio, digest in digests.items() if isinstance(digest, str)}
    kept = {digest: cache.get(_key(spec, digest)) for digest in clips}
    results: dict[str, _Result] = {digest: found for digest, found in kept.items() if found is not None}
    missing = {path: digest for digest, path in clips.items() if digest not in results}
    with track(f"{spec.slot} by {spec.name}", len(missing)) as tick:
        for path, result in _made(spec, list(missing), execution):
            if isinstance(result, Caption):
                cache.put(spec, missing[path], result)
            results[missing[path]] = result
            tick()
    return results


def _made(spec: CaptionerSpec, clips: Sequence[Path], execution: Execution) -> Iterator[tuple[Path, _Result]]:
    # Without a missing clip no engine is built: a full cache needs neither weights nor packages.
    return backends.find(execution.backend)(spec, execution.host, clips) if clips else iter(())


def _heard(item: Item, spec: CaptionerSpec, digest: str | Failure, results: Mapping[str, _Result]) -> Heard:
    if isinstance(digest, Failure):
        return Heard(item=item.id, slot=spec.slot, key="", failure=digest)
    result, key = results[digest], _key(spec, digest)
    if isinstance(result, Failure):
        return Heard(item=item.id, slot=spec.slot, key=key, failure=result)
    return Heard(item=item.id, slot=spec.slot, key=key, text=result.text, meta=result.meta)


def _key(spec: CaptionerSpec, digest: str) -> str:
    return caption_key(spec.slot, spec.name, spec.version, spec.params, digest)
