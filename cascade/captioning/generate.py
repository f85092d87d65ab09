"""What was heard: which captions are missing, made by a backend, kept in the cache as they come."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path

from cascade.captioners.registry import Engine
from cascade.captioning import bundles
from cascade.captioning.backends import local, ray
from cascade.captioning.cache import CaptionCache
from cascade.errors import ItemError, UnknownName, UserError
from cascade.io.digests import caption_key, digest, digest_file
from cascade.io.progress import Track, silent
from cascade.types import Backend, Caption, CaptionerSpec, CaptionRecord, Execution, Failure, Item

_Result = Caption | Failure


def caption(
    items: Sequence[Item], root: Path, specs: Sequence[CaptionerSpec], execution: Execution, track: Track = silent
) -> list[CaptionRecord]:
    """Every item's captions, in the order of items and specs; clips with the same bytes are heard once.

    `root` is the folder that the items' `audio` is relative to. A caption is in the cache as soon as it is made;
    failures and what is looked up are never cached. Raises UserError where not one of the clips is there.
    """
    listening = [spec for spec in specs if Engine(spec.name).makes_captions]
    heard = {spec.slot: _look_up(spec, items, root, execution) for spec in specs if spec not in listening}
    if listening:
        heard.update(_listen(listening, items, root, execution, track))
    return [heard[spec.slot][place] for place in range(len(items)) for spec in specs]


def existing_captions(
    items: Sequence[Item], root: Path, specs: Sequence[CaptionerSpec], execution: Execution
) -> list[CaptionRecord]:
    """The captions that are there, in the order of items and specs; nothing is heard: the others are failures."""
    unmade = Failure(kind="unmade", message="the caption is not made yet")
    digests = {item.audio: _digest(root / item.audio) for item in items}
    clips = {digest: root / audio for audio, digest in digests.items() if isinstance(digest, str)}
    listening = [spec for spec in specs if Engine(spec.name).makes_captions]
    heard = {spec.slot: _look_up(spec, items, root, execution) for spec in specs if spec not in listening}
    results = _bundled(listening, clips, execution)
    making = [spec for spec in listening if spec.slot not in results]
    if making and execution.cache.exists():  # looking into a cache makes none
        with closing(CaptionCache(execution.cache)) as cache:
            results |= {spec.slot: _kept(spec, clips, cache) for spec in making}
    for spec in listening:
        found: dict[str, _Result] = {**dict.fromkeys(clips, unmade), **results.get(spec.slot, {})}
        heard[spec.slot] = [_heard(item, spec, digests[item.audio], found) for item in items]
    return [heard[spec.slot][place] for place in range(len(items)) for spec in specs]


def needs_clips(specs: Sequence[CaptionerSpec]) -> bool:
    """Whether any of the engines hears; without one the clips need not be here."""
    return any(Engine(spec.name).makes_captions for spec in specs)


def _look_up(spec: CaptionerSpec, items: Sequence[Item], root: Path, execution: Execution) -> list[CaptionRecord]:
    look_up = Engine(spec.name).lookup(spec, execution.host)

    def heard(item: Item) -> CaptionRecord:
        try:
            found = look_up(item, root / item.audio)
        except ItemError as error:
            return CaptionRecord(item=item.id, slot=spec.slot, key="", failure=error.failure())
        # No clip made it, so the digest of the text stands where a clip's would.
        return CaptionRecord(
            item=item.id, slot=spec.slot, key=_key(spec, digest(found.text)), text=found.text, meta=found.meta
        )

    return [heard(item) for item in items]


def _listen(
    specs: Sequence[CaptionerSpec], items: Sequence[Item], root: Path, execution: Execution, track: Track
) -> dict[str, list[CaptionRecord]]:
    """What each engine heard of every item, by slot."""
    digests = _digests(items, root)
    clips = {digest: root / audio for audio, digest in digests.items() if isinstance(digest, str)}
    results = _bundled(specs, clips, execution)
    if making := [spec for spec in specs if spec.slot not in results]:
        results |= _made(making, clips, execution, track)
    return {
        spec.slot: [_heard(item, spec, digests[item.audio], results[spec.slot]) for item in items] for spec in specs
    }


def _bundled(
    specs: Sequence[CaptionerSpec], clips: Mapping[str, Path], execution: Execution
) -> dict[str, dict[str, _Result]]:
    """What bundles have for the slots they fill, by the clips' digests; the rest are failures: no engine is asked."""
    results: dict[str, dict[str, _Result]] = {}
    for spec in [spec for spec in specs if spec.slot in execution.bundles]:
        file = execution.bundles[spec.slot]
        keys = {_key(spec, digest): digest for digest in clips}
        none = Failure(kind="missing", message=f"{file.name} has no {spec.slot} caption of this clip")
        found = bundles.find_captions(file, keys)
        results[spec.slot] = {digest: found.get(key, none) for key, digest in keys.items()}
    return results


