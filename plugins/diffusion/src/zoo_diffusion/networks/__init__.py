"""Networks m(x_t, time, label) -> (B, *S) of the signature `denoiser`, by default an MLP."""

import math
from collections.abc import Sequence
from typing import Annotated, Any, Protocol

import torch
from torch import Tensor, nn

from zoo_core.plugin import Condition, ConfigError, Event, Network, UNet, UNetConfig
from zoo_core.plugin import ModulatedMLP as MLP
from zoo_core.plugin import ModulatedMLPConfig as MLPConfig
from zoo_core.plugin import build_network as build
from zoo_diffusion.networks.labels import network_label

__all__ = [
    "MLP",
    "HasNetwork",
    "MLPConfig",
    "NetworkConfig",
    "UNet",
    "UNetConfig",
    "apply_network",
    "build_network",
    "fourier_features",
    "make_event",
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


def make_event(shape: tuple[int, ...], levels: int | None) -> Event:
    """Integers of `levels` values, or reals, of at least one axis (the channels)."""
    if not shape:
        raise ConfigError("shape = (); it must be (D,) for vectors or (C, H, W) for images.")
    return Event(shape, levels=levels)


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


def fourier_features(z: Tensor, exponents: Sequence[int]) -> Tensor:
    """z (B, C, ...) with sin(2^n pi z) and cos(2^n pi z) as further channels.

    At low noise, exponent n separates quantization levels in [-1, 1] that are about 2^-n apart
    (Kingma et al., 2021, app. C).
    """
    features = [f(2.0**n * math.pi * z) for n in exponents for f in (torch.sin, torch.cos)]
    return torch.cat((z, *features), 1)
