"""Canonical JSON and tagged digests: the identity of captions, prompts, datasets and runs.

A digest is `"b2:"` and 32 hexadecimal digits of BLAKE2b with a 16-byte output; `b2sum -l 128 FILE` prints the same
digits for a file.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cascade.io.files import open_regular

_TAG = "b2:"
_BLOCK = 1 << 20


def canonical(value: Any, *, parsed: bool = False) -> str:
    """Return JSON text that is equal for equal values: sorted keys, no spaces, ASCII only.

    Raises TypeError for anything but plain JSON values (keys that are not text too), ValueError for NaN and infinities.
    """
    if not parsed:
        _refuse_odd_keys(value)
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _refuse_odd_keys(value: Any) -> None:
    """Raise TypeError for a key that is not text: JSON would make 1 and "1" equal."""
    if isinstance(value, dict):
        if odd := [key for key in value if not isinstance(key, str)]:
            raise TypeError(f"a key must be text, not {odd[0]!r}")
        value = list(value.values())
    if isinstance(value, list | tuple):
        for part in value:
            _refuse_odd_keys(part)


def digest(value: Any, *, parsed: bool = False) -> str:
    """Return the digest of a JSON value; a `parsed` one is of JSON text, so its keys are text and not checked."""
    return digest_bytes(canonical(value, parsed=parsed).encode("ascii"))


def digest_bytes(data: bytes) -> str:
    """Return the digest of bytes."""
    from hashlib import blake2b  # hashlib loads OpenSSL, and scoring needs no digest.

    return _TAG + blake2b(data, digest_size=16).hexdigest()


def digest_file(path: Path) -> str:
    """Return the digest of a file's bytes, read in blocks; raises OSError where it cannot be read."""
    from hashlib import blake2b

    return _TAG + _hash_file(path, blake2b(digest_size=16))


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes in hexadecimal; raises OSError where it cannot be read."""
    from hashlib import sha256

    return _hash_file(path, sha256())


def _hash_file(path: Path, state: Any) -> str:
    with open_regular(path) as file:
        while block := file.read(_BLOCK):
            state.update(block)
    return str(state.hexdigest())


def digest_path(path: Path) -> str:
    """Return the digest of a file, or of a folder as the sorted names and digests of the files in it."""
    if not path.is_dir():
        return digest_file(path)
    files = sorted(file for file in path.rglob("*") if file.is_file())
    return digest({file.relative_to(path).as_posix(): digest_file(file) for file in files})


def caption_key(slot: str, name: str, version: str, params: Any, audio: str, question: str = "") -> str:
    """Return the key of a caption: the engine with every parameter, in its slot, and the digest of the clip's bytes.

    `question` is the digest of question and choices where the caption depends on them, and otherwise not in the key.
    Path, batch, device and backend are not in it.
    """
    parts = {"slot": slot, "name": name, "version": version, "params": params, "audio": audio}
    if question:
        parts["question"] = question
    return digest(parts)
