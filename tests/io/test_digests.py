"""Digests are pinned: if one of these changes, every cache and every run of the past is lost."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest

from cascade.io.digests import canonical, caption_key, digest, digest_bytes, digest_file, digest_path

PARAMS = {"b": [1, None, 0.5], "a": "naïve ♯", "t": True}


def test_canonical_json_is_sorted_tight_and_ascii() -> None:
    assert canonical(PARAMS) == '{"a":"na\\u00efve \\u266f","b":[1,null,0.5],"t":true}'


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        # Each by hashlib alone: blake2b(text, digest_size=16).
        (PARAMS, "b2:337b2b2c1733f446ce92a1414dc4c419"),
        ({}, "b2:2afb9b83f9314e5d029766197f539792"),
        ("", "b2:dd8a9e496bd8c69c5c77db4c77572fb0"),
        ("\ud800", "b2:d3d1891eb02519356ef0f0c6e4574825"),
    ],
)
def test_a_known_digest(value: Any, wanted: str) -> None:
    assert digest(value) == wanted


def test_a_known_caption_key() -> None:
    key = caption_key("speech", "fake", "1", {"text": "hello"}, "b2:00")
    assert key == "b2:6a0f467407d43bdfa384ee47caba9dfe"
    asked = caption_key("speech", "fake", "1", {"text": "hello"}, "b2:00", "b2:01")
    assert asked == "b2:f80de56c97aa17468bb44bc8b59cabc6"


def test_a_digest_does_not_depend_on_the_order_of_keys() -> None:
    assert digest({"a": {"x": 1, "y": 2}, "b": 3}) == digest({"b": 3, "a": {"y": 2, "x": 1}})
    assert digest([1, 2]) != digest([2, 1])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {"a": [float("-inf")]}])
def test_numbers_that_are_none_are_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        digest(value)


@pytest.mark.parametrize("value", [b"bytes", {1}, Path("/x"), object()])
def test_what_is_not_json_is_refused(value: Any) -> None:
    with pytest.raises(TypeError, match="not JSON serializable"):
        digest(value)


def test_keys_that_are_not_text_are_refused_rather_than_made_equal_to_text() -> None:
    with pytest.raises(TypeError):
        digest({1: "a"})


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        (b"", "b2:cae66941d9efbd404e4d88758ea67670"),
        (b"abc", "b2:cf4ab791c62b8d2b2109c90275287816"),
        (b"x" * ((1 << 20) + 1), "b2:98d9c0c648792f2dbce7b4a17090ecf9"),
    ],
)
def test_a_files_digest_is_what_b2sum_prints(tmp_path: Path, content: bytes, wanted: str) -> None:
    file = tmp_path / "clip"
    file.write_bytes(content)
    assert digest_file(file) == digest_bytes(content) == digest_path(file) == wanted


def test_a_folders_digest_is_that_of_its_files_wherever_it_lies(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder / "sub").mkdir(parents=True)
        (tmp_path / folder / "sub" / "b.bin").write_bytes(b"abc")
        (tmp_path / folder / "a.txt").write_bytes(b"")
    expected = digest(
        {"a.txt": "b2:cae66941d9efbd404e4d88758ea67670", "sub/b.bin": "b2:cf4ab791c62b8d2b2109c90275287816"}
    )
    assert digest_path(tmp_path / "one") == digest_path(tmp_path / "two") == expected
    (tmp_path / "two" / "a.txt").rename(tmp_path / "two" / "c.txt")
    assert digest_path(tmp_path / "two") != expected


def test_a_file_that_is_not_there_has_no_digest(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        digest_file(tmp_path / "none")
    with pytest.raises(OSError, match="No such file"):
        digest_path(tmp_path / "none")


def test_a_pipe_or_device_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        for path in (tmp_path / "pipe", tmp_path / "socket", Path("/dev/zero")):
            with pytest.raises(OSError, match="is not a regular file"):
                digest_file(path)
