"""A plugin that adds one sampler and nothing else."""

from zoo_core.plugin import SamplerSpec, hookimpl

__all__ = ["ZOO_API"]

ZOO_API = 1


@hookimpl
def zoo_samplers() -> list[SamplerSpec]:
    return [
        SamplerSpec(
            "heun_ode",
            "zoo_addons.heun:Heun",
            requires=("Denoiser",),
            summary="second-order steps of the probability-flow ODE",
        )
    ]
