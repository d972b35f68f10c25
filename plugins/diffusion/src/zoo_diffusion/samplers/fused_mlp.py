"""The whole sampling loop as one kernel call (`zoo_kernels.mlp_sampler`), for plain MLPs on a CPU.

A step of a small network on a CPU takes microseconds, and calling its operations one by one takes
a hundred times that. Time enters an MLP only through its modulation, which is computed for all
steps at once.
"""

from math import prod
from typing import Protocol, TypeGuard, runtime_checkable

import torch
from torch import Tensor, nn

from zoo_core.plugin import Denoiser, Rng
from zoo_diffusion.networks import MLP
from zoo_diffusion.samplers.loop import GuidanceAndClipping
from zoo_diffusion.samplers.table import SolverTable
from zoo_kernels.mlp_sampler import mlp_sample

__all__ = ["MLPDenoiser", "TimeConditioned", "run", "supports"]


@runtime_checkable
class TimeConditioned(Denoiser, Protocol):
    """A predictor whose output is that of `network` at x_t and `network_time(t)`."""

    network: nn.Module

    def network_time(self, t: Tensor) -> Tensor:
        """The network's time input for t (B,)."""
        ...


class MLPDenoiser(TimeConditioned, Protocol):
    """A time-conditioned model whose network is an MLP."""

    network: MLP


def supports(
    model: Denoiser, table: SolverTable, options: GuidanceAndClipping
) -> TypeGuard[MLPDenoiser]:
    """Whether one kernel call can run the loop, without inpainting or a trace."""
    network = model.network if isinstance(model, TimeConditioned) else None
    return (
        table.history is None
        and isinstance(network, MLP)
        and network.label is None
        and network.inputs == prod(model.event.shape)
        and network.shape == model.event.shape
        and model.dtype == torch.float32
        and model.device.type == "cpu"
        and not torch.is_grad_enabled()
        and all(table.calls)
        and options.dynamic_thresholding_ratio is None
        and options.guidance_scale == 1.0
    )


def run(
    model: MLPDenoiser, rng: Rng, x: Tensor, table: SolverTable, options: GuidanceAndClipping
) -> Tensor:
    """x (B, *S) after all steps from x."""
    modulation = model.network.modulation(model.network_time(table.times).to(torch.float32))
    clip, _ = options.bounds(model.event)
    out = mlp_sample(
        x.float().flatten(1),
        table.coefficients,
        modulation,
        model.network.weights(),
        rows=rng.rows,
        seed=rng.seed,
        stream=rng.stream("step"),
        clip=clip,
    )
    return out.view_as(x)
