"""The commands about captions that are kept: `cache info`, `verify`, `export`, `import`, `merge`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryFile
from typing import Annotated

import typer

from cascade.captioners.registry import Engine
from cascade.captioning import bundles, generate
from cascade.captioning.bundles import ImportReport
from cascade.captioning.cache import CacheEntry, CaptionCache
from cascade.cli import options as o
from cascade.datasets import registry
from cascade.errors import CacheError, UserError
from cascade.io.terminal import note, plain, quantity
from cascade.pipeline.request import Request
from cascade.pipeline.specs import (
    CaptionerSelection,
    build_execution,
    cache_folder,
    caption_sources,
    select_captioners,
    tag_filter,
)
from cascade.types import CaptionerSpec, Execution, Item

_TEXT_WIDTH = 60  # characters of a caption that is in conflict
# Suffixes of other compressions, which a bundle's name must not claim.
_OTHER_COMPRESSIONS = frozenset({".gz", ".bz2", ".xz", ".zip", ".lz4", ".br", ".7z", ".zstd"})

cache = o.command_group(help="Count, check and share what is in the cache.", no_args_is_help=True)


@cache.command("info")
def cache_info(cache: o.Cache = None, form: o.TableOrJson = "table") -> None:
    """Print the cache's folder, captions and size."""
    with closing(CaptionCache.existing(cache_folder(cache))) as captions:
        info = captions.info()
    if form == "json":
        typer.echo(json.dumps(info))
        return
    engines = ", ".join(f"{name} {count}" for name, count in sorted(info["engines"].items())) or "-"
    for key, value in {**info, "engines": engines}.items():
        typer.echo(f"{key:<10} {value}")


@cache.command("verify")
def cache_verify(cache: o.Cache = None) -> None:
    """Derive every key again, and name each entry that does not match."""
    with closing(CaptionCache.existing(cache_folder(cache))) as captions:
        problems, count = list(captions.verify()), len(captions)
    for problem in problems:
        typer.echo(plain(problem))
    if problems:
        raise CacheError(f"{len(problems)} of {count} captions do not match; delete {captions.folder} or restore it")
    typer.echo(f"{quantity(count, 'caption')}, every key derived again and equal")


@cache.command("export")
@o.takes_request("data", "captions", "caption_param", "only", "limit", "cache")
def cache_export(
    request: Request,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The bundle to write; a name in .zst compresses it.")],
    *,
    dataset: Annotated[
        str | None, typer.Option("--dataset", metavar="NAME|FILE", help="Only captions of these clips.")
    ] = None,
) -> None:
    """Write captions as one file, to share or publish.

    All of them, or those of a dataset's clips by the captioners that --captions names. A clip without a caption is
    named, and the exit code is 3.
    """
    if not dataset and (request.only or request.limit or request.data):
        raise UserError("--only, --limit and --data are about a dataset's clips: give --dataset NAME|FILE")
    selection = CaptionerSelection()
    if dataset or request.captions:
        selection = select_captioners(caption_sources(request.captions, dataset or ""), request.caption_param)
    about: dict[str, str] = {}
    lacking: dict[str, str] = {}  # by key
    with closing(CaptionCache.existing(cache_folder(request.cache))) as kept:
        _check_place(file)
        entries: Iterable[CacheEntry] = kept.entries()
        if dataset:
            loaded = registry.load(dataset, request.data)
            about = {name: getattr(loaded, name) for name in ("name", "digest", "version", "licence")}
            items = registry.select(loaded, tag_filter(request.only), request.limit)
            how = replace(build_execution(request, selection), bundles={})
            keys, lacking = _keys_of_clips(selection.specs, loaded.root, items, how)
            entries = filter(None, map(kept.entry, sorted(keys)))
        elif request.captions:
            entries = (entry for entry in entries if entry.spec in selection.specs)
        bundle = bundles.export_bundle(file, entries, about, selection.specs)
    typer.echo(
        f"{quantity(bundle.captions, 'caption')} by {quantity(len(bundle.captioners), 'captioner')} in {file}; "
        f"checksum {bundle.checksum}"
    )
    for line in list(lacking.values())[:10]:
        note(line)
    if lacking:
        note(f"not in the cache: {quantity(len(lacking), 'caption')}; `cascade caption` makes them")
        raise typer.Exit(3)


