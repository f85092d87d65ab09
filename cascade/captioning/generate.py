"""The captions of items: looked up, read from bundles or the cache, or made by a backend and cached as they come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

from cascade.captioners import registry
from cascade.captioning import bundles
from cascade.captioning.backends import local, ray
from cascade.captioning.cache import CaptionCache
from cascade.errors import ItemError, UnknownName, UserError
from cascade.io.digests import caption_key, digest, digest_file
from cascade.io.progress import Track, silent
from cascade.types import Backend, Caption, CaptionerSpec, CaptionRecord, Execution, Failure, Item

_Results = dict[str, Caption | Failure]  # by the digest of the clip's bytes


def caption(
    items: Sequence[Item], root: Path, specs: Sequence[CaptionerSpec], execution: Execution, track: Track = silent
) -> list[CaptionRecord]:
    """Return every item's captions, in the order of items and specs; make those that are missing.

    `root` is the folder that the items' `audio` is relative to. Clips with the same bytes are captioned once. A caption
    is in the cache as soon as it is made; failures and lookups are never cached. Raises UserError where no clip can be
    read.
    """
    engines = [spec for spec in specs if registry.hears(spec.name)]
    records = _look_up_all(specs, items, root, execution)
    if engines:
        digests, clips = _hash_clips(items, root)
        if not clips:
            raise UserError(
                f"none of the {len(digests)} clips can be read under {root} (the first: {items[0].audio}); "
                "give --data the folder that audio_path is relative to, or ask without sound: --captions none"
            )
        results = _from_bundles(engines, clips, execution)
        unbundled = [spec for spec in engines if spec.slot not in results]
        if unbundled:
            results |= _from_cache_or_backend(unbundled, clips, execution, track)
        for spec in engines:
            records[spec.slot] = [_record(item, spec, digests[item.audio], results[spec.slot]) for item in items]
    return [records[spec.slot][place] for place in range(len(items)) for spec in specs]


def existing_captions(
    items: Sequence[Item], root: Path, specs: Sequence[CaptionerSpec], execution: Execution
) -> list[CaptionRecord]:
    """Return the captions that exist, in the order of items and specs; a caption that is not made yet is a failure."""
    engines = [spec for spec in specs if registry.hears(spec.name)]
    records = _look_up_all(specs, items, root, execution)
    digests, clips = _hash_clips(items, root)
    results = _from_bundles(engines, clips, execution)
    unbundled = [spec for spec in engines if spec.slot not in results]
    if unbundled and execution.cache.exists():  # opening a cache would create one
        with closing(CaptionCache(execution.cache)) as cache:
            for spec in unbundled:
                results[spec.slot] = _from_cache(spec, clips, cache)
    unmade = Failure(kind="unmade", message="the caption is not made yet")
    for spec in engines:
        captions: _Results = dict.fromkeys(clips, unmade)
        captions |= results.get(spec.slot, {})
        records[spec.slot] = [_record(item, spec, digests[item.audio], captions) for item in items]
    return [records[spec.slot][place] for place in range(len(items)) for spec in specs]


def needs_clips(specs: Sequence[CaptionerSpec]) -> bool:
    """Return whether any of the captioners reads clips; without one the clips need not be on this machine."""
    return any(registry.hears(spec.name) for spec in specs)


def _look_up_all(
    specs: Sequence[CaptionerSpec], items: Sequence[Item], root: Path, execution: Execution
) -> dict[str, list[CaptionRecord]]:
    """Return the records of every captioner that looks captions up, by slot, in the order of items."""
    records: dict[str, list[CaptionRecord]] = {}
    for spec in specs:
        if registry.hears(spec.name):
            continue
        look_up = registry.lookup(spec, execution.host)
        records[spec.slot] = []
        for item in items:
            try:
                caption = look_up(item, root / item.audio)
            except ItemError as error:
                record = CaptionRecord(item=item.id, slot=spec.slot, key="", failure=error.failure())
            else:
                # The caption was not made from a clip, so the digest of its text takes the place of the clip's.
                key = _key(spec, digest(caption.text))
                record = CaptionRecord(item=item.id, slot=spec.slot, key=key, text=caption.text, meta=caption.meta)
            records[spec.slot].append(record)
    return records


def _hash_clips(items: Sequence[Item], root: Path) -> tuple[dict[str, str | Failure], dict[str, Path]]:
    """Return each clip's digest, or why it cannot be read, by `audio`; and a path for each digest."""
    digests = {item.audio: _digest(root / item.audio) for item in items}
    clips = {digest: root / audio for audio, digest in digests.items() if isinstance(digest, str)}
    return digests, clips


