"""Whether the device computes in bf16 natively."""

import platform
from collections.abc import Sequence

import torch

from zoo_core.workflows.recipe import Stage

__all__ = ["multiplies_bf16", "remark_on_bf16"]


def multiplies_bf16(device: torch.device) -> bool:
    """Whether the device has bf16 matrix instructions; assumed for CPUs other than x86."""
    if device.type != "cpu" or platform.machine().lower() not in ("x86_64", "amd64"):
        return True
    supported = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return bool(supported)


def remark_on_bf16(stages: Sequence[Stage], device: torch.device) -> str | None:
    """A remark if a stage trains in bf16 and the device would be faster in float32."""
    uses_bf16 = any(stage.train.precision == "bf16" for stage in stages)
    if not uses_bf16 or multiplies_bf16(device):
        return None
    return (
        "this CPU has no instructions for bf16 (AVX512-BF16 or AMX), in which this recipe trains: "
        "it takes several times as long as float32 (--set train.precision=no)"
    )
