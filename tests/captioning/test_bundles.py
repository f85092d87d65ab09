"""Captions as a file: the same bytes for the same captions, and nothing taken of a file that does not verify."""

from __future__ import annotations

import json
import pickle
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from cascade.captioning import bundles
from cascade.captioning.cache import CacheEntry, CaptionCache
from cascade.errors import CacheError, UserError
from cascade.io import jsonl
from cascade.io.digests import digest_bytes
from cascade.io.jsonl import to_json
from cascade.types import Caption, CaptionerSpec

zstandard = pytest.importorskip("zstandard")

SPEC = CaptionerSpec(slot="speech", name="fake", version="1", params={"text": "hello"})
SOUND = replace(SPEC, slot="sound", version="2")
ODD = Caption(text="naïve ♯ 猫 \ud83d \u2028 \x1b[31m \x00 ‮", meta={"windows": [{"start": 0.5, "text": "a\nb"}]})
ABOUT = {"name": "mini", "digest": "b2:1", "version": "3", "licence": "CC BY 4.0"}


@pytest.fixture
def cache(tmp_path: Path) -> CaptionCache:
    return CaptionCache(tmp_path / "cache")


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """Four captions by two captioners."""
    there = CaptionCache(tmp_path / "there")
    for spec in (SPEC, SOUND):
        for audio, caption in (("b2:a", ODD), ("b2:b", Caption(text=""))):
            there.put(spec, audio, caption)
    path = tmp_path / "captions.jsonl"
    bundles.export_bundle(path, there.entries(), ABOUT)
    return path


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def forge(path: Path, change: Callable[[list[dict[str, Any]]], Any]) -> None:
    """Change the lines below the manifest, and make the manifest's checksum and seal fit them."""
    first, *rest = lines(path)
    change(rest)
    body = b"".join((jsonl.dumps(row) + "\n").encode() for row in rest)
    first |= {"checksum": digest_bytes(body), "captions": len(rest)}
    del first["digest"]
    path.write_bytes((jsonl.dumps(jsonl.with_digest(first)) + "\n").encode() + body)


@pytest.mark.parametrize("name", ["captions.jsonl", "captions.jsonl.zst"])
def test_what_is_exported_is_imported_to_the_letter(cache: CaptionCache, bundle: Path, name: str) -> None:
    copy = bundle.with_name("copy-" + name)
    manifest = bundles.export_bundle(copy, bundles.entries(bundle), ABOUT)
    assert (manifest.captions, manifest.dataset) == (4, ABOUT)
    assert manifest == bundles.read_manifest(copy)
    report = bundles.import_file(cache, copy)
    assert (report.new, report.same, report.conflicts) == (4, 0, [])
    assert [entry.caption for entry in cache.entries()].count(ODD) == 2
    assert list(cache.verify()) == []
    again = bundles.import_file(cache, copy)
    assert (again.new, again.same) == (0, 4)


def test_the_same_captions_make_the_same_bytes_and_anyone_can_check_them(cache: CaptionCache, bundle: Path) -> None:
    bundles.import_file(cache, bundle)
    bundles.export_bundle(bundle.with_name("again.jsonl"), cache.entries(), ABOUT)
    assert bundle.with_name("again.jsonl").read_bytes() == bundle.read_bytes()
    assert [row["key"] for row in lines(bundle)[1:]] == sorted(row["key"] for row in lines(bundle)[1:])
    result = subprocess.run(
        f"tail -n +2 {bundle} | b2sum -l 128", shell=True, capture_output=True, text=True, check=True
    )
    assert f"b2:{result.stdout.split()[0]}" == bundles.read_manifest(bundle).checksum


def test_the_manifest_says_whose_captions_and_of_what(bundle: Path) -> None:
    manifest = bundles.read_manifest(bundle)
    assert manifest.dataset == ABOUT
    assert sorted(manifest.captioners, key=lambda spec: spec.slot) == [SOUND, SPEC]
    assert lines(bundle)[1].keys() >= {"key", "slot", "name", "version", "params", "audio", "text", "meta"}


def resealed(rows: list[dict[str, Any]], **changes: Any) -> None:
    rows[0] |= changes


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda rows: resealed(rows, text="other"), "its text or meta was altered"),
        (lambda rows: resealed(rows, meta={"windows": []}), "its text or meta was altered"),
        (lambda rows: resealed(rows, audio="b2:c"), "its content belongs to the key b2:"),
        (lambda rows: resealed(rows, version="9"), "its content belongs to the key b2:"),
        (lambda rows: resealed(rows, key="b2:0"), "its content belongs to the key b2:"),
        (lambda rows: resealed(rows, path="../../etc/passwd"), "unknown field `path`"),
        (lambda rows: rows[0].pop("text"), "missing required field `text`"),
        (lambda rows: resealed(rows, key=None), "its content belongs to the key b2:"),
        (lambda rows: rows.append({"key": "b2:x"}), "missing"),
    ],
)
def test_a_forged_line_is_refused_by_place_and_nothing_is_taken(
    cache: CaptionCache, bundle: Path, change: Callable[[list[dict[str, Any]]], Any], why: str
) -> None:
    forge(bundle, change)
    with pytest.raises(CacheError, match=rf"captions\.jsonl:\d+: .*{why}"):
        bundles.import_file(cache, bundle)
    assert len(cache) == 0


