"""The captions of items: looked up, read from bundles or the cache, or made by a backend and cached on arrival."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from msgspec import UNSET
from msgspec.structs import replace

from cascade.captioners import speech
from cascade.captioners.registry import Engine
from cascade.captioning import bundles
from cascade.captioning.backends import local, ray
from cascade.captioning.cache import CaptionCache
from cascade.errors import NOT_APPLICABLE, ItemError, UnknownName, UserError
from cascade.io.digests import caption_key, digest, digest_file
from cascade.io.progress import Track, silent
from cascade.io.terminal import note
from cascade.llms import origins
from cascade.prompting import evidence
from cascade.prompting.listening import canonical_question, question_digest
from cascade.types import (
    SENT_AUDIO,
    Backend,
    Caption,
    CaptionerSpec,
    CaptionInput,
    CaptionRecord,
    Execution,
    Failure,
    Item,
    PromptSpec,
)

CLIPS_TO_SEND = "clips to send"  # the name of the stage in which clips are read and described
_BACKENDS = {"local": local, "ray": ray}


class _Source(NamedTuple):
    """The identity of an engine's caption: the digests of the clip's bytes and, if it needs one, of the question.

    `audio` is a failure if the clip cannot be read.
    """

    audio: str | Failure
    question: str = ""


_Inputs = Mapping[_Source, Path | CaptionInput]  # the input of an engine for each caption
_Results = dict[str, dict[_Source, Caption | Failure]]  # by slot


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
    items: Sequence[Item],
    root: Path,
    specs: Sequence[CaptionerSpec],
    execution: Execution,
    track: Track | None = silent,
    prompt: PromptSpec | None = None,
) -> list[CaptionRecord]:
    """Return every item's captions, in the order of items and specs, after making those that are missing.

    If `track` is None, nothing is made, and a missing caption is a failure. `root` is the folder of the items' clips.
    Clips with the same bytes are captioned once. A caption is in the cache as soon as it is made; failures and lookups
    are never cached. If the `prompt` shows captions of other clips, a caption that depends on the question is made from
    the other clip and the item's own question. Raises UserError if no clip can be read.
    """
    engines = [spec for spec in specs if Engine(spec.name).hears]
    merging = [spec for spec in specs if Engine(spec.name).makes_captions and spec not in engines]
    lookups = [spec for spec in specs if spec not in engines and spec not in merging]
    records = {spec.slot: _look_up(spec, items, root, execution) for spec in lookups}
    if engines:
        digests = {item.audio: clip_digest(root / item.audio) for item in items}
        sources = {spec.slot: _sources(spec, items, digests) for spec in engines}
        inputs = {spec.slot: _inputs(items, root, sources[spec.slot]) for spec in engines}
        if track and not any(inputs.values()):
            raise UserError(
                f"none of the {len(digests)} clips can be read under {root} (the first: {items[0].audio}); "
                "give --data the folder that audio_path is relative to, or ask without sound: --captions none"
            )
        asking = [spec for spec in engines if Engine(spec.name).needs_question(spec)]
        if prompt and prompt.mismatch_seed is not None and asking:
            unmade = [record for spec in engines for record in _records(spec, items, sources[spec.slot], {})]
            own = evidence.captions_by_item([*chain(*records.values()), *unmade])
            clips = {item.id: item.audio for item in items}
            donors = evidence.draw_donors(clips, own, prompt.mismatch_seed, digests)
            others = [replace(item, audio=donors[item.audio]) for item in items]
            for spec in asking:
                sources[spec.slot] = _sources(spec, others, digests)
                inputs[spec.slot] = _inputs(others, root, sources[spec.slot])
        unbundled = [spec for spec in merging if spec.slot not in execution.bundles]
        results = _results(engines, inputs, execution, track, unbundled)
        for spec in engines:
            records[spec.slot] = _records(spec, items, sources[spec.slot], results.get(spec.slot, {}))
    for spec in merging:
        merged = list(_merged_sources(spec, items, list(chain(*records.values())), prompt))
        mergeable = {source: captions for source, captions in merged if isinstance(source.audio, str)}
        results = _results([spec], {spec.slot: mergeable}, execution, track)
        digested = _records(spec, items, [source for source, _ in merged], results.get(spec.slot, {}))
        if any(record.question for record in chain(digested, *records.values())):
            questions = [question_digest(item.question, item.choices) for item in items]
            digested = [replace(record, question=text) for record, text in zip(digested, questions, strict=True)]
        records[spec.slot] = digested
    return [records[spec.slot][place] for place in range(len(items)) for spec in specs]


def existing_captions(
    items: Sequence[Item],
    root: Path,
    specs: Sequence[CaptionerSpec],
    execution: Execution,
    prompt: PromptSpec | None = None,
) -> list[CaptionRecord]:
    """Return the captions that exist, in the order of items and specs; a caption that is not made yet is a failure."""
    return caption(items, root, specs, execution, None, prompt)


def needs_clips(specs: Sequence[CaptionerSpec]) -> bool:
    """Return whether any of the captioners reads clips; otherwise the clips need not be on this machine."""
    return any(Engine(spec.name).hears for spec in specs)


def find_backend(name: str) -> Backend:
    """Return the backend of that name. Raises UnknownName."""
    if name not in _BACKENDS:
        raise UnknownName("backend", name, _BACKENDS, "give it as --backend NAME")
    backend: Backend = _BACKENDS[name].run
    return backend


def _results(
    specs: Sequence[CaptionerSpec],
    inputs: Mapping[str, _Inputs],
    execution: Execution,
    track: Track | None,
    later: Sequence[CaptionerSpec] = (),
) -> _Results:
    """Return the captions from bundles and the cache; with `track`, make the missing ones.

    The engines in `later` are also checked before the first engine runs.
    """
    results = _from_bundles(specs, inputs, execution)
    unbundled = [spec for spec in specs if spec.slot not in results]
    if unbundled and (track or execution.cache.exists()):  # opening a cache creates it
        results |= _from_cache(unbundled, inputs, execution, track, later)
    return results


def _merged_sources(
    spec: CaptionerSpec, items: Sequence[Item], captions: Sequence[CaptionRecord], prompt: PromptSpec | None
) -> Iterator[tuple[_Source, CaptionInput]]:
    """Yield the source and the input of each item's digest: the captions that it merges, with the question if needed.

    A digest that depends on the question merges the captions that the prompt would show; another merges those of the
    item's own clip.
    """
    by_item, shows_question = evidence.captions_by_item(captions), Engine(spec.name).needs_question(spec)
    if prompt and (shows_question or any(caption.question for caption in captions)):
        by_item = evidence.captions_shown({item.id: item.audio for item in items}, captions, prompt)
    headings = prompt.headings if prompt else UNSET
    for item in items:
        text = evidence.text_to_merge(by_item[item.id], headings)
        audio: str | Failure = digest(text or "")
        if text is None:
            failed = {caption.slot: caption.failure for caption in by_item[item.id].values() if caption.failure}
            kind = "caption"
            if any(failure.kind == NOT_APPLICABLE for failure in failed.values()):
                kind = NOT_APPLICABLE
            audio = Failure(kind=kind, message=f"no digest was made: no caption of {', '.join(failed)} to merge")
        source, merged = _Source(audio), CaptionInput(evidence=text or "")
        if shows_question:
            question, choices = canonical_question(item.question, item.choices)
            source = _Source(audio, question_digest(item.question, item.choices))
            merged = CaptionInput(evidence=text or "", question=question, choices=choices)
        yield source, merged


def _look_up(spec: CaptionerSpec, items: Sequence[Item], root: Path, execution: Execution) -> list[CaptionRecord]:
    look_up = Engine(spec.name).lookup(spec, execution.host)
    records: list[CaptionRecord] = []
    for item in items:
        try:
            caption = look_up(item, root / item.audio)
        except ItemError as error:
            records.append(_record(item, spec, _Source(error.failure()), error.failure()))
        else:
            # No clip was read, so the digest of the text replaces that of the clip.
            records.append(_record(item, spec, _Source(digest(caption.text)), caption))
    return records


def _sources(spec: CaptionerSpec, items: Sequence[Item], digests: Mapping[str, str | Failure]) -> list[_Source]:
    """Return the source of each item's caption."""
    if not Engine(spec.name).needs_question(spec):
        return [_Source(digests[item.audio]) for item in items]
    return [_Source(digests[item.audio], question_digest(item.question, item.choices)) for item in items]


