"""The caption cache: kept for ever, nothing but text in it, and nothing else out of it."""

from __future__ import annotations

import gc
import json
import pickle
import re
import sqlite3
import subprocess
import sys
import warnings
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from cascade.captioning import cache as module
from cascade.captioning.cache import CaptionCache
from cascade.errors import CacheError
from cascade.types import Caption, CaptionerSpec

SPEC = CaptionerSpec(slot="speech", name="fake", version="1", params={"text": "hello", "beam": 1})
AUDIO = "b2:0123"
CAPTION = Caption(text="naïve ♯ 猫 \ud83d", meta={"windows": [{"start": 0.5}], "device": "cpu"})
ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "cache"


def alter(folder: Path, sql: str, *values: Any) -> None:
    with closing(sqlite3.connect(folder / "cache.db")) as table, table:
        assert table.execute(sql, values).rowcount > 0
    table.close()


def test_a_caption_is_kept_for_the_next_process(folder: Path) -> None:
    key = CaptionCache(folder).put(SPEC, AUDIO, CAPTION)
    again = CaptionCache(folder)
    assert again.get(key) == CAPTION
    assert again.get("b2:none") is None
    assert len(again) == 1
    assert list(again.verify()) == []


def test_an_empty_caption_is_a_finding(folder: Path) -> None:
    cache = CaptionCache(folder)
    assert cache.get(cache.put(SPEC, AUDIO, Caption(text=""))) == Caption(text="")


@pytest.mark.parametrize(
    "other",
    [
        replace(SPEC, slot="sound"),
        replace(SPEC, name="other"),
        replace(SPEC, version="2"),
        replace(SPEC, params={"text": "hello", "beam": 2}),
        replace(SPEC, params={"text": "hello"}),
    ],
)
def test_another_engine_slot_or_parameter_has_another_key(folder: Path, other: CaptionerSpec) -> None:
    cache = CaptionCache(folder)
    keys = {cache.put(SPEC, AUDIO, CAPTION), cache.put(other, AUDIO, CAPTION), cache.put(SPEC, "b2:4567", CAPTION)}
    assert len(keys) == len(cache) == 3
    assert cache.put(replace(SPEC, params={"beam": 1, "text": "hello"}), AUDIO, Caption(text="new")) in keys
    assert len(cache) == 3


def test_nothing_is_ever_evicted(folder: Path) -> None:
    cache = CaptionCache(folder)
    with closing(sqlite3.connect(folder / "cache.db")) as table:
        settings = dict(table.execute("SELECT key, value FROM Settings"))
    assert (settings["eviction_policy"], settings["cull_limit"]) == ("none", 0)
    assert settings["size_limit"] > 1 << 60
    keys = [cache.put(SPEC, f"b2:{n}", Caption(text="x" * 100_000)) for n in range(20)]
    assert all(cache.get(key) for key in keys)
    assert [file.name for file in folder.iterdir() if not file.name.startswith("cache.db")] == []


class Canary:
    """Unpickling one leaves a file behind."""

    def __reduce__(self) -> Any:
        return Path.touch, (Path("unpickled"),)


@pytest.mark.parametrize("mode", [0, 1, 2, 3, 4, 9])
def test_a_planted_pickle_is_refused_and_never_run(folder: Path, mode: int) -> None:
    cache = CaptionCache(folder)
    key = cache.put(SPEC, AUDIO, CAPTION)
    alter(folder, "UPDATE Cache SET mode = ?, value = ?", mode, sqlite3.Binary(pickle.dumps(Canary())))
    with pytest.raises(CacheError, match=key):
        CaptionCache(folder).get(key)
    assert any(key in line for line in CaptionCache(folder).verify())
    assert not Path("unpickled").exists()


@pytest.mark.parametrize("mode", [1, 2, 3, 4])
def test_a_planted_file_name_is_never_opened(folder: Path, tmp_path: Path, mode: int) -> None:
    cache = CaptionCache(folder)
    key = cache.put(SPEC, AUDIO, CAPTION)
    (tmp_path / "outside").write_bytes(pickle.dumps(Canary()))
    alter(folder, "UPDATE Cache SET mode = ?, value = NULL, filename = ?", mode, "../../outside")
    with pytest.raises(CacheError, match=key):
        CaptionCache(folder).get(key)
    assert not Path("unpickled").exists()


def test_a_planted_key_that_is_a_pickle_is_never_run(folder: Path) -> None:
    CaptionCache(folder).put(SPEC, AUDIO, CAPTION)
    alter(folder, "UPDATE Cache SET key = ?, raw = 0", sqlite3.Binary(pickle.dumps(Canary())))
    for read in (CaptionCache.info, lambda cache: list(cache.verify())):
        with pytest.raises(CacheError, match="holds a key that is no text"):
            read(CaptionCache(folder))
    assert not Path("unpickled").exists()


def test_a_pickle_never_goes_in(folder: Path) -> None:
    cache = CaptionCache(folder)
    with pytest.raises(TypeError, match="not JSON serializable"):
        cache.put(SPEC, AUDIO, Caption(text="x", meta={"odd": Canary()}))
    with pytest.raises(ValueError, match="not JSON compliant"):
        cache.put(SPEC, AUDIO, Caption(text="x", meta={"odd": float("nan")}))
    for key, value in (("k", Canary()), ("k", b"bytes"), (b"k", "text"), (1, "text")):
        with pytest.raises(TypeError, match="is text, not"):
            cache._store.set(key, value)
    assert len(cache) == 0


