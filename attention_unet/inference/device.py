"""Where and in which precision to compute."""

import torch

from attention_unet.errors import ConfigError


def choose_device(name: str) -> torch.device:
    """Device by name; "auto" takes CUDA, then MPS, then the CPU.

    Raises:
        ConfigError: if a device asked for by name is not there.
    """
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return torch.device(next(kind for kind in there if there[kind]))
    if not there.get(name, False):
        raise ConfigError(
            f"--device {name}: not there on this machine: expected one of {[k for k in there if there[k]]}"
        )
    return torch.device(name)


def precision_of(name: str, device: torch.device) -> torch.dtype:
    """Precision by name, "auto", "bfloat16" or "float32"; "auto" is bfloat16 where the hardware computes in it."""
    if name != "auto":
        return {"bfloat16": torch.bfloat16, "float32": torch.float32}[name]
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    elif device.type == "cpu":
        fast = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    else:
        fast = False
    return torch.bfloat16 if fast else torch.float32
