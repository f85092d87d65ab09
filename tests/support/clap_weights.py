"""msclap's models at their real size with random weights, behind a GPT-2 of two layers and a tokenizer of bytes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cascade.captioners.clap.model import FILES, quietly, wrapper_class

WORDS = ["Ġa", "Ġth", "in", "er", "Ġs", "Ġthe", "Ġsound", "Ġof", "Ġmusic", "Ġdog", "Ġrain", "<|endoftext|>"]


def write(folder: Path, seed: int = 0, *, layers: int = 2, words: int = 0, lively: bool = False) -> Path:
    """Both checkpoints and `gpt2/` in a folder, as `weights=DIR` wants them.

    `layers` and `words` (a vocabulary's size, at least) are GPT-2's; `lively` makes its beams differ.
    """
    import torch

    torch.manual_seed(seed)
    _gpt2(folder / "gpt2", layers, words, lively)
    for kind, name in FILES.items():
        model = _untrained(kind, folder / "gpt2")
        torch.save({"model": model.state_dict()}, folder / name)
    return folder


def _gpt2(folder: Path, layers: int, words: int, lively: bool) -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    alphabet = sorted(_alphabet())
    known = [*alphabet, "Ġt", "th", *WORDS]
    vocabulary = {token: at for at, token in enumerate([*known, *(f"w{at}" for at in range(len(known), words))])}
    folder.mkdir(parents=True)
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\nĠ a\ni n\ne r\nĠ s\nĠ t\nt h\nĠt h\n")
    config: Any = GPT2Config
    model: Any = GPT2LMHeadModel
    made = model(config(vocab_size=len(vocabulary), n_layer=layers, bos_token_id=0, eos_token_id=0))
    if lively:
        loud = made.transformer.ln_f.weight.data
        loud += 8 * loud.new_empty(len(loud)).normal_()
    made.save_pretrained(folder)
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "GPT2Tokenizer"}))


def _alphabet() -> list[str]:
    from transformers.models.gpt2.tokenization_gpt2 import bytes_to_unicode

    return list(bytes_to_unicode().values())


def _untrained(kind: str, gpt2: Path) -> Any:
    """The model that msclap itself would build before it loads weights."""
    import torch

    empty = gpt2.parent / "empty.pth"
    torch.save({"model": {}}, empty)
    with quietly():
        wrapper = wrapper_class(gpt2)(model_fp=empty, version=kind, use_cuda=False)
    empty.unlink()
    return wrapper.clapcap if kind == "clapcap" else wrapper.clap
