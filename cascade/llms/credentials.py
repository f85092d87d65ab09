"""Which variable holds a provider's key, known without importing litellm: a missing key shows before a clip is heard.

Only providers whose key is nothing but a variable of the environment stand here. Clouds with a chain of credentials
and servers of one's own say at the first answer what they lack.
"""

from __future__ import annotations

import json
import os
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from cascade.errors import UserError
from cascade.llms.redaction import is_secret

# Any one of a provider's variables will do; the first is the one that is told.
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


LOOPBACK = ("127.0.0.1", "localhost", "::1")
# Servers of one's own, and the variable that may say where they are.
SERVERS = {"hosted_vllm": "HOSTED_VLLM_API_BASE"}


def is_loopback(api_base: str | None) -> bool:
    """Whether an endpoint is on this machine."""
    return api_base is not None and urlsplit(api_base).hostname in LOOPBACK


def check_address(given: str | None, option: str) -> None:
    """Raise UserError for what is no address of an endpoint, and for one that holds a key: it would be shown."""
    parts = urlsplit("http://-" if given is None else given)  # an unset variable's "" must not mean the provider's own
    if "@" in (parts.netloc or given or "") or any(is_secret(name) for name, _ in parse_qsl(parts.query)):
        raise UserError(f"{option}: a key in an address would be shown; export the provider's variable instead")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UserError(f"{option} {given or '(empty)'}: this is no address; write http://HOST:PORT/v1")


def unserved(model: str) -> bool:
    """Whether the model is to be served by oneself, and nothing says where."""
    variable = SERVERS.get(model.partition("/")[0])
    return variable is not None and not os.environ.get(variable)


def provider(model: str) -> str | None:
    """Who serves the model of that name, by its prefix or litellm's own list; None where neither says."""
    prefix, slash, _ = model.partition("/")
    return prefix if slash and prefix in VARIABLES else _map().get(model, {}).get("litellm_provider")


@cache
def _map() -> dict[str, dict[str, Any]]:
    """litellm's list of models, as it lies in the package: 40 ms, where importing it takes seconds."""
    found = find_spec("litellm")
    for folder in found.submodule_search_locations or () if found else ():
        file = Path(folder) / "model_prices_and_context_window_backup.json"
        if file.exists():
            return dict(json.loads(file.read_bytes()))
    return {}


def listed(model: str) -> dict[str, Any] | None:
    """What litellm's list says of a model (prices, longest reply), with or without its provider's prefix."""
    known = _map()
    return known.get(model) or known.get(model.partition("/")[2])


def missing(model: str) -> str:
    """The variable that should hold the key and does not; `""` where the key is there, or none can be asked for."""
    names = VARIABLES.get(provider(model) or "", ())
    return names[0] if names and not any(os.environ.get(name) for name in names) else ""