@pytest.mark.parametrize("change", [lambda rows: rows.insert(1, rows[0]), lambda rows: rows.reverse()])
def test_a_key_twice_or_out_of_order_is_refused(
    cache: CaptionCache, bundle: Path, change: Callable[[list[dict[str, Any]]], Any]
) -> None:
    forge(bundle, change)
    with pytest.raises(CacheError, match=r"captions\.jsonl:3: .* stands twice or out of order"):
        bundles.import_file(cache, bundle)
    assert len(cache) == 0


def test_a_caption_by_somebody_the_manifest_does_not_name_is_refused(cache: CaptionCache, bundle: Path) -> None:
    other = CacheEntry.of(replace(SPEC, name="other"), "b2:z", Caption(text="x"))
    forge(bundle, lambda rows: rows.append({"key": other.key(), **to_json(other)}))
    with pytest.raises(CacheError, match="by a captioner that the manifest does not name"):
        bundles.import_file(cache, bundle)


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000 + b"\n",
        b"null\n",
        b"NaN\n",
        b"\xff\xfe\n",
        pickle.dumps({"key": 1}) + b"\n",
        b'{"key": ' + b"9" * 5000 + b"}\n",
        b'{"a": 1}',
    ],
)
def test_hostile_lines_are_one_line_errors(cache: CaptionCache, bundle: Path, body: bytes) -> None:
    with open(bundle, "ab") as file:
        file.write(body)
    with pytest.raises(CacheError, match=r"captions\.jsonl:6: ") as caught:
        bundles.import_file(cache, bundle)
    assert "\n" not in str(caught.value)
    assert len(cache) == 0


@pytest.mark.parametrize("cut", [1, 40, 300, 900])
def test_a_file_that_was_cut_short_is_refused(cache: CaptionCache, bundle: Path, cut: int) -> None:
    bundle.write_bytes(bundle.read_bytes()[:-cut])
    with pytest.raises(CacheError, match=r"fetch it again|no bundle"):
        bundles.import_file(cache, bundle)
    assert len(cache) == 0


def test_a_lost_line_shows_in_the_checksum(cache: CaptionCache, bundle: Path) -> None:
    bundle.write_bytes(b"".join(bundle.read_bytes().splitlines(keepends=True)[:-1]))
    with pytest.raises(CacheError, match="holds 3 captions, and the manifest names 4"):
        bundles.import_file(cache, bundle)
    assert len(cache) == 0


def test_a_line_has_a_longest_length_compressed_or_not(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = bundle.with_name("bomb.jsonl.zst")
    bomb.write_bytes(zstandard.ZstdCompressor().compress(bundle.read_bytes() + b"x" * (1 << 27)))
    assert bomb.stat().st_size < 100_000
    with pytest.raises(CacheError, match=r"bomb\.jsonl\.zst:6: the line is longer than"):
        list(bundles.entries(bomb))
    monkeypatch.setattr(bundles, "LONGEST", 100)
    with pytest.raises(CacheError, match=r"captions\.jsonl:1: the line is longer than 100"):
        bundles.read_manifest(bundle)


@pytest.mark.parametrize("content", [b"", b"{}\n", b'{"format": "cascade-bundle-9"}\n', b"\x28\xb5\x2f\xfd", b"[]\n"])
@pytest.mark.parametrize("name", ["other.jsonl", "other.jsonl.zst"])
def test_another_file_is_no_bundle(tmp_path: Path, content: bytes, name: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CacheError, match=rf"{name}.*(is no bundle|cannot be read|longer|cut short)"):
        bundles.read_manifest(tmp_path / name)
    with pytest.raises(CacheError, match="No such file"):
        bundles.read_manifest(tmp_path / "absent.jsonl")


def test_the_manifest_is_sealed(bundle: Path) -> None:
    bundle.write_bytes(bundle.read_bytes().replace(b"CC BY 4.0", b"CC0      ", 1))
    with pytest.raises(CacheError, match="its first line was altered"):
        bundles.read_manifest(bundle)


def test_a_conflict_is_told_and_what_is_here_stays(cache: CaptionCache, bundle: Path) -> None:
    mine = Caption(text="what I heard")
    key = cache.put(SPEC, "b2:a", mine)
    cache.put(SPEC, "b2:b", Caption(text="", meta={"seconds": 9.0}))  # the same words, made elsewhere
    report = bundles.import_file(cache, bundle)
    assert (report.new, report.same) == (2, 1)
    assert report.conflicts == [bundles.Conflict(key, mine, ODD)]
    assert cache.get(key) == mine
    bundles.import_file(cache, bundle, replace=True)
    assert cache.get(key) == ODD


def test_caches_are_merged_as_bundles_are(tmp_path: Path, cache: CaptionCache, bundle: Path) -> None:
    cache.put(SPEC, "b2:a", Caption(text="mine"))
    report = bundles.import_folder(cache, tmp_path / "there")
    assert (report.new, report.same, len(report.conflicts)) == (3, 0, 1)
    with pytest.raises(UserError, match="is the cache itself"):
        bundles.import_folder(cache, cache.folder)
    with pytest.raises(CacheError, match="is no cache"):
        bundles.import_folder(cache, tmp_path)
    assert not (tmp_path / "cache.db").exists()


def test_without_the_package_a_compressed_file_says_what_to_install(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "zstandard", None)
    with pytest.raises(UserError, match=r"x\.jsonl\.zst ends in \.zst.*pip install"):
        bundles.export_bundle(bundle.with_name("x.jsonl.zst"), [])
    assert not bundle.with_name("x.jsonl.zst").exists()