def _made(
    specs: Sequence[CaptionerSpec], clips: Mapping[str, Path], execution: Execution, track: Track
) -> dict[str, dict[str, _Result]]:
    """Each slot's captions by the clips' digests: from the cache, the others made and kept."""
    with closing(CaptionCache(execution.cache)) as cache:
        results = {spec.slot: _kept(spec, clips, cache) for spec in specs}
        # Before the first engine works for hours, whatever the others lack; a full cache needs no packages at all.
        for spec in specs:
            if results[spec.slot].keys() != clips.keys():
                Engine(spec.name).check(spec, execution.host)
        for spec in specs:
            missing = {path: digest for digest, path in clips.items() if digest not in results[spec.slot]}
            results[spec.slot].update(_make(spec, missing, cache, execution, track))
    return results


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


def _kept(spec: CaptionerSpec, clips: Mapping[str, Path], cache: CaptionCache) -> dict[str, _Result]:
    """The captions that the cache has, by the clips' digests."""
    found = {digest: cache.get(_key(spec, digest)) for digest in clips}
    return {digest: caption for digest, caption in found.items() if caption is not None}


def _make(
    spec: CaptionerSpec, missing: Mapping[Path, str], cache: CaptionCache, execution: Execution, track: Track
) -> dict[str, _Result]:
    """The other clips' captions, each in the cache as soon as it is made."""
    results: dict[str, _Result] = {}
    with track(f"{spec.slot} by {spec.name}", len(missing)) as tick:
        # Without a missing clip no engine is built: a full cache needs neither weights nor packages.
        backend = find_backend(execution.backend)
        for path, result in backend(spec, execution.host, list(missing)) if missing else ():
            digest = missing[path]
            if isinstance(result, Caption):
                result = _of_the_clip(path, digest, result)
            if isinstance(result, Caption):
                cache.put(spec, digest, result)
            results[digest] = result
            tick()
    return results


def _of_the_clip(path: Path, digest: str, caption: Caption) -> _Result:
    """The caption, if its file still is what its key will say: kept for ever under another clip's, nobody would see."""
    now = _digest(path)
    if isinstance(now, Failure):
        return now
    if now == digest:
        return caption
    return Failure(kind="audio", message=f"{path.name}: the file changed while it was heard; the same command hears it")


def _heard(item: Item, spec: CaptionerSpec, digest: str | Failure, results: Mapping[str, _Result]) -> CaptionRecord:
    if isinstance(digest, Failure):
        return CaptionRecord(item=item.id, slot=spec.slot, key="", failure=digest)
    result, key = results[digest], _key(spec, digest)
    if isinstance(result, Failure):
        return CaptionRecord(item=item.id, slot=spec.slot, key=key, failure=result)
    return CaptionRecord(item=item.id, slot=spec.slot, key=key, text=result.text, meta=result.meta)


def _key(spec: CaptionerSpec, digest: str) -> str:
    return caption_key(spec.slot, spec.name, spec.version, spec.params, digest)


_BACKENDS: Mapping[str, Callable[[], Backend]] = {"local": lambda: local.run, "ray": lambda: ray.run}


def find_backend(name: str) -> Backend:
    """The backend of that name. Raises UnknownName."""
    if name not in _BACKENDS:
        raise UnknownName("backend", name, _BACKENDS, "give it as --backend NAME")
    return _BACKENDS[name]()
