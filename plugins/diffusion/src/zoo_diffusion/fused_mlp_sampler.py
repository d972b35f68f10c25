"""A whole loop as one kernel call (zoo_kernels.mlp_sampler), where the network is a plain MLP.

A step of a small network on a CPU takes microseconds, calling its operations a hundred times that.
Time enters an MLP by its modulation alone, which is computed for all steps at once.
"""

from math import prod
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from zoo_core.plugin import Denoiser, Rng
from zoo_diffusion.networks import MLP
from zoo_diffusion.sampling_loop import Options, Plan, start
from zoo_kernels.mlp_sampler import mlp_sample

__all__ = ["Timed", "run", "serves"]


@runtime_checkable
class Timed(Denoiser, Protocol):
    """A predictor whose output is that of `network` at x_t and `network_time(t)`."""

    network: Any

    def network_time(self, t: Tensor) -> Tensor:
        """What the network gets for t (B,)."""
        ...


def serves(model: Any, plan: Plan, options: Options) -> bool:
    """Whether the loop of a plan, without known values or previews, is one call."""
    network = model.network if isinstance(model, Timed) else None
    return (
        isinstance(network, MLP)
        and network.label is None
        and network.inputs == prod(model.event.shape)
        and model.dtype == torch.float32
        and model.device.type == "cpu"
        and not torch.is_grad_enabled()
        and all(plan.calls)
        and options.threshold is None
        and options.guidance == 1.0
    )


def run(model: Any, rng: Rng, plan: Plan, options: Options) -> Tensor:
    """x (B, *S) after all steps."""
    x = start(model, rng, plan.deviation)
    modulation = model.network.modulation(model.network_time(plan.times).to(torch.float32))
    clip, _ = options.limits(model)
    out = mlp_sample(
        x.flatten(1), plan.steps, modulation, model.network.weights(), rows=rng.rows,
        seed=rng.seed, stream=rng.stream("step"), clip=clip,
    )  # fmt: skip
    return out.view_as(x)
