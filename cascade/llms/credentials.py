"""Facts about a model without importing litellm: its provider, its entry in litellm's list, and its key.

Only providers whose key is an environment variable are listed here: a missing key is reported before captioning starts.
Clouds with several kinds of credentials, and the user's own servers, report a missing key at the first call.
"""

from __future__ import annotations

import json
import os
import re
import sys
from functools import cache
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from typing import Any

# Any of a provider's variables will do; messages name the first.
VARIABLES = {
    "openai": ("OPENAI_API_KEY",),
    "anthropic": ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"),
    "gemini": ("GEMINI_API_KEY", "GOOGLE_API_KEY"),
    "deepseek": ("DEEPSEEK_API_KEY",),
    "openrouter": ("OPENROUTER_API_KEY", "OR_API_KEY"),
    "mistral": ("MISTRAL_API_KEY", "MISTRAL_AZURE_API_KEY"),
    "groq": ("GROQ_API_KEY",),
    "xai": ("XAI_API_KEY",),
    "together_ai": ("TOGETHERAI_API_KEY", "TOGETHER_API_KEY", "TOGETHER_AI_API_KEY", "TOGETHER_AI_TOKEN"),
    "fireworks_ai": ("FIREWORKS_AI_API_KEY", "FIREWORKS_API_KEY", "FIREWORKSAI_API_KEY", "FIREWORKS_AI_TOKEN"),
    "deepinfra": ("DEEPINFRA_API_KEY",),
    "cerebras": ("CEREBRAS_API_KEY",),
    "perplexity": ("PERPLEXITYAI_API_KEY", "PERPLEXITY_API_KEY"),
    "cohere": ("COHERE_API_KEY", "CO_API_KEY"),
    "cohere_chat": ("COHERE_API_KEY", "CO_API_KEY"),
    "moonshot": ("MOONSHOT_API_KEY",),
    "dashscope": ("DASHSCOPE_API_KEY",),
    "nvidia_nim": ("NVIDIA_NIM_API_KEY",),
    "sambanova": ("SAMBANOVA_API_KEY",),
    "nebius": ("NEBIUS_API_KEY",),
    "novita": ("NOVITA_API_KEY",),
    "ai21": ("AI21_API_KEY",),
    "replicate": ("REPLICATE_API_KEY", "REPLICATE_API_TOKEN"),
}


def unserved(model: str) -> bool:
    """Return whether the model runs on a server of the user's own whose address is unknown."""
    return model.startswith("hosted_vllm/") and not os.environ.get("HOSTED_VLLM_API_BASE")


def provider(model: str) -> str | None:
    """Return the provider of a model, by its prefix or litellm's list; None where it is in neither."""
    prefix, slash, _ = model.partition("/")
    if slash and prefix in VARIABLES:
        return prefix
    return _model_list().get(model, {}).get("litellm_provider")


@cache
def _model_list() -> dict[str, dict[str, Any]]:
    """Read the list of models in litellm's package: this takes 40 ms, where importing litellm takes seconds."""
    file = package_file(find_spec("litellm"), "model_prices_and_context_window_backup.json")
    return dict(json.loads(file.read_bytes())) if file else {}


def package_file(package: ModuleSpec | None, pattern: str) -> Path | None:
    """Return the first file in a package's folder that matches the pattern, without importing the package."""
    folders = (package and package.submodule_search_locations) or ()
    return next((file for folder in folders for file in sorted(Path(folder).glob(pattern))), None)


def listed(model: str) -> dict[str, Any] | None:
    """Return the entry of a model in litellm's list (prices, longest reply), with or without its provider's prefix."""
    models = _model_list()
    return models.get(model) or models.get(model.partition("/")[2])


def takes_audio(model: str) -> bool:
    """Return whether a model takes audio, as far as litellm's list knows it; a model that is not in it may."""
    about = listed(model)
    if about is None or about.get("supports_audio_input"):
        return True
    return "audio" in about.get("supported_modalities", ()) or "input_cost_per_audio_token" in about


def missing(model: str) -> str:
    """Return the variable that should hold the model's key and is not set; `""` if none is known to be missing.

    The key may be in the .env file that litellm reads on import: in its package's folder, or the nearest parent folder.
    """
    names, package = VARIABLES.get(provider(model) or "", ()), find_spec("litellm")
    if not names or any(map(os.environ.get, names)):
        return ""
    if package and package.origin:
        import dotenv  # litellm depends on it.

        folder = Path.cwd()
        if hasattr(sys.modules["__main__"], "__file__"):  # In a notebook, which has none, the current folder is used.
            folder = Path(package.origin).parent
        files = [place / ".env" for place in (folder, *folder.parents) if (place / ".env").is_file()]
        if files and os.environ.get("LITELLM_MODE", "DEV") == "DEV":
            dotenv.load_dotenv(files[0])
    return "" if any(map(os.environ.get, names)) else names[0]


def unsendable(model: str, api_base: str | None = None) -> str:
    """Return which variable holds a key that is invalid in an HTTP header, and what the user must type, or `""`."""
    name = provider(model) or model.partition("/")[0]
    names = VARIABLES.get(name) or (f"{name.upper()}_API_KEY", *["OPENAI_API_KEY"] * (api_base is not None))
    for variable in names:
        if re.search(r"[^ -~]", os.environ.get(variable, "")):
            return f"{variable} holds a line break or another character that no header takes: export {variable}=…"
    return ""
