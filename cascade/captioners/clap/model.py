"""msclap's models, loaded whole and checked: what the CLAP engines share.

What differs from `msclap.CLAP`:

1. A checkpoint must have every weight of the model and no other; msclap loads whatever fits.
2. GPT-2 comes from the weights' own folder, or from a pinned revision on the hub.

Importing msclap silences all warnings of the process, and fails where torchaudio, which it needs for decoding only,
cannot be imported. Both are undone.
"""

from __future__ import annotations

import io
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

from cascade.captioners import torch_device
from cascade.datasets import hub
from cascade.errors import UserError
from cascade.io import audio
from cascade.io.digests import digest, digest_bytes, digest_file
from cascade.io.files import write_bytes
from cascade.types import Host

NEEDS = dict.fromkeys(
    ("msclap", "transformers", "huggingface_hub", "soundfile", "av", "soxr"), "pip install 'audio-cascade[clap]'"
)
TEXTS = 16  # embedded together, always

REPOSITORY = "microsoft/msclap"
FILES = {"2023": "CLAP_weights_2023.pth", "clapcap": "clapcap_weights_2023.pth"}
GPT2 = ("openai-community/gpt2", "607a30d783dfa663caf39e06633721c8d4cfcd7e")
# Tables that follow from the shapes alone, and counters: nothing is learned in them, and checkpoints may lack them.
_TABLES = (".attn.bias", ".attn.masked_bias", ".position_ids", ".relative_position_index", ".attn_mask", "_tracked")
# GPT-2 was frozen in training: where a checkpoint leaves it out, it is the one that was loaded with the model.
_GPT2 = ("gpt.", "caption_encoder.base.")


@dataclass(frozen=True, slots=True, kw_only=True)
class TaggingParams:
    """What may change the tags of `clap-sound` and `clap-music`, which add how many there are.

    `weights`: a folder that holds `CLAP_weights_2023.pth` and `gpt2/`; "" is the hub's microsoft/msclap.
    `revision`: of that repository.
    `compute`: the arithmetic, float32.
    `vocabulary`: a file of your own; its digest stands in the spec, the shipped file's too.
    """

    weights: str = ""
    revision: str = "main"
    compute: str = "float32"
    vocabulary: str = ""


class Clap:
    """One of msclap's models, ready: `device`, `wrapper` (msclap's own object), and `about` for a caption's meta."""

    def __init__(self, kind: str, weights: str, revision: str, host: Host, slot: str) -> None:
        """Load the model. `kind` is "2023" or "clapcap".

        Raises UserError if the weights are missing or belong to another model.
        """
        self.device = torch_device.prepare(host)
        folder = host.files.get(weights)
        checkpoint, gpt2 = _weights(folder, FILES[kind], revision, slot)
        self.wrapper, self.model = _load(kind, checkpoint, gpt2, slot)
        self.model.to(self.device)
        self.identity = [weights or REPOSITORY, "" if weights else revision, FILES[kind]]
        self.about = {
            "compute": "float32",
            "device": self.device,
            "weights": folder.name if folder else REPOSITORY,
            **{name: version(name) for name in ("msclap", "torch", "transformers")},
        }

    @property
    def fixed(self) -> bool:
        """Whether every batch has the same shape, for any number of windows."""
        return self.device != "cpu"

    def embed_audio(self, samples: audio.Samples) -> Any:
        """Return the audio embeddings, shape (windows, width), of windows of 7 s at 44.1 kHz, (windows, samples)."""
        import torch

        encoder = self.model.clap if hasattr(self.model, "clap") else self.model.audio_encoder
        with torch.no_grad():
            return encoder(torch.from_numpy(samples).to(self.device))[0]

    def embed_texts(self, texts: Sequence[str], folder: Path | None) -> audio.Samples:
        """Return the normalised embedding of each text, shape (texts, width).

        They are kept in `folder`, if given, in a file whose name ends in the digest of its content.
        """
        import numpy as np
        import torch

        name = digest([*self.identity, version("msclap"), list(texts)]).removeprefix("b2:")
        files = folder.glob(f"{name}-*.npy") if folder else ()
        for file in files:
            with suppress(OSError, ValueError, EOFError):
                if file.stem == f"{name}-{digest_file(file).removeprefix('b2:')}":
                    array: audio.Samples = np.load(file, allow_pickle=False)
                    if len(array) == len(texts):
                        return array
        parts = []
        for start in range(0, len(texts), TEXTS):
            batch = list(texts[start : start + TEXTS])
            full = batch + batch[-1:] * (TEXTS - len(batch))
            with quietly():
                tokens = {key: value.to(self.device) for key, value in self.wrapper.preprocess_text(full).items()}
            with torch.no_grad():
                parts.append(self.model.caption_encoder(tokens)[: len(batch)])
        embeddings = np.asarray(torch.nn.functional.normalize(torch.cat(parts), dim=-1).float().cpu().numpy())
        if folder:
            buffer = io.BytesIO()
            np.save(buffer, embeddings, allow_pickle=False)
            content = buffer.getvalue()
            # Where the folder cannot be written, the next start computes them again.
            with suppress(OSError):
                folder.mkdir(parents=True, exist_ok=True)
                write_bytes(folder / f"{name}-{digest_bytes(content).removeprefix('b2:')}.npy", content)
        return embeddings


