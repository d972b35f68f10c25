"""Networks m(x_t, time, label) -> (B, *S) of the signature `denoiser`, by default an MLP.

Labels are dropped in training for classifier-free guidance (Ho & Salimans, 2022,
https://arxiv.org/abs/2207.12598): some are replaced by the label K, which stands for no class, so
that one network learns the conditional and the unconditional output. Of several labels each has
such a K; they are dropped together or one by one.

Shapes: B batch, S the event's shape, N labels.
"""

import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal, Protocol

import torch
from torch import Tensor, nn

from zoo_core.plugin import (
    Condition,
    ConfigError,
    Event,
    Network,
    Rng,
    UNet,
    UNetConfig,
    UsageError,
    class_rows,
)
from zoo_core.plugin import ModulatedMLP as MLP
from zoo_core.plugin import ModulatedMLPConfig as MLPConfig
from zoo_core.plugin import build_network as build

__all__ = [
    "MLP",
    "DropLabels",
    "HasNetwork",
    "MLPConfig",
    "NetworkConfig",
    "UNet",
    "UNetConfig",
    "apply_network",
    "build_network",
    "drop_condition",
    "fourier_features",
    "make_event",
    "network_label",
]

NetworkConfig = Annotated[Any, Network("denoiser")]
"""A registered name, its table or Config, or an `nn.Module`."""
DropLabels = Literal["together", "separately"]
"""Which labels a row loses: all of them at once, or each by a draw of its own."""


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


def network_label(condition: Condition, cond: Tensor | None, x: Tensor) -> Tensor | None:
    """The network's labels, rows (B,) or (B, N) of its embedding; None without classes."""
    if condition.kind == "none" or (cond is None and not condition.optional):
        return None
    cond = condition.null(len(x), x.device) if cond is None else cond
    return cond if condition.kind == "classes" else class_rows(condition, cond)


def drop_condition(
    condition: Condition,
    cond: Tensor | None,
    p_uncond: float,
    rng: Rng,
    step: int,
    *,
    labels: DropLabels = "together",
) -> Tensor | None:
    """Labels (B,) or (B, N), each replaced by "no class" with probability `p_uncond` where that
    is allowed; of several, `labels` says whether by one draw for all or by a draw for each."""
    optional = [slot.optional for slot in condition.slots]
    if cond is None or p_uncond == 0 or not any(optional):
        return cond
    if condition.kind not in ("classes", "group"):
        raise UsageError(
            f"p_uncond = {p_uncond} drops class labels; this model takes {condition}.",
            hint="p_uncond=0",
        )
    if labels == "together":
        u = rng.uniform(stream="drop", step=step)[:, None].expand(-1, len(optional))
    else:
        u = rng.uniform((len(optional),), stream="drop", step=step)
    return condition.drop(cond, u < p_uncond)