@pytest.mark.parametrize("value", ["{", "null", "7", '{"text": "x"}', "[" * 100_000, '{"slot": 1}'])
def test_a_corrupt_entry_is_an_error_that_names_its_key(folder: Path, value: str) -> None:
    cache = CaptionCache(folder)
    key = cache.put(SPEC, AUDIO, CAPTION)
    alter(folder, "UPDATE Cache SET value = ?", value)
    with pytest.raises(CacheError, match=rf"{key}: the entry is damaged"):
        cache.get(key)
    (line,) = CaptionCache(folder).verify()
    assert key in line and "\n" not in line


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"beam":1', '"beam":5'),
        ('"audio":"b2:0123"', '"audio":"b2:9999"'),
        ('"slot":"speech"', '"slot":"sound"'),
        ('"text":"na\\u00efve', '"text":"naive'),
        ('"device":"cpu"', '"device":"gpu"'),
    ],
)
def test_verify_finds_what_was_altered(folder: Path, old: str, new: str) -> None:
    cache = CaptionCache(folder)
    key = cache.put(SPEC, AUDIO, CAPTION)
    cache.put(SPEC, "b2:sound", CAPTION)
    with closing(sqlite3.connect(folder / "cache.db")) as table, table:
        changed = table.execute("UPDATE Cache SET value = replace(value, ?, ?) WHERE key = ?", (old, new, key))
        assert changed.rowcount == 1
        assert new in table.execute("SELECT value FROM Cache WHERE key = ?", (key,)).fetchone()[0]
    table.close()
    lines = list(CaptionCache(folder).verify())
    assert len(lines) == 1 and key in lines[0]


def test_an_entry_that_is_nested_too_deeply_is_damaged(folder: Path) -> None:
    cache = CaptionCache(folder)
    key = cache.put(SPEC, AUDIO, CAPTION)
    (text,) = (cache._store.get(entry) for entry in cache._store)
    alter(
        folder,
        "UPDATE Cache SET value = ?",
        re.sub(r'"meta":\s*{', '"meta":{"x":' + "[" * 600 + "]" * 600 + ",", text),
    )
    with pytest.raises(CacheError, match=rf"{key}: the entry is damaged .*nested deeper"):
        cache.get(key)


def test_an_entry_under_anothers_key_is_never_served(folder: Path) -> None:
    cache = CaptionCache(folder)
    cache.put(SPEC, AUDIO, CAPTION)
    alter(folder, "UPDATE Cache SET key = 'b2:moved'")
    assert any("b2:moved" in line for line in CaptionCache(folder).verify())
    with pytest.raises(CacheError, match="b2:moved"):
        CaptionCache(folder).get("b2:moved")


def test_verify_takes_no_offence_at_what_a_checkout_keeps_beside_it(folder: Path) -> None:
    CaptionCache(folder).put(SPEC, AUDIO, CAPTION)
    for name in ("README.md", ".gitignore"):
        (folder / name).touch()
    assert list(CaptionCache(folder).verify()) == []


def test_several_processes_write_side_by_side(folder: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from cascade.captioning.cache import CaptionCache\n"
        "from cascade.types import *\n"
        "spec = CaptionerSpec(slot='speech', name='fake', version='1', params={})\n"
        "cache = CaptionCache(Path(sys.argv[1]))\n"
        "for n in range(30): cache.put(spec, f'b2:{sys.argv[2]}{n // 2}', Caption(text=str(n)))\n"
    )
    jobs = [subprocess.Popen([sys.executable, "-c", script, str(folder), name], cwd=ROOT) for name in "ab"]
    assert [job.wait(30) for job in jobs] == [0, 0]
    cache = CaptionCache(folder)
    assert len(cache) == 30 and list(cache.verify()) == []


def test_info(folder: Path) -> None:
    cache = CaptionCache(folder)
    cache.put(SPEC, AUDIO, CAPTION)
    cache.put(replace(SPEC, name="other"), AUDIO, CAPTION)
    info = cache.info()
    assert (info["folder"], info["captions"], info["engines"]) == (str(folder), 2, {"fake": 1, "other": 1})
    assert info["bytes"] > 0


def test_a_folder_that_cannot_hold_a_cache(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(CacheError, match=r"cannot be used as a cache .*; give --cache another folder"):
            CaptionCache(folder)
    (tmp_path / "cache.db").write_bytes(b"no table at all" * 100)
    with warnings.catch_warnings():
        # diskcache leaves a table that it cannot read to the collector.
        warnings.simplefilter("ignore", ResourceWarning)
        with pytest.raises(CacheError, match="cannot be used as a cache"):
            CaptionCache(tmp_path)
        gc.collect()


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "lustre", "fuse.sshfs", "beegfs"])
def test_a_network_file_system_is_refused_with_what_to_do(
    folder: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_file_system", lambda folder: kind)
    with pytest.raises(CacheError, match=rf"on a network file system \({kind}\).*give --cache a local folder"):
        CaptionCache(folder)
    assert not (folder / "cache.db").exists()


def test_a_table_that_another_process_holds_is_one_line(folder: Path) -> None:
    cache = CaptionCache(folder)
    cache.put(SPEC, AUDIO, CAPTION)
    holder = sqlite3.connect(folder / "cache.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    cache._store.close()
    cache._store._timeout = 0.05
    try:
        with pytest.raises(CacheError, match="a caption cannot be written"):
            cache.put(SPEC, "b2:other", CAPTION)
    finally:
        holder.execute("ROLLBACK")
        holder.close()


def test_an_entry_holds_no_more_than_it_says(folder: Path) -> None:
    CaptionCache(folder).put(SPEC, AUDIO, CAPTION)
    with closing(sqlite3.connect(folder / "cache.db")) as table:
        ((value,),) = table.execute("SELECT value FROM Cache")
    assert {"slot", "name", "version", "params", "audio", "text", "meta"} <= json.loads(value).keys()
    assert str(Path.cwd()) not in value
