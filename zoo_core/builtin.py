"""The core's own plugin: density types, generic losses, samplers, likelihoods and data sets.

It goes through the same hooks as everybody's.
"""

from zoo_core.hookspecs import ZOO_API, hookimpl
from zoo_core.specs import (
    DatasetSpec,
    DensityType,
    LikelihoodKind,
    LikelihoodSpec,
    LossSpec,
    SamplerSpec,
)

__all__ = ["ZOO_API"]


@hookimpl
def zoo_density_types() -> list[DensityType]:
    return [
        DensityType(
            "explicit/tractable",
            "p(x) is defined and can be computed",
            likelihood="exact, exact_density, deq_bound or ode_estimate",
            sampling="sequential (autoregressive) or one pass (flow)",
        ),
        DensityType(
            "explicit/approximate",
            "p(x) is defined through latent variables; a bound can be computed",
            likelihood="elbo, iwae or ais",
            sampling="one pass",
        ),
        DensityType(
            "explicit/score",
            "trained by a variational bound or score matching, sampled by iterating (hybrid)",
            likelihood="elbo or ode_estimate",
            sampling="iterative",
        ),
        DensityType(
            "implicit",
            "samples are drawn; no p(x) is written down",
            likelihood="none; ais with a stated sigma scores a different model",
            sampling="one pass",
        ),
    ]


@hookimpl
def zoo_losses() -> list[LossSpec]:
    return [
        LossSpec(
            "nll",
            "zoo_core.training.losses:NLL",
            requires=("Density",),
            summary="negative log-likelihood, -log p(x)",
        )
    ]


@hookimpl
def zoo_samplers() -> list[SamplerSpec]:
    return [
        SamplerSpec(
            "direct", "zoo_core.sampling:Direct", summary="the model's own one-pass sampler"
        )
    ]


@hookimpl
def zoo_likelihoods() -> list[LikelihoodSpec]:
    return [
        LikelihoodSpec(
            "exact",
            "zoo_core.likelihoods.exact:Exact",
            LikelihoodKind("exact", "equal"),
            requires=("Density",),
            summary="log p(x) of integer data",
        ),
        LikelihoodSpec(
            "exact_density",
            "zoo_core.likelihoods.exact:ExactDensity",
            LikelihoodKind("exact_density", "equal"),
            requires=("Density",),
            summary="log-density of real data",
        ),
    ]


@hookimpl
def zoo_datasets() -> list[DatasetSpec]:
    return []