def _inputs(items: Sequence[Item], root: Path, sources: Sequence[_Source]) -> _Inputs:
    """Return the input of an engine for each caption, without duplicates."""
    inputs: dict[_Source, Path | CaptionInput] = {}
    for item, source in zip(items, sources, strict=True):
        if isinstance(source.audio, str) and source not in inputs:
            inputs[source] = clip = root / item.audio
            if source.question:
                question, choices = canonical_question(item.question, item.choices)
                inputs[source] = CaptionInput(clip=clip, question=question, choices=choices)
    return inputs


def clip_digest(clip: Path) -> str | Failure:
    """Return the digest of a clip's bytes, or why it cannot be read."""
    try:
        return digest_file(clip)
    except OSError as error:
        return Failure(kind="audio", message=f"{clip.name}: {error.strerror}")


def _from_bundles(specs: Sequence[CaptionerSpec], inputs: Mapping[str, _Inputs], execution: Execution) -> _Results:
    """Return the results of the slots that bundles fill.

    The result is a failure for a clip that its bundle lacks, and for a caption that its engine rejects.
    """
    results: _Results = {}
    for spec in specs:
        if spec.slot in execution.bundles:
            file = execution.bundles[spec.slot]
            keys = {source: _key(spec, source) for source in inputs[spec.slot]}
            captions, engine = bundles.find_captions(file, set(keys.values())), Engine(spec.name)
            missing = Failure(kind="missing", message=f"{file.name} has no {spec.slot} caption of this clip")
            page = Failure(kind="unreadable", message=f"{file.name}: the {spec.slot} caption is a page or an error")
            checked = {key: page if engine.rejects(caption) else caption for key, caption in captions.items()}
            results[spec.slot] = {source: checked.get(key, missing) for source, key in keys.items()}
    return results


