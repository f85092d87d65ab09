"""The captions of items: looked up, read from bundles or the cache, or made by a backend and cached as they come."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from cascade.captioners import speech
from cascade.captioners.registry import Engine
from cascade.captioning import bundles
from cascade.captioning.backends import local, ray
from cascade.captioning.cache import CaptionCache
from cascade.errors import ItemError, UnknownName, UserError
from cascade.io.digests import caption_key, digest, digest_file
from cascade.io.progress import Track, silent
from cascade.io.terminal import note
from cascade.llms import origins
from cascade.types import Backend, Caption, CaptionerSpec, CaptionRecord, Execution, Failure, Item

_BACKENDS = {"local": local, "ray": ray}
_Results = dict[str, dict[str, Caption | Failure]]  # by slot, then by the digest of the clip's bytes


class Captions(list[CaptionRecord]):
    """Captions in the order of items and slots."""

    def __repr__(self) -> str:
        failed = sum(caption.failure is not None for caption in self)
        return f"Captions({len(self)} captions of {len({caption.item for caption in self})} items, {failed} failed)"

    def to_rows(self) -> list[dict[str, Any]]:
        """Return one row per item and slot."""
        return [
            {
                "item": caption.item,
                "slot": caption.slot,
                "text": caption.text,
                "failure": caption.failure and caption.failure.message,
                "key": caption.key,
                "meta": caption.meta,
            }
            for caption in self
        ]


def caption(
    items: Sequence[Item], root: Path, specs: Sequence[CaptionerSpec], execution: Execution, track: Track = silent
) -> list[CaptionRecord]:
    """Return every item's captions, in the order of items and specs; make those that are missing.

    `root` is the folder that the items' `audio` is relative to. Clips with the same bytes are captioned once. A caption
    is in the cache as soon as it is made; failures and lookups are never cached. Raises UserError where no clip can be
    read.
    """
    return _collect(items, root, specs, execution, track)


def existing_captions(
    items: Sequence[Item], root: Path, specs: Sequence[CaptionerSpec], execution: Execution
) -> list[CaptionRecord]:
    """Return the captions that exist, in the order of items and specs; a caption that is not made yet is a failure."""
    return _collect(items, root, specs, execution, None)


def needs_clips(specs: Sequence[CaptionerSpec]) -> bool:
    """Return whether any of the captioners reads clips; otherwise the clips need not be on this machine."""
    return any(Engine(spec.name).makes_captions for spec in specs)


def find_backend(name: str) -> Backend:
    """Return the backend of that name. Raises UnknownName."""
    if name not in _BACKENDS:
        raise UnknownName("backend", name, _BACKENDS, "give it as --backend NAME")
    backend: Backend = _BACKENDS[name].run
    return backend


def _collect(
    items: Sequence[Item], root: Path, specs: Sequence[CaptionerSpec], execution: Execution, track: Track | None
) -> list[CaptionRecord]:
    """Return a record for each item and spec; with `track`, captions that are missing are made."""
    engines = [spec for spec in specs if Engine(spec.name).makes_captions]
    records = {spec.slot: _look_up(spec, items, root, execution) for spec in specs if spec not in engines}
    if engines:
        digests = {item.audio: _digest(root / item.audio) for item in items}
        clips = {digest: root / audio for audio, digest in digests.items() if isinstance(digest, str)}
        if track and not clips:
            raise UserError(
                f"none of the {len(digests)} clips can be read under {root} (the first: {items[0].audio}); "
                "give --data the folder that audio_path is relative to, or ask without sound: --captions none"
            )
        results = _from_bundles(engines, clips, execution)
        unbundled = [spec for spec in engines if spec.slot not in results]
        if unbundled and (track or execution.cache.exists()):  # to open a cache creates it
            results |= _from_cache(unbundled, clips, execution, track)
        for spec in engines:
            records[spec.slot] = _records(spec, items, digests, results.get(spec.slot, {}))
    return [records[spec.slot][place] for place in range(len(items)) for spec in specs]


def _look_up(spec: CaptionerSpec, items: Sequence[Item], root: Path, execution: Execution) -> list[CaptionRecord]:
    look_up = Engine(spec.name).lookup(spec, execution.host)
    records: list[CaptionRecord] = []
    for item in items:
        try:
            caption = look_up(item, root / item.audio)
        except ItemError as error:
            records.append(_record(item, spec, "", error.failure()))
        else:
            # No clip was read, so the digest of the text takes the place of the clip's.
            records.append(_record(item, spec, _key(spec, digest(caption.text)), caption))
    return records


def _digest(clip: Path) -> str | Failure:
    try:
        return digest_file(clip)
    except OSError as error:
        return Failure(kind="audio", message=f"{clip.name}: {error.strerror}")


def _from_bundles(specs: Sequence[CaptionerSpec], clips: Mapping[str, Path], execution: Execution) -> _Results:
    """Return the results of the slots that bundles fill.

    A clip that its bundle lacks is a failure, and so is a caption that its engine rejects.
    """
    results: _Results = {}
    for spec in specs:
        if spec.slot in execution.bundles:
            file = execution.bundles[spec.slot]
            keys = {digest: _key(spec, digest) for digest in clips}
            captions = bundles.find_captions(file, set(keys.values()))
            missing = Failure(kind="missing", message=f"{file.name} has no {spec.slot} caption of this clip")
            page = Failure(kind="unreadable", message=f"{file.name}: the {spec.slot} caption is a page or an error")
            engine = Engine(spec.name)
            checked = {key: page if engine.rejects(caption) else caption for key, caption in captions.items()}
            results[spec.slot] = {digest: checked.get(key, missing) for digest, key in keys.items()}
    return results


def _from_cache(
    specs: Sequence[CaptionerSpec], clips: Mapping[str, Path], execution: Execution, track: Track | None
) -> _Results:
    """Return the captions that the cache has; with `track`, make and cache the others."""
    results: _Results = {}
    with closing(CaptionCache(execution.cache)) as cache:
        for spec in specs:
            results[spec.slot] = _valid_captions(spec, cache, clips)
            if track:
                _name_other_origins(spec, results[spec.slot].values(), _origin(spec, execution))
        if track is None:
            return results
        # Every engine is checked before the first one works for hours; an engine with nothing to do needs no packages.
        for spec in specs:
            if results[spec.slot].keys() != clips.keys():
                Engine(spec.name).check(spec, execution.host)
        backend = find_backend(execution.backend)
        losses: dict[str, str] = {}
        for spec in specs:
            missing = {path: digest for digest, path in clips.items() if digest not in results[spec.slot]}
            with track(f"{spec.slot} by {spec.name}", len(missing)) as tick:
                is_named = False
                if not missing:  # a backend builds the engine, which may need weights that are not here
                    continue
                for path, result in backend(spec, execution.host, list(missing)):
                    if isinstance(result, Caption):
                        result = _check_unchanged(path, missing[path]) or result
                    if isinstance(result, Caption) and (origin := _origin(spec, execution)):
                        result = replace(result, meta={**result.meta, "origin": origin})
                    if isinstance(result, Caption):
                        cache.put(spec, missing[path], result)
                        if not is_named and result.meta.get("languages") == "en":
                            note(speech.ENGLISH_ONLY.format(spec.slot))
                            is_named = True
                        if loss := _describe_loss(result):
                            losses[path.name] = loss
                    results[spec.slot][missing[path]] = result
                    tick(isinstance(result, Caption))
    for name, loss in losses.items():
        note(f"{name}: {loss} could not be decoded; captions are made from the rest")
    return results


def _describe_loss(caption: Caption) -> str:
    """Return how much of its clip a caption's `meta` says could not be decoded, in words; "" for nothing."""
    decoding = caption.meta.get("decoding")
    if not isinstance(decoding, Mapping):
        return ""
    seconds, packets = decoding.get("lost_s", 0), decoding.get("lost_packets", 0)
    if seconds >= 0.05:
        return f"{seconds:.1f} s"
    return f"{packets} piece{'s' * (packets > 1)} of the file" if packets else ""


