"""msclap's models, loaded whole and checked: what the CLAP engines share.

What is decided here, and differs from `msclap.CLAP`:

1. A checkpoint must have every weight of the model and no other; msclap loads whatever fits.
2. GPT-2 comes from the weights' own folder, or from a pinned revision on the hub.

Importing msclap silences all warnings of the process, and fails where torchaudio cannot be imported, which it needs for
decoding only: both are undone.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from cascade.captioners import torch_device
from cascade.errors import UserError
from cascade.io.digests import digest
from cascade.types import Host

if TYPE_CHECKING:
    from cascade.io.audio import Samples

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
class Tagging:
    """What may change the tags of `clap-sound` and `clap-music`, which say how many there are.

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
        """`kind` is "2023" or "clapcap". Raises UserError where the weights cannot be had or are not the model's."""
        self.device = torch_device.device(host)
        folder = host.files.get(weights)
        checkpoint, gpt2 = _local(folder, FILES[kind], slot) if folder else _fetched(FILES[kind], revision, slot)
        self.wrapper = _wrapper(kind, checkpoint, gpt2, slot)
        self.model = self.wrapper.clapcap if kind == "clapcap" else self.wrapper.clap
        self.model.to(self.device)
        self.identity = [weights or REPOSITORY, "" if weights else revision, FILES[kind]]
        self.about = {
            "device": self.device,
            "weights": folder.name if folder else REPOSITORY,
            **{name: version(name) for name in ("msclap", "torch", "transformers")},
        }

    @property
    def fixed(self) -> bool:
        """Whether the shape of what is computed together stays the same, however many windows there are."""
        return self.device != "cpu"

    def heard(self, samples: Samples) -> Any:
        """The audio embeddings of windows of shape (windows, samples of 7 s at 44.1 kHz), shape (windows, width)."""
        import torch

        encoder = self.model.clap if hasattr(self.model, "clap") else self.model.audio_encoder
        with torch.no_grad():
            return encoder(torch.from_numpy(samples).to(self.device))[0]

    def likeness(self, samples: Samples, texts: Any) -> Samples:
        """The scaled cosine similarity of each window to each text embedding, shape (windows, texts)."""
        import numpy as np
        import torch

        with torch.no_grad():
            sound = torch.nn.functional.normalize(self.heard(samples), dim=-1)
            scaled = self.model.logit_scale.exp() * sound @ torch.from_numpy(texts).to(self.device).T
        return np.asarray(scaled.float().cpu().numpy())

    def embedded(self, texts: Sequence[str], scratch: Path | None) -> Samples:
        """The normalised embedding of each text, shape (texts, width): kept in `scratch`, where there is one."""
        from cascade.captioners.clap import embedding_cache

        name = digest([*self.identity, version("msclap"), list(texts)]).removeprefix("b2:")
        found = embedding_cache.load(scratch, name, len(texts)) if scratch else None
        if found is None:
            found = self._embed(texts)
            if scratch:
                embedding_cache.save(scratch, name, found)
        return found

    def _embed(self, texts: Sequence[str]) -> Samples:
        import numpy as np
        import torch

        parts = []
        for start in range(0, len(texts), TEXTS):
            some = list(texts[start : start + TEXTS])
            full = some + some[-1:] * (TEXTS - len(some))
            with _quietly():
                tokens = {key: value.to(self.device) for key, value in self.wrapper.preprocess_text(full).items()}
            with torch.no_grad():
                parts.append(self.model.caption_encoder(tokens)[: len(some)])
        return np.asarray(torch.nn.functional.normalize(torch.cat(parts), dim=-1).float().cpu().numpy())


# Loading


def _local(folder: Path, checkpoint: str, slot: str) -> tuple[Path, Path]:
    wanted = [folder / checkpoint, folder / "gpt2" / "config.json"]
    lacking = [path.relative_to(folder).as_posix() for path in wanted if not path.is_file()]
    if lacking:
        raise UserError(f"{slot}.weights={folder}: lacks {' and '.join(lacking)}; it needs {checkpoint} and gpt2/")
    return folder / checkpoint, folder / "gpt2"