def _from_cache(
    specs: Sequence[CaptionerSpec],
    inputs: Mapping[str, _Inputs],
    execution: Execution,
    track: Track | None,
    later: Sequence[CaptionerSpec],
) -> _Results:
    """Return the captions that the cache has; with `track`, make and cache the others."""
    results: _Results = {}
    with closing(CaptionCache(execution.cache)) as cache:
        for spec in specs:
            results[spec.slot] = _valid_captions(spec, cache, inputs[spec.slot])
            if track:
                _name_other_origins(spec, results[spec.slot].values(), _origin(spec, execution))
        if track is None:
            return results
        # Every engine is checked before the first one works for hours; an engine with nothing to do needs no packages.
        unready = [spec for spec in specs if results[spec.slot].keys() != inputs[spec.slot].keys()]
        for spec in [*unready, *later] * bool(unready):
            Engine(spec.name).check(spec, execution.host)
        backend = find_backend(execution.backend)
        losses: dict[str, str] = {}  # by the name of the clip
        for spec in specs:
            captions, origin = results[spec.slot], _origin(spec, execution)
            missing = {clip: source for source, clip in inputs[spec.slot].items() if source not in captions}
            stage = CLIPS_TO_SEND if spec.name == SENT_AUDIO else f"{spec.slot} by {spec.name}"
            with track(stage, len(missing)) as tick:
                is_named = False
                if not missing:  # a backend builds the engine, which may need weights that are not here
                    continue
                # The questions about a clip follow each other, so that an engine can reuse its work on the clip.
                by_clip: dict[str | Failure, list[Path | CaptionInput]] = {}
                for clip, source in missing.items():
                    by_clip.setdefault(source.audio, []).append(clip)
                for clip, result in backend(spec, execution.host, list(chain(*by_clip.values()))):
                    source = missing[clip]
                    if isinstance(result, Caption):
                        result = _check_unchanged(clip, source) or result
                    if isinstance(result, Caption):
                        if origin:
                            result = replace(result, meta={**result.meta, "origin": origin})
                        cache.put(spec, str(source.audio), result, source.question)
                        if not is_named and result.meta.get("languages") == "en":
                            note(speech.ENGLISH_ONLY.format(spec.slot))
                            is_named = True
                        if loss := _describe_loss(result):
                            losses[clip.name] = loss
                    captions[source] = result
                    tick(isinstance(result, Caption))
    for name, loss in losses.items():
        note(f"{name}: {loss} could not be decoded; captions are made from the rest")
    return results


