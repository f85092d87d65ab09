"""`cascade cache export|import|merge`, and a bundle in the place of engines, as a person types them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.support.commands import FAKE, cascade, only_run, rows, write

HEARD = "speech=fake(text=spoken),sound=fake(text=rustling)"


@pytest.fixture
def bundle(mini: Path) -> Path:
    assert cascade("caption", "--dataset", mini, "--captions", HEARD, "--cache", "there").exit_code == 0
    told = cascade("cache", "export", "b.jsonl", "--dataset", mini, "--captions", HEARD, "--cache", "there")
    assert told.stdout.startswith("16 captions by 2 captioners in b.jsonl; checksum b2:")
    return Path("b.jsonl")


def heard(*args: str | Path) -> list[dict[str, object]]:
    told = cascade("caption", "--format", "jsonl", *args)
    assert told.exit_code == 0, told.output
    return [json.loads(line) for line in told.stdout.splitlines()]


def test_an_export_is_of_these_clips_and_captioners_only(mini: Path, bundle: Path) -> None:
    other = write(Path("other.jsonl"), list(rows(2, question="Which one?")))
    Path("0.wav").write_bytes(b"another clip")
    cascade("caption", "--dataset", other, "--captions", "speech=fake(text=spoken)", "--cache", "there")
    assert json.loads(cascade("cache", "info", "--cache", "there", "--format", "json").stdout)["captions"] == 17
    told = cascade("cache", "export", "one.jsonl", "--dataset", other, "--captions", HEARD, "--cache", "there")
    assert told.exit_code == 3 and told.stdout.startswith("3 captions by 2 captioners")
    assert "0.wav: no sound caption by fake" in told.stderr
    assert cascade("cache", "export", "all.jsonl", "--cache", "there").stdout.startswith("17 captions by 2")
    alone = cascade("cache", "export", "s.jsonl", "--cache", "there", "--captions", "sound=fake(text=rustling)")
    assert alone.stdout.startswith("8 captions by 1")
    assert cascade("cache", "export", "x.jsonl", "--limit", "3").exit_code == 2


def test_an_imported_bundle_is_a_full_cache(mini: Path, bundle: Path) -> None:
    first = heard("--dataset", mini, "--captions", HEARD, "--cache", "there")
    assert (
        cascade("cache", "import", bundle, "--cache", "here").stdout
        == "b.jsonl: 16 new, 0 there already, 0 in conflict\n"
    )
    assert heard("--dataset", mini, "--captions", HEARD, "--cache", "here") == first
    assert cascade("cache", "verify", "--cache", "here").exit_code == 0
    again = cascade("cache", "merge", "there", "--cache", "here")
    assert again.stdout == "there: 0 new, 16 there already, 0 in conflict\n"


@pytest.mark.parametrize(
    "captions", ["b.jsonl", "speech=bundle(path=b.jsonl),sound=bundle(path=b.jsonl,engine=fake,text=rustling)"]
)
def test_a_bundle_stands_for_engines_with_the_same_keys(mini: Path, bundle: Path, captions: str) -> None:
    first = heard("--dataset", mini, "--captions", HEARD, "--cache", "there")
    assert heard("--dataset", mini, "--captions", captions, "--cache", "none") == first
    assert not Path("none").exists()
    for out, given in (("a", HEARD), ("b", captions)):
        assert cascade("run", "--dataset", mini, "--captions", given, "--llm", "fake", "--out", out).exit_code == 0
    assert Path("a/captions.jsonl").read_bytes() == Path("b/captions.jsonl").read_bytes()
    assert cascade("verify", "b").exit_code == 0
    again = cascade("run", "--dataset", mini, "--captions", HEARD, "--llm", "fake", "--out", "b")
    assert again.exit_code == 0  # the same run, whoever made the captions
    plan = cascade("run", "--dataset", mini, "--captions", captions, "--llm", "fake", "--out", "c", "--dry-run")
    assert "16, of which 0 are to be made" in plan.stdout


def test_captions_by_an_engine_that_is_not_installed_here(mini: Path, bundle: Path) -> None:
    from msgspec.structs import replace

    from cascade.captioning import bundles
    from cascade.captioning.cache import CacheEntry

    theirs = [replace(entry.spec, name="theirs") for entry in bundles.entries(bundle)]
    made = [
        CacheEntry.of(spec, entry.audio, entry.caption)
        for spec, entry in zip(theirs, bundles.entries(bundle), strict=True)
    ]
    bundles.export_bundle(bundle, sorted(made, key=CacheEntry.key))
    told = cascade("run", "--dataset", mini, "--captions", "b.jsonl", "--llm", "fake")
    assert told.exit_code == 0, told.output
    assert cascade("verify", only_run()).exit_code == 0


def test_what_a_bundle_lacks_is_a_failure_and_nothing_is_heard(mini: Path, bundle: Path) -> None:
    Path("3.wav").write_bytes(b"another clip")
    told = cascade("caption", "--dataset", mini, "--captions", "b.jsonl", "--format", "jsonl")
    assert told.exit_code == 3
    failed = [row for row in map(json.loads, told.stdout.splitlines()) if "error" in row]
    assert [(row["id"], row["error"]["kind"]) for row in failed] == [("q3", "missing")] * 2


def test_a_slot_that_a_bundle_has_not_or_twice_is_a_mistake(mini: Path, bundle: Path) -> None:
    told = cascade("caption", "--dataset", mini, "--captions", "music=bundle(path=b.jsonl)")
    assert told.exit_code == 2 and "none for this slot" in told.stderr
    cascade("caption", "--dataset", mini, "--captions", "speech=fake(text=louder)", "--cache", "there")
    cascade("cache", "export", "two.jsonl", "--cache", "there")
    told = cascade("caption", "--dataset", mini, "--captions", "speech=bundle(path=two.jsonl)")
    assert told.exit_code == 2 and "has 2 captioners" in told.stderr and "text=louder" in told.stderr
    one = heard("--dataset", mini, "--captions", "speech=bundle(path=two.jsonl,text=louder)")
    assert {row["text"] for row in one} == {"louder"}
    assert cascade("caption", "--dataset", mini, "--captions", "speech=bundle").exit_code == 2
    assert cascade("caption", "--dataset", mini, "--captions", "absent.jsonl").exit_code == 2


def test_a_conflict_is_shown_and_named_by_the_exit_code(mini: Path, bundle: Path) -> None:
    lines = cascade("cache", "export", "x.jsonl", "--cache", "absent")
    assert lines.exit_code == 2 and "is no cache" in lines.stderr
    from contextlib import closing

    from cascade.captioning import bundles
    from cascade.captioning.cache import CaptionCache
    from cascade.types import Caption

    first = next(bundles.entries(bundle))
    with closing(CaptionCache(Path("here"))) as cache:
        cache.put(first.spec, first.audio, Caption(text="\x1b[2Jmine"))
    told = cascade("cache", "import", bundle, "--cache", "here")
    assert told.exit_code == 3 and "15 new, 0 there already, 1 in conflict" in told.stdout
    assert f"{first.key()}: here" in told.stdout and "\x1b" not in told.stdout and "kept" in told.stdout
    assert cascade("cache", "import", bundle, "--cache", "here", "--replace").exit_code == 0
    assert cascade("run", "--dataset", mini, *FAKE, "--cache", "here").exit_code == 0


def test_an_export_takes_the_place_of_a_bundle_and_of_nothing_else(mini: Path, bundle: Path) -> None:
    assert cascade("cache", "export", bundle, "--cache", "there").exit_code == 0
    Path("notes.txt").write_text("mine")
    os.mkfifo("pipe")
    told = {name: cascade("cache", "export", name, "--cache", "there") for name in ("notes.txt", "pipe", ".")}
    assert {one.exit_code for one in told.values()} == {2}
    assert "is there already and no bundle" in told["notes.txt"].stderr and "is not replaced" in told["pipe"].stderr
    assert Path("notes.txt").read_text() == "mine" and Path("pipe").is_fifo()
    below = cascade("cache", "export", "notes.txt/b.jsonl", "--cache", "there")
    assert below.exit_code == 2 and "cannot be written there" in below.stderr


def test_a_mistyped_cache_is_named_and_not_made(mini: Path) -> None:
    for command in ("info", "verify"):
        told = cascade("cache", command, "--cache", "mistyped")
        assert told.exit_code == 2 and told.stderr.startswith("cascade: mistyped is no cache")
        assert "`cascade caption` makes them" in told.stderr and told.stderr.count("\n") == 1
        assert not Path("mistyped").exists()


def test_of_several_bundles_the_good_ones_are_taken_and_the_bad_ones_named(mini: Path, bundle: Path) -> None:
    Path("bad.jsonl").write_text("nonsense\n")
    Path("cut.jsonl").write_bytes(bundle.read_bytes()[:-40])
    told = cascade("cache", "import", "bad.jsonl", bundle, "cut.jsonl", "--cache", "here")
    assert told.exit_code == 2 and told.stdout == "b.jsonl: 16 new, 0 there already, 0 in conflict\n"
    named = told.stderr.splitlines()
    assert named[0].startswith("bad.jsonl is no bundle") and named[1].startswith("cut.jsonl:17")
    assert named[2:] == ["cascade: 2 of 3 were not taken, as named above; the others were"]
    alone = cascade("cache", "import", "bad.jsonl", "--cache", "here")
    assert alone.exit_code == 2 and alone.stderr.startswith("cascade: bad.jsonl is no bundle")


def test_a_name_that_claims_another_compression_is_refused(mini: Path, bundle: Path) -> None:
    told = cascade("cache", "export", "new/x.jsonl.gz", "--cache", "there")
    assert told.exit_code == 2 and "name it x.jsonl, or x.jsonl.zst to compress it" in told.stderr
    assert not Path("new").exists()
