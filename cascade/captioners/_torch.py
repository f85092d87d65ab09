"""Where torch computes: the device that was asked for, and how many threads."""

from __future__ import annotations

from cascade.errors import UserError
from cascade.types import Host


def device(host: Host) -> str:
    """The device's name for torch; `auto` is CUDA where there is one, else Apple's GPU, else the processor.

    Sets torch's threads where the host names a number. Raises UserError for a device that is not here.
    """
    import torch

    if host.threads:
        torch.set_num_threads(host.threads)
    if host.device == "auto":
        return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.empty(1, device=host.device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = " ".join(str(error).split())[:120]
        raise UserError(f"--device {host.device}: torch cannot use it here ({reason}); try --device cpu") from None
    return host.device


def accelerators() -> str:
    """The GPUs that torch can use here, by name, or `""`."""
    import torch

    if torch.cuda.is_available():
        return ", ".join(torch.cuda.get_device_name(at) for at in range(torch.cuda.device_count()))
    return "Apple's GPU" if torch.backends.mps.is_available() else ""