def _fetched(checkpoint: str, revision: str, slot: str) -> tuple[Path, Path]:
    from huggingface_hub import hf_hub_download, snapshot_download

    try:
        files = ["config.json", "model.safetensors", "vocab.json", "merges.txt", "tokenizer.json"]
        gpt2 = snapshot_download(GPT2[0], revision=GPT2[1], allow_patterns=files)
        return Path(hf_hub_download(REPOSITORY, checkpoint, revision=revision)), Path(gpt2)
    except (OSError, ValueError) as error:
        raise UserError(
            f"{checkpoint} of {REPOSITORY} and {GPT2[0]} cannot be had from the hub ({type(error).__name__}); put both "
            f"into a folder, GPT-2 as gpt2/ in it: --caption-param {slot}.weights=DIR"
        ) from None


def absent(kind: str, params: Any, host: Host) -> tuple[str, str] | None:
    """What is to be fetched before the first clip, and from where; None where the weights are here."""
    from huggingface_hub import hf_hub_url, try_to_load_from_cache

    wanted = [(REPOSITORY, FILES[kind], params.revision), (GPT2[0], "model.safetensors", GPT2[1])]
    for repository, file, at in wanted:
        if params.weights not in host.files and not try_to_load_from_cache(repository, file, revision=at):
            address = hf_hub_url(REPOSITORY, FILES[kind], endpoint=os.environ.get("HF_ENDPOINT"))
            return f"{FILES[kind]} and GPT-2; or give weights=DIR, which holds both", address
    return None


def _wrapper(kind: str, checkpoint: Path, gpt2: Path, slot: str) -> Any:
    """msclap's own object over these weights."""
    import torch

    place = f"{slot}.weights: {checkpoint}"
    try:
        # weights_only: a checkpoint is data, whoever made it.
        with _quietly():
            state = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=_zipped(checkpoint))["model"]
            wrapper = _class(gpt2)(model_fp=checkpoint, version=kind, use_cuda=False)
    except torch_device.DAMAGED as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{place}: cannot be loaded as {kind} ({type(error).__name__}: {reason})") from None
    _check(state, (wrapper.clapcap if kind == "clapcap" else wrapper.clap).state_dict(), place)
    return wrapper


def _zipped(path: Path) -> bool:
    """Whether a checkpoint is of torch's newer kind, which can be mapped instead of read."""
    with path.open("rb") as file:
        return file.read(2) == b"PK"


def _check(given: dict[str, Any], wanted: dict[str, Any], place: str) -> None:
    """msclap loads with strict=False: weights of another model would go unseen, and the captions be fluent nonsense."""
    missing = sorted(name for name in wanted.keys() - given.keys() if not name.endswith(_TABLES))
    missing = [name for name in missing if not name.startswith(_GPT2)]
    unexpected = sorted(name for name in given.keys() - wanted.keys() if not name.endswith(_TABLES))
    for kind, names in (("lacks", missing), ("has unknown", unexpected)):
        if names:
            raise UserError(
                f"{place}: {kind} weights: {', '.join(names[:3])} ({len(names)} in all); it is another model's"
            )


def _class(gpt2: Path) -> Any:
    """msclap's wrapper, with GPT-2 taken from a folder."""
    with _importable():
        from msclap.CLAPWrapper import CLAPWrapper

    class Wrapper(CLAPWrapper):  # type: ignore[misc]  # msclap has no types
        def read_config_as_args(self, *given: Any, **named: Any) -> Any:
            args = super().read_config_as_args(*given, **named)
            for name in ("text_model", "text_decoder"):
                if hasattr(args, name):
                    setattr(args, name, _Name(gpt2))
            return args

    return Wrapper


class _Name(str):
    """A folder's path that says "gpt" of itself wherever it lies: msclap tells models apart by their names."""

    __slots__ = ()

    def __new__(cls, path: Path) -> _Name:
        return super().__new__(cls, str(path))

    def __contains__(self, part: object) -> bool:
        return part == "gpt"


@contextmanager
def _quietly() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def _importable() -> Iterator[None]:
    """With something in torchaudio's place while msclap is imported, and what the import changes put back."""
    from transformers.utils import logging

    verbosity = logging.get_verbosity()
    stand_ins = [] if _imports("torchaudio") else ["torchaudio", "torchaudio.transforms"]
    for name in stand_ins:
        sys.modules[name] = ModuleType(name)
        sys.modules[name].__spec__ = ModuleSpec(name, None)
    if stand_ins:
        sys.modules["torchaudio"].transforms = sys.modules["torchaudio.transforms"]  # type: ignore[attr-defined]
    try:
        with _quietly():
            yield
    finally:
        logging.set_verbosity(verbosity)
        for name in stand_ins:
            del sys.modules[name]


def _imports(name: str) -> bool:
    try:
        with _quietly():
            __import__(name)
    except (ImportError, OSError):
        return False
    return True
