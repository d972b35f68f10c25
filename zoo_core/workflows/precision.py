"""What bf16 costs where a training runs."""

import platform
from collections.abc import Sequence

import torch

from zoo_core.workflows.recipe import Stage

__all__ = ["multiplies_bf16", "remark_on_bf16"]


def multiplies_bf16(device: torch.device) -> bool:
    """Whether the device has instructions for products in bf16; of a CPU other than x86, unknown,
    it is taken to have them."""
    if device.type != "cpu" or platform.machine().lower() not in ("x86_64", "amd64"):
        return True
    found = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return bool(found)


def remark_on_bf16(stages: Sequence[Stage], device: torch.device) -> str | None:
    """What to say before a training in bf16 that float32 would make faster."""
    wanted = any(stage.train.precision == "bf16" for stage in stages)
    if not wanted or multiplies_bf16(device):
        return None
    return (
        "this CPU has no instructions for bf16 (AVX512-BF16 or AMX), in which this recipe trains: "
        "it takes several times as long as float32 (--set train.precision=no)"
    )
