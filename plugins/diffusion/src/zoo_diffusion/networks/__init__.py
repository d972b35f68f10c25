"""Networks m(x_t, time, label) -> (B, *S): an MLP for a few reals, a U-Net for images."""

from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from zoo_core.plugin import ConfigError
from zoo_diffusion.conditioning import label
from zoo_diffusion.fourier_features import fourier_features
from zoo_diffusion.networks.mlp import MLP, MLPConfig
from zoo_diffusion.networks.unet import UNet, UNetConfig

__all__ = ["MLP", "MLPConfig", "NetworkConfig", "UNet", "UNetConfig", "apply", "build"]

NetworkConfig = MLPConfig | UNetConfig


def build(
    config: NetworkConfig, shape: tuple[int, ...], *, inputs: int | None = None, labels: int = 0
) -> nn.Module:
    """The network of a config for events of a shape; `inputs` channels come in (default: C).

    `labels` is the size of the label's embedding, 0 for none.
    """
    if isinstance(config, MLPConfig):
        return MLP(config, shape, (inputs or shape[0]) * prod(shape[1:]), labels)
    if len(shape) != 3:
        raise ConfigError(
            f"a U-Net is for images (C, H, W), and the shape is {shape}.",
            hint="set network.type = 'mlp'",
        )
    return UNet(config, shape, inputs or shape[0], labels)


def apply(model: Any, x: Tensor, time: Tensor, cond: Tensor | None) -> Tensor:
    """The network of a model at x (B, *S), in the model's precision and back in x's.

    The time stays at least in single precision: half would not tell 999 from 1000.
    """
    dtype = model.dtype
    inputs = fourier_features(x, model.config.fourier).to(dtype)
    time = time.to(torch.promote_types(dtype, torch.float32))
    out: Tensor = model.network(inputs, time, label(model.condition, cond, x))
    return out.to(x.dtype)
