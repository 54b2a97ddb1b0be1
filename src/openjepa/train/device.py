"""Which device and which precision a run computes in."""

from contextlib import AbstractContextManager, nullcontext

import torch

from openjepa.errors import ConfigError


def pick_device(wanted: str, *, local_rank: int = 0) -> torch.device:
    """Returns the device of this process; "auto" takes CUDA, else MPS, else the CPU.

    Raises:
        ConfigError: for a device that this machine does not have.
    """
    present = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if wanted == "auto":
        wanted = next(name for name in ("cuda", "mps", "cpu") if present[name])
    if not present[wanted]:
        here = ", ".join(name for name, there in present.items() if there)
        raise ConfigError(f"`device` must be one that PyTorch finds here ({here}); got {wanted!r}.")
    if wanted == "cuda":
        return torch.device("cuda", local_rank)
    return torch.device(wanted)


def seed_device(device: torch.device, seed: int) -> None:
    """Seeds the default generators that a loss on `device` may draw from (dropout, for example).

    `torch.manual_seed` does the same for every kind of device, and costs more than a small step.
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
    elif device.type == "mps":
        torch.mps.manual_seed(seed)


def computes_bf16(device: torch.device) -> bool:
    """Whether the hardware multiplies in bfloat16, so that autocast gains time instead of losing it."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return False


def pick_precision(wanted: str, device: torch.device) -> str:
    """Returns "bf16" or "fp32"."""
    if wanted == "auto":
        return "bf16" if computes_bf16(device) else "fp32"
    return wanted


def autocast(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """Returns the context that the loss is computed in; weights and optimiser stay in float32."""
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)