def _origin(spec: CaptionerSpec, execution: Execution) -> str:
    """Return the address or the provider that an engine asks; `""` for an engine that works here."""
    model = str(spec.params.get("model", ""))
    if not model or not Engine(spec.name).asks_remotely:
        return ""
    return origins.origin(model, execution.host.endpoints.get(model))


def _name_other_origins(spec: CaptionerSpec, cached: Iterable[Caption | Failure], origin: str) -> None:
    """Say where cached captions came from, if not from the origin that is asked now; older ones do not say it."""
    known = Counter(str(caption.meta.get("origin", origin)) for caption in cached if isinstance(caption, Caption))
    del known[origin]
    if others := ", ".join(f"{count} from {other}" for other, count in known.items()):
        note(f"{spec.slot} by {spec.name}: cached captions are {others}, and {origin} is given now; they are kept")


def _valid_captions(
    spec: CaptionerSpec, cache: CaptionCache, clips: Mapping[str, Path]
) -> dict[str, Caption | Failure]:
    """Return the cached captions, without those that the engine rejects today: a note names their clips."""
    captions, rejected = dict[str, Caption | Failure](), []
    engine = Engine(spec.name)
    for audio, clip in clips.items():
        caption = cache.get(_key(spec, audio))
        if caption is not None and engine.rejects(caption):
            rejected.append(clip.name)
        elif caption is not None:
            captions[audio] = caption
    if rejected:
        names = ", ".join(rejected[:5]) + ", …" * (len(rejected) > 5)
        note(f"{spec.slot} by {spec.name}: {len(rejected)} cached captions are pages or errors, and not used: {names}")
    return captions


def _check_unchanged(path: Path, digest: str) -> Failure | None:
    """Return a failure where a clip's bytes no longer have this digest: their caption belongs under another key."""
    present = _digest(path)
    if isinstance(present, Failure):
        return present
    message = f"{path.name}: the file changed while it was captioned; the same command captions it again"
    return Failure(kind="audio", message=message) if present != digest else None


def _records(
    spec: CaptionerSpec,
    items: Sequence[Item],
    digests: Mapping[str, str | Failure],
    results: Mapping[str, Caption | Failure],
) -> list[CaptionRecord]:
    unmade = Failure(kind="unmade", message="the caption is not made yet")
    records: list[CaptionRecord] = []
    for item in items:
        digest = digests[item.audio]
        if isinstance(digest, Failure):
            records.append(_record(item, spec, "", digest))
        else:
            records.append(_record(item, spec, _key(spec, digest), results.get(digest, unmade)))
    return records


def _record(item: Item, spec: CaptionerSpec, key: str, result: Caption | Failure) -> CaptionRecord:
    if isinstance(result, Failure):
        return CaptionRecord(item=item.id, slot=spec.slot, key=key, failure=result)
    return CaptionRecord(item=item.id, slot=spec.slot, key=key, text=result.text, meta=result.meta)


def _key(spec: CaptionerSpec, digest: str) -> str:
    return caption_key(spec.slot, spec.name, spec.version, spec.params, digest)
