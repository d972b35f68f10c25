"""A plugin that adds one sampler. Importing this module imports no torch."""

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
            summary="Heun's second-order method for the probability-flow ODE",
        )
    ]