def _describe_loss(caption: Caption) -> str:
    """Return in words how much of its clip could not be decoded, as the caption's `meta` says, or "" for nothing."""
    decoding = caption.meta.get("decoding")
    if not isinstance(decoding, Mapping):
        return ""
    seconds, packets = decoding.get("lost_s", 0), decoding.get("lost_packets", 0)
    if seconds >= 0.05:
        return f"{seconds:.1f} s"
    return f"{packets} piece{'s' * (packets > 1)} of the file" if packets else ""


def _origin(spec: CaptionerSpec, execution: Execution) -> str:
    """Return the address or the provider that an engine asks; `""` for an engine on this machine."""
    model = str(spec.params.get("model", ""))
    if not model or not Engine(spec.name).asks_remotely:
        return ""
    return origins.origin(model, execution.host.endpoints.get(model))


def _name_other_origins(spec: CaptionerSpec, cached: Iterable[Caption | Failure], origin: str) -> None:
    """Print the origins of cached captions that differ from the current origin; older captions have no origin."""
    known = Counter(str(caption.meta.get("origin", origin)) for caption in cached if isinstance(caption, Caption))
    del known[origin]
    if others := ", ".join(f"{count} from {other}" for other, count in known.items()):
        note(f"{spec.slot} by {spec.name}: cached captions are {others}, and {origin} is given now; they are kept")


def _valid_captions(spec: CaptionerSpec, cache: CaptionCache, inputs: _Inputs) -> dict[_Source, Caption | Failure]:
    """Return the cached captions, without those that the engine now rejects; a note names the clips of these."""
    captions, rejected = dict[_Source, Caption | Failure](), []
    engine = Engine(spec.name)
    for source, clip in inputs.items():
        caption = cache.get(_key(spec, source))
        if caption is not None and engine.rejects(caption):
            rejected.append(clip.name)
        elif caption is not None:
            captions[source] = caption
    if rejected:
        names = ", ".join(rejected[:5]) + ", …" * (len(rejected) > 5)
        note(f"{spec.slot} by {spec.name}: {len(rejected)} cached captions are pages or errors, and not used: {names}")
    return captions


def _check_unchanged(clip: Path | CaptionInput, source: _Source) -> Failure | None:
    """Return a failure if a clip's bytes now have another digest: the caption would be cached under a wrong key."""
    path = clip.clip if isinstance(clip, CaptionInput) else clip
    if path is None:
        return None
    current = clip_digest(path)
    if isinstance(current, Failure):
        return current
    if current == source.audio:
        return None
    message = f"{path.name}: the file changed while it was captioned; the same command captions it again"
    return Failure(kind="audio", message=message)


def _records(
    spec: CaptionerSpec,
    items: Sequence[Item],
    sources: Sequence[_Source],
    results: Mapping[_Source, Caption | Failure],
) -> list[CaptionRecord]:
    unmade = Failure(kind="unmade", message="the caption is not made yet")
    records: list[CaptionRecord] = []
    for item, source in zip(items, sources, strict=True):
        result = source.audio if isinstance(source.audio, Failure) else results.get(source, unmade)
        records.append(_record(item, spec, source, result))
    return records


def _record(item: Item, spec: CaptionerSpec, source: _Source, result: Caption | Failure) -> CaptionRecord:
    key, question = _key(spec, source), source.question or UNSET
    if isinstance(result, Failure):
        return CaptionRecord(item=item.id, slot=spec.slot, key=key, failure=result, question=question)
    return CaptionRecord(item=item.id, slot=spec.slot, key=key, text=result.text, meta=result.meta, question=question)


def _key(spec: CaptionerSpec, source: _Source) -> str:
    """Return the key of a caption; `""` if the clip cannot be read."""
    if isinstance(source.audio, Failure):
        return ""
    return caption_key(spec.slot, spec.name, spec.version, spec.params, source.audio, source.question)
