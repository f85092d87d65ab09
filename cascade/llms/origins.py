"""Addresses of endpoints, and the origin of a reply: the address that was asked, or the name of the provider.

An address is given by a flag or by a variable of the environment that litellm reads.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from ipaddress import ip_address
from urllib.parse import parse_qsl, urlsplit

from cascade.errors import UserError
from cascade.llms.credentials import provider
from cascade.llms.redaction import is_secret

# What litellm reads a provider's address from, before PROVIDER_API_BASE.
_OTHER_NAMES = {
    "openai": ("OPENAI_BASE_URL",),
    "text-completion-openai": ("OPENAI_BASE_URL", "OPENAI_API_BASE"),
    "huggingface": ("HF_API_BASE",),
    "anthropic": ("ANTHROPIC_API_BASE", "ANTHROPIC_BASE_URL"),
    "fireworks_ai": ("FIREWORKS_API_BASE",),
    "cohere_chat": ("COHERE_API_BASE",),
    "mistral": ("MISTRAL_AZURE_API_BASE",),
    "vertex_ai": ("VERTEXAI_API_BASE",),
}


def origin(model: str, api_base: str | None) -> str:
    """Return the address or, where none is given, the provider that is asked; `""` for a model that runs here."""
    return given(model, api_base) or _provider(model)


def given(model: str, api_base: str | None) -> str | None:
    """Return the address that a flag or the environment gives for a model; None leaves the provider's own.

    Raises UserError for what is no address.
    """
    if not (name := _provider(model)):
        return None
    variables = (*_OTHER_NAMES.get(name, ()), f"{name.upper().replace('-', '_')}_API_BASE")
    if api_base is None:
        option = next(filter(os.environ.get, variables), "")
        address = os.environ.get(option)
    else:
        option, address = "--api-base", api_base
    check_address(address, option, shown=api_base is not None)
    return address and without_secrets(address)


def is_loopback(api_base: str | None) -> bool:
    """Return whether an endpoint is on this machine."""
    host = (urlsplit(api_base).hostname if api_base else None) or ""
    with suppress(ValueError):
        return ip_address(host).is_loopback or ip_address(host).is_unspecified
    return host == "localhost" or host.endswith(".localhost")


def check_address(address: str | None, option: str, *, shown: bool = True) -> None:
    """Raise UserError for a text that is not an endpoint's address, and for an address that contains a key.

    A key in the query is allowed if the address is not `shown`, as that of an environment variable.
    """
    if address is None:  # An unset shell variable gives "" instead, which must not mean the provider's own address.
        return
    try:
        parts = urlsplit(address)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # raised for an unpaired bracket or an invalid port
        parts, usable = urlsplit(""), False
    in_query = shown and any(is_secret(name) for name, _ in parse_qsl(parts.query))
    if in_query or "@" in (parts.netloc or address):
        raise UserError(f"{option}: a key in an address would be shown; export the provider's variable instead")
    if not usable or not re.fullmatch(r"[!-~]+", address):
        raise UserError(f"{option} {address or '(empty)'}: this is no address; write http://HOST:PORT/v1")


def proxy_of(address: str) -> str:
    """Return " by the proxy ADDRESS" where the environment names one for an address, else `""`."""
    from urllib.request import getproxies, proxy_bypass  # The import takes 20 ms.

    parts, proxies = urlsplit(address), getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy or proxy_bypass(parts.hostname or ""):
        return ""
    return f" by the proxy {without_secrets(proxy)} (NO_PROXY={parts.hostname or '…'} goes around it)"


def without_secrets(address: str) -> str:
    """Return scheme, host, port and path of an address: user, query and fragment may hold a key."""
    parts = urlsplit(address)
    host = parts.netloc.rpartition("@")[2].lower()
    if host.endswith({"http": ":80", "https": ":443"}.get(parts.scheme, ":")):
        host = host.rpartition(":")[0]
    return f"{parts.scheme}://{host}{parts.path.rstrip('/')}"


def _provider(model: str) -> str:
    """Return the provider of a model; `""` for a model that runs here."""
    if model == "fake" or model.partition(":")[0] == "local":
        return ""
    return provider(model) or model.partition("/")[0]
