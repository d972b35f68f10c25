"""Networks m(x_t, time, label) -> (B, *S): an MLP for vectors, a U-Net for images."""

from math import prod
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from zoo_core.plugin import Condition, ConfigError
from zoo_diffusion.conditioning import network_label
from zoo_diffusion.fourier_features import fourier_features
from zoo_diffusion.networks.mlp import MLP, MLPConfig
from zoo_diffusion.networks.unet import UNet
from zoo_diffusion.networks.unet_config import UNetConfig

__all__ = [
    "MLP",
    "HasNetwork",
    "MLPConfig",
    "NetworkConfig",
    "UNet",
    "UNetConfig",
    "apply_network",
    "build_network",
]

NetworkConfig = MLPConfig | UNetConfig


class HasNetwork(Protocol):
    """A model with a network of this package; `config.fourier` are its Fourier exponents."""

    config: Any
    condition: Condition
    network: nn.Module

    @property
    def dtype(self) -> torch.dtype: ...


def build_network(
    config: NetworkConfig,
    shape: tuple[int, ...],
    *,
    inputs: int | None = None,
    num_labels: int = 0,
) -> nn.Module:
    """The network of a config for events of `shape`.

    `inputs` is the number of input channels (default: C); `num_labels` is the size of the label
    embedding, 0 for none.
    """
    if isinstance(config, MLPConfig):
        return MLP(config, shape, (inputs or shape[0]) * prod(shape[1:]), num_labels)
    if len(shape) != 3:
        raise ConfigError(
            f"a U-Net is for images (C, H, W), and the shape is {shape}.",
            hint="set network.type = 'mlp'",
        )
    return UNet(config, shape, inputs or shape[0], num_labels)


def apply_network(model: HasNetwork, x: Tensor, time: Tensor, cond: Tensor | None) -> Tensor:
    """The network's output (B, *S) at x (B, *S), computed in the model's dtype, in x's dtype.

    Time stays at least in single precision, because bfloat16 does not distinguish 999 from 1000.
    """
    inputs = fourier_features(x, model.config.fourier).to(model.dtype)
    time = time.to(torch.promote_types(model.dtype, torch.float32))
    out: Tensor = model.network(inputs, time, network_label(model.condition, cond, x))
    return out.to(x.dtype)
