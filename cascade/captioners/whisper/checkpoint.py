"""OpenAI's Whisper models, loaded, checked and put into an arithmetic. A checkpoint is data: no code in it is run."""

from __future__ import annotations

import io
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stderr
from typing import Any

from cascade.captioners import torch_device
from cascade.captioners.whisper import decoder
from cascade.errors import UnknownName, UserError
from cascade.types import Host


def load_checkpoint(name: str, host: Host, device: str, compute: str) -> Any:
    """The model of that name, or of the checkpoint that the host has for it.

    Raises UnknownName for a size that does not exist, UserError for what cannot be fetched or is no checkpoint.
    """
    import whisper

    path = host.files.get(name)
    if path is None and name not in whisper.available_models():
        raise UnknownName("model", name, whisper.available_models(), "or give a checkpoint: speech.model=PATH")
    try:
        with quietly():
            model = whisper.load_model(str(path or name), device="cpu")
            decoder.tokenizer(model)
    except OSError as error:
        raise UserError(_unreachable(name, error)) from None
    except torch_device.DAMAGED as error:
        if path is None:
            raise UserError(_unreachable(name, error)) from None
        reason = " ".join(str(error).split())[:120]
        raise UserError(f"speech.model={path}: no Whisper checkpoint ({type(error).__name__}: {reason})") from None
    # A sparse buffer, which some devices cannot hold; only word times would need it.
    model.register_buffer("alignment_heads", model.alignment_heads.to_dense(), persistent=False)
    return computing(compute, model).to(device).eval()


def computing(compute: str, model: Any) -> Any:
    """The model with its weights in that arithmetic; the norms stay in float32, as Whisper computes them."""
    import torch

    if compute == "float16":
        model.half()
        for part in model.modules():
            if isinstance(part, torch.nn.LayerNorm):
                part.float()
    return model


@contextmanager
def quietly() -> Iterator[None]:
    """Without whisper's bar where nobody watches, and without warnings of files that it leaves open."""
    with warnings.catch_warnings(), nullcontext() if sys.stderr.isatty() else redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


def _unreachable(name: str, error: Exception) -> str:
    return (
        f"whisper's {name!r} cannot be fetched ({type(error).__name__}: {' '.join(str(error).split())[:120]}); "
        "give a checkpoint: --caption-param speech.model=/path/to/model.pt, or use --captions speech=faster-whisper"
    )


def check_language(language: str, name: str, model: Any) -> None:
    """Raise UnknownName for a language that the model does not hear."""
    from whisper.tokenizer import LANGUAGES

    known = LANGUAGES if model.is_multilingual else ["en"]
    if language and language not in known:
        raise UnknownName("language", language, known, f"for the model {name!r}")
