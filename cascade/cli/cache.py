"""The commands about captions that are kept: `cache info`, `verify`, `export`, `import`, `merge`."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Annotated

import typer

from cascade.cli import options as o
from cascade.cli.list import Form
from cascade.errors import CacheError, UserError
from cascade.io.terminal import note, plain
from cascade.pipeline.specs import cache_folder, caption_sources, select_captioners, tag_filter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from cascade.captioning.bundles import ImportReport
    from cascade.captioning.cache import CacheEntry, CaptionCache
    from cascade.types import CaptionerSpec, Dataset, Item

_SHOWN = 60  # characters of a caption that is in conflict
# What a bundle's name must not claim.
_PACKED = frozenset({".gz", ".bz2", ".xz", ".zip", ".lz4", ".br", ".7z", ".zstd"})

cache = typer.Typer(
    help="What is in the cache: counted, checked, shared.",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
)


@cache.command("info")
def cache_info(cache: o.Cache = None, form: Form = "table") -> None:
    """Print the cache's folder, captions and size."""
    from cascade.captioning.cache import CaptionCache

    with closing(CaptionCache.existing(cache_folder(cache))) as kept:
        info = kept.info()
    if form == "json":
        typer.echo(json.dumps(info))
        return
    engines = ", ".join(f"{name} {count}" for name, count in sorted(info["engines"].items())) or "-"
    rows = {"folder": info["folder"], "captions": info["captions"], "bytes": info["bytes"], "by engine": engines}
    for key, value in rows.items():
        typer.echo(f"{key:<10} {value}")


@cache.command("verify")
def cache_verify(cache: o.Cache = None) -> None:
    """Derive every key again, and name each entry that does not match."""
    from cascade.captioning.cache import CaptionCache

    with closing(CaptionCache.existing(cache_folder(cache))) as kept:
        problems, count = list(kept.verify()), len(kept)
    for problem in problems:
        typer.echo(problem)
    if problems:
        raise CacheError(f"{len(problems)} of {count} captions do not match; delete {kept.folder} or restore it")
    typer.echo(f"{count} captions, every key derived again and equal")


# Bundles


@cache.command("export")
def cache_export(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The bundle to write; a name in .zst compresses it.")],
    dataset: Annotated[
        str | None, typer.Option("--dataset", metavar="NAME|FILE", help="Only captions of these clips.")
    ] = None,
    data: o.Data = None,
    captions: o.Captions = None,
    caption_param: o.CaptionParam = None,
    only: o.Only = None,
    limit: o.Limit = None,
    cache: o.Cache = None,
) -> None:
    """Write captions as one file, to share or publish.

    All of them, or those of a dataset's clips by the captioners that --captions names. A clip without a caption is
    named, and the exit code is 3.
    """
    from cascade.captioning import bundles
    from cascade.captioning.cache import CaptionCache
    from cascade.datasets import registry

    if not dataset and (only or limit or data):
        raise UserError("--only, --limit and --data are about a dataset's clips: give --dataset NAME|FILE")
    heard_by = (
        select_captioners(caption_sources(captions, dataset or ""), caption_param) if dataset or captions else None
    )
    loaded = registry.load(dataset, data) if dataset else None
    lacking: list[str] = []
    with closing(CaptionCache.existing(cache_folder(cache))) as kept:
        _make_place(file)
        if loaded and heard_by:
            chosen = _of_clips(
                kept, heard_by.specs, loaded, [one.audio for one in _items(loaded, only, limit)], lacking
            )
        else:
            chosen = (one for one in kept.entries() if heard_by is None or one.spec in heard_by.specs)
        done = bundles.export_bundle(file, chosen, _about(loaded), heard_by.specs if heard_by else ())
    typer.echo(f"{done.captions} captions by {len(done.captioners)} captioners in {file}; checksum {done.checksum}")
    for line in lacking[:10]:
        note(line)
    if lacking:
        note(f"{len(lacking)} captions are not in the cache; `cascade caption` makes them")
        raise typer.Exit(3)


