"""OpenAI's Whisper models, loaded, checked and converted to an arithmetic. A checkpoint is data: no code in it runs."""

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
    """Return the model of that name, or of the checkpoint that the host has for it.

    Raises UnknownName for a size that does not exist, UserError for what cannot be fetched or is no checkpoint.
    """
    import whisper

    path = host.files.get(name)
    if path is None and name not in whisper.available_models():
        raise UnknownName("model", name, whisper.available_models(), "or give a checkpoint: speech.model=PATH")
    try:
        with quietly():
            model = whisper.load_model(str(path or name), device="cpu")
            decoder.load_tokenizer(model)
    except torch_device.DAMAGED as error:
        reason = f"({type(error).__name__}: {' '.join(str(error).split())[:120]})"
        if path is None or isinstance(error, OSError):
            raise UserError(
                f"whisper's {name!r} cannot be fetched {reason}; give a checkpoint: "
                "--caption-param speech.model=/path/to/model.pt, or use --captions speech=faster-whisper"
            ) from None
        raise UserError(f"speech.model={path}: no Whisper checkpoint {reason}") from None
    # A sparse buffer, which some devices cannot hold; only word times would need it.
    model.register_buffer("alignment_heads", model.alignment_heads.to_dense(), persistent=False)
    return convert(compute, model).to(device).eval()


def convert(compute: str, model: Any) -> Any:
    """Return the model with its weights in that arithmetic; the norms stay in float32, as Whisper computes them."""
    import torch

    if compute == "float16":
        model.half()
        for module in model.modules():
            if isinstance(module, torch.nn.LayerNorm):
                module.float()
    return model


@contextmanager
def quietly() -> Iterator[None]:
    """Hide whisper's progress bar where stderr is no terminal, and warnings of files that it leaves open."""
    hidden = nullcontext() if sys.stderr.isatty() else redirect_stderr(io.StringIO())
    with warnings.catch_warnings(), hidden:
        warnings.simplefilter("ignore")
        yield