def _digest(clip: Path) -> str | Failure:
    try:
        return digest_file(clip)
    except OSError as error:
        return Failure(kind="audio", message=f"{clip.name}: {error.strerror}")


def _from_bundles(
    specs: Sequence[CaptionerSpec], clips: Mapping[str, Path], execution: Execution
) -> dict[str, _Results]:
    """Return the results of the slots that bundles fill; a clip that its bundle lacks is a failure."""
    results: dict[str, _Results] = {}
    for spec in specs:
        if spec.slot in execution.bundles:
            file = execution.bundles[spec.slot]
            keys = {digest: _key(spec, digest) for digest in clips}
            captions = bundles.find_captions(file, set(keys.values()))
            missing = Failure(kind="missing", message=f"{file.name} has no {spec.slot} caption of this clip")
            results[spec.slot] = {digest: captions.get(key, missing) for digest, key in keys.items()}
    return results


def _from_cache(spec: CaptionerSpec, clips: Mapping[str, Path], cache: CaptionCache) -> _Results:
    """Return the captions that the cache has."""
    captions = {digest: cache.get(_key(spec, digest)) for digest in clips}
    return {digest: caption for digest, caption in captions.items() if caption is not None}


def _from_cache_or_backend(
    specs: Sequence[CaptionerSpec], clips: Mapping[str, Path], execution: Execution, track: Track
) -> dict[str, _Results]:
    """Return each slot's results: the captions that the cache has, and the others, made and cached now."""
    with closing(CaptionCache(execution.cache)) as cache:
        results = {spec.slot: _from_cache(spec, clips, cache) for spec in specs}
        # Every engine is checked before the first one works for hours; an engine with nothing to do needs no packages.
        for spec in specs:
            if results[spec.slot].keys() != clips.keys():
                registry.check(spec, execution.host)
        backend = find_backend(execution.backend)
        for spec in specs:
            captions = results[spec.slot]
            missing = {path: digest for digest, path in clips.items() if digest not in captions}
            with track(f"{spec.slot} by {spec.name}", len(missing)) as tick:
                if not missing:  # a backend builds the engine, which may need weights that are not here
                    continue
                for path, result in backend(spec, execution.host, list(missing)):
                    digest = missing[path]
                    if isinstance(result, Caption):
                        result = _change(path, digest) or result
                    if isinstance(result, Caption):
                        cache.put(spec, digest, result)
                    captions[digest] = result
                    tick()
    return results


def _change(path: Path, digest: str) -> Failure | None:
    """Return a failure where a clip's bytes no longer have this digest: their caption belongs under another key."""
    digest_now = _digest(path)
    if isinstance(digest_now, Failure):
        return digest_now
    if digest_now == digest:
        return None
    message = f"{path.name}: the file changed while it was captioned; the same command captions it again"
    return Failure(kind="audio", message=message)


def _record(item: Item, spec: CaptionerSpec, digest: str | Failure, results: _Results) -> CaptionRecord:
    if isinstance(digest, Failure):
        return CaptionRecord(item=item.id, slot=spec.slot, key="", failure=digest)
    result, key = results[digest], _key(spec, digest)
    if isinstance(result, Failure):
        return CaptionRecord(item=item.id, slot=spec.slot, key=key, failure=result)
    return CaptionRecord(item=item.id, slot=spec.slot, key=key, text=result.text, meta=result.meta)


def _key(spec: CaptionerSpec, digest: str) -> str:
    return caption_key(spec.slot, spec.name, spec.version, spec.params, digest)


_BACKENDS = {"local": local, "ray": ray}


def find_backend(name: str) -> Backend:
    """Return the backend of that name. Raises UnknownName."""
    if name not in _BACKENDS:
        raise UnknownName("backend", name, _BACKENDS, "give it as --backend NAME")
    backend: Backend = _BACKENDS[name].run
    return backend
