"""Networks m(x_t, time, label) -> (B, *S) of the signature `denoiser`, by default an MLP."""

from typing import Annotated, Any, Protocol

import torch
from torch import Tensor, nn

from zoo_core.plugin import Condition, Network, UNet, UNetConfig
from zoo_core.plugin import ModulatedMLP as MLP
from zoo_core.plugin import ModulatedMLPConfig as MLPConfig
from zoo_core.plugin import build_network as build
from zoo_diffusion.conditioning import network_label
from zoo_diffusion.fourier_features import fourier_features

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

NetworkConfig = Annotated[Any, Network("denoiser")]
"""A registered name, its table or Config, or an `nn.Module`."""


class HasNetwork(Protocol):
    """A model with a network of this package; `config.fourier` are its Fourier exponents."""

    config: Any
    condition: Condition
    network: nn.Module

    @property
    def dtype(self) -> torch.dtype: ...


def build_network(
    network: Any,
    shape: tuple[int, ...],
    *,
    inputs: int | None = None,
    num_labels: int = 0,
) -> nn.Module:
    """The network of a config for events of `shape`.

    `inputs` is the number of input channels (default: C); `num_labels` is the size of the label
    embedding, 0 for none.
    """
    return build(
        network, "denoiser", shape=shape, inputs=inputs or shape[0], num_labels=num_labels
    )


def apply_network(model: HasNetwork, x: Tensor, time: Tensor, cond: Tensor | None) -> Tensor:
    """The network's output (B, *S) at x (B, *S), computed in the model's dtype, in x's dtype.

    Time stays at least in single precision, because bfloat16 does not distinguish 999 from 1000.
    """
    inputs = fourier_features(x, model.config.fourier).to(model.dtype)
    time = time.to(torch.promote_types(model.dtype, torch.float32))
    out: Tensor = model.network(inputs, time, network_label(model.condition, cond, x))
    return out.to(x.dtype)