def absent(kind: str, params: Any, host: Host) -> tuple[str, str] | None:
    """Return what is to be fetched before the first clip and from where; None where the weights are here."""
    from huggingface_hub import hf_hub_url, try_to_load_from_cache

    if params.weights in host.files:
        return None
    wanted = [(REPOSITORY, FILES[kind], params.revision), (GPT2[0], "model.safetensors", GPT2[1])]
    if all(try_to_load_from_cache(name, file, revision=revision) for name, file, revision in wanted):
        return None
    address = hf_hub_url(REPOSITORY, FILES[kind], endpoint=os.environ.get("HF_ENDPOINT"))
    return f"{FILES[kind]} and GPT-2; or give --caption-param SLOT.weights=DIR, which holds both", address


def _weights(folder: Path | None, checkpoint: str, revision: str, slot: str) -> tuple[Path, Path]:
    """Return the checkpoint's path and GPT-2's folder: in a local folder, else from the hub or its cache."""
    if folder:
        if missing := [name for name in (checkpoint, "gpt2/config.json") if not (folder / name).is_file()]:
            raise UserError(f"{slot}.weights={folder}: lacks {' and '.join(missing)}; it needs {checkpoint} and gpt2/")
        return folder / checkpoint, folder / "gpt2"
    from huggingface_hub import hf_hub_download, snapshot_download

    try:
        files = ["config.json", "model.safetensors", "vocab.json", "merges.txt", "tokenizer.json"]
        gpt2 = snapshot_download(GPT2[0], revision=GPT2[1], allow_patterns=files)
        return Path(hf_hub_download(REPOSITORY, checkpoint, revision=revision)), Path(gpt2)
    except (OSError, ValueError) as error:
        raise UserError(
            f"{checkpoint} of {REPOSITORY} and {GPT2[0]} cannot be had from the hub ({hub.reason(error)}); put both "
            f"into a folder, GPT-2 as gpt2/ in it: --caption-param {slot}.weights=DIR"
        ) from None


def _load(kind: str, checkpoint: Path, gpt2: Path, slot: str) -> tuple[Any, Any]:
    """Return msclap's own object over these weights, and the model in it."""
    import torch

    place = f"{slot}.weights: {checkpoint}"
    try:
        with checkpoint.open("rb") as file:
            is_zip = file.read(2) == b"PK"  # torch's newer kind, which can be mapped instead of read
        # weights_only: a checkpoint is data, whoever made it.
        with quietly():
            state = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=is_zip)["model"]
            wrapper = wrapper_class(gpt2)(model_fp=checkpoint, version=kind, use_cuda=False)
    except torch_device.DAMAGED as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{place}: cannot be loaded as {kind} ({type(error).__name__}: {reason})") from None
    model = wrapper.clapcap if kind == "clapcap" else wrapper.clap
    # msclap loads with strict=False: another model's weights would go unnoticed, and the captions be fluent nonsense.
    wanted = {name for name in model.state_dict() if not name.endswith(_TABLES)}
    present = {name for name in state if not name.endswith(_TABLES)}
    missing = {name for name in wanted - present if not name.startswith(_GPT2)}
    for problem, names in (("lacks", sorted(missing)), ("has unknown", sorted(present - wanted))):
        if names:
            listed = f"{', '.join(names[:3])} ({len(names)} in all)"
            raise UserError(f"{place}: {problem} weights: {listed}; it is another model's")
    return wrapper, model


def wrapper_class(gpt2: Path) -> Any:
    """Return msclap's wrapper class, changed to take GPT-2 from a folder."""
    from transformers.utils import logging

    # msclap is made importable without torchaudio, and what its import changes is undone.
    verbosity = logging.get_verbosity()
    stand_ins: dict[str, ModuleType] = {}
    with quietly():
        try:
            __import__("torchaudio")
        except (ImportError, OSError):
            stand_ins = {name: ModuleType(name) for name in ("torchaudio", "torchaudio.transforms")}
            for name, module in stand_ins.items():
                module.__spec__ = ModuleSpec(name, None)
            vars(stand_ins["torchaudio"])["transforms"] = stand_ins["torchaudio.transforms"]
        sys.modules.update(stand_ins)
        try:
            from msclap.CLAPWrapper import CLAPWrapper
        finally:
            logging.set_verbosity(verbosity)
            for name in stand_ins:
                del sys.modules[name]

    class Wrapper(CLAPWrapper):  # type: ignore[misc]  # msclap has no types
        def read_config_as_args(self, *given: Any, **named: Any) -> Any:
            args = super().read_config_as_args(*given, **named)
            for name in ("text_model", "text_decoder"):
                if hasattr(args, name):
                    setattr(args, name, _ModelName(str(gpt2)))
            return args

    return Wrapper


class _ModelName(str):
    """A folder's path that contains "gpt" wherever it lies: msclap tells models apart by their names."""

    __slots__ = ()

    def __contains__(self, part: object) -> bool:
        return part == "gpt"


@contextmanager
def quietly() -> Iterator[None]:
    """Hide warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