def _check_place(file: Path) -> None:
    """Make the folder of a bundle. Raises UserError for a place where a bundle would replace a file of another kind."""
    if file.suffix in _OTHER_COMPRESSIONS:
        raise UserError(
            f"{file}: a bundle is plain or Zstandard's; name it {file.stem}, or {file.stem}.zst to compress it"
        )
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=file.parent):
            pass
    except OSError as error:
        raise UserError(f"{file}: cannot be written there ({error.strerror}); name another file") from error
    if file.is_file() and file.stat().st_size:
        try:
            bundles.read_manifest(file)
        except CacheError as error:
            raise UserError(f"{file} is there already and no bundle; name another file, or remove it") from error


def _keys_of_clips(
    specs: Sequence[CaptionerSpec], root: Path, items: Sequence[Item], how: Execution
) -> tuple[set[str], dict[str, str]]:
    """Return the keys of the items' captions in the cache, and a description, by key, of each that the cache lacks."""
    engines = {spec.slot: spec for spec in specs if Engine(spec.name).hears}
    clips = {item.id: item.audio for item in items}
    keys: set[str] = set()
    lacking: dict[str, str] = {}
    for record in generate.existing_captions(items, root, list(engines.values()), how):
        if record.failure is None:
            keys.add(record.key)
        elif record.key:
            lacking[record.key] = f"{clips[record.item]}: no {record.slot} caption by {engines[record.slot].name}"
        else:  # The clip cannot be read, so it has no key.
            lacking[record.failure.message] = record.failure.message
    return keys, lacking


Replace = Annotated[bool, typer.Option("--replace", help="Where the two say different things, take the new one.")]


@cache.command("import")
def cache_import(
    files: Annotated[list[Path], typer.Argument(metavar="FILE…", help="Bundles that `cache export` wrote.")],
    replace: Replace = False,
    cache: o.Cache = None,
) -> None:
    """Take the captions of bundles into the cache.

    Nothing is taken of a bundle that does not verify: it is named, the others are taken, and the exit code is 2. Where
    a caption is there already and says something else, it stays, both are shown, and the exit code is 3.
    """
    _import(files, cache, bundles.import_file, replace)


@cache.command("merge")
def cache_merge(
    folders: Annotated[list[Path], typer.Argument(metavar="DIR…", help="The folders of other caches.")],
    replace: Replace = False,
    cache: o.Cache = None,
) -> None:
    """Take the captions of other caches into the cache."""
    _import(folders, cache, bundles.import_folder, replace)


def _import(sources: Sequence[Path], cache: Path | None, take: Callable[..., ImportReport], replace: bool) -> None:
    """Import each source, whole or not at all, and print what came of it; at the end raise for those that are bad."""
    conflicts = 0
    problems: list[str] = []
    with closing(CaptionCache(cache_folder(cache))) as kept:
        for source in sources:
            try:
                report = take(kept, source, replace=replace)
            except UserError as error:
                problems.append(str(error))
                continue
            conflicts += len(report.conflicts)
            typer.echo(f"{source}: {report.new} new, {report.same} there already, {len(report.conflicts)} in conflict")
            outcome = ("kept", "replaced")[replace]
            for key, here, there in report.conflicts:
                texts = [json.dumps(caption.text[:_TEXT_WIDTH], ensure_ascii=False) for caption in (here, there)]
                typer.echo(plain(f"{key}: here {texts[0]}, there {texts[1]}: {outcome}"))
    if conflicts and not replace:
        note(f"kept here: {quantity(conflicts, 'caption')}; --replace takes the others")
    if len(sources) > 1 and problems:
        for problem in problems:
            note(problem)
        raise UserError(f"{len(problems)} of {len(sources)} were not taken, as named above; the others were")
    if problems:
        raise UserError(problems[0])
    if conflicts and not replace:
        raise typer.Exit(3)