def _make_place(file: Path) -> None:
    """Make the folder. A bundle takes the place of an earlier one, never of a device or of a file of another kind."""
    from cascade.captioning import bundles

    if file.suffix in _PACKED:
        raise UserError(
            f"{file}: a bundle is plain or Zstandard's; name it {file.stem}, or {file.stem}.zst to compress it"
        )
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=file.parent):
            pass
    except OSError as error:
        raise UserError(f"{file}: cannot be written there ({error.strerror}); name another file") from error
    if file.exists() and not file.is_file():
        raise UserError(f"{file} is no file; give the name of the bundle to write")
    if file.exists() and file.stat().st_size:
        try:
            bundles.read_manifest(file)
        except CacheError as error:
            raise UserError(f"{file} is there already and no bundle; name another file, or remove it") from error


def _items(loaded: Dataset, only: list[str] | None, limit: int | None) -> Sequence[Item]:
    from cascade.datasets import registry

    return registry.select(loaded, tag_filter(only), limit)


def _about(loaded: Dataset | None) -> dict[str, str]:
    if loaded is None:
        return {}
    return {"name": loaded.name, "digest": loaded.digest, "version": loaded.version, "licence": loaded.licence}


def _of_clips(
    kept: CaptionCache, specs: Sequence[CaptionerSpec], loaded: Dataset, clips: Sequence[str], lacking: list[str]
) -> Iterator[CacheEntry]:
    """The captions of these clips, sorted by key; what is not there is told in `lacking`."""
    from cascade.captioners import registry
    from cascade.io.digests import caption_key, digest_file

    wanted: dict[str, str] = {}
    for clip in dict.fromkeys(clips):
        try:
            heard = digest_file(loaded.root / clip)
        except OSError as error:
            lacking.append(f"{clip}: {error.strerror}")
            continue
        for spec in filter(lambda spec: registry.hears(spec.name), specs):
            key = caption_key(spec.slot, spec.name, spec.version, spec.params, heard)
            wanted.setdefault(key, f"{clip}: no {spec.slot} caption by {spec.name}")
    for key in sorted(wanted):
        if entry := kept.entry(key):
            yield entry
        else:
            lacking.append(wanted[key])


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
    from cascade.captioning import bundles

    _take(files, cache, lambda kept, file: bundles.import_file(kept, file, replace=replace), replace)


@cache.command("merge")
def cache_merge(
    folders: Annotated[list[Path], typer.Argument(metavar="DIR…", help="The folders of other caches.")],
    replace: Replace = False,
    cache: o.Cache = None,
) -> None:
    """Take the captions of other caches into the cache."""
    from cascade.captioning import bundles

    _take(folders, cache, lambda kept, folder: bundles.import_folder(kept, folder, replace=replace), replace)


def _take(
    sources: Sequence[Path], cache: Path | None, take: Callable[[CaptionCache, Path], ImportReport], replace: bool
) -> None:
    """Take what is good of the sources, each whole or not at all; raise, for what is not, at the end."""
    from cascade.captioning.cache import CaptionCache

    conflicts, bad = 0, list[str]()
    with closing(CaptionCache(cache_folder(cache))) as kept:
        for source in sources:
            try:
                report = take(kept, source)
            except UserError as error:
                bad.append(str(error))
                continue
            conflicts += len(report.conflicts)
            _say(source, report, replace)
    if conflicts and not replace:
        note(f"{conflicts} captions here were kept; --replace takes the others")
    if len(sources) > 1 and bad:
        for line in bad:
            note(line)
        bad = [f"{len(bad)} of {len(sources)} were not taken, as named above; the others were"]
    if bad:
        raise UserError(bad[0])
    if conflicts and not replace:
        raise typer.Exit(3)


def _say(source: Path, report: ImportReport, replace: bool) -> None:
    typer.echo(f"{source}: {report.new} new, {report.same} there already, {len(report.conflicts)} in conflict")
    for key, here, there in report.conflicts:
        texts = [json.dumps(one.text[:_SHOWN], ensure_ascii=False) for one in (here, there)]
        typer.echo(plain(f"{key}: here {texts[0]}, there {texts[1]}: {'replaced' if replace else 'kept'}"))
