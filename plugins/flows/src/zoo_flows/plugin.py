"""The specs that this family declares to the zoo; importing this file imports no torch."""

from typing import Any

from zoo_core.plugin import (
    LikelihoodKind,
    LikelihoodSpec,
    LossSpec,
    ModelSpec,
    SamplerSpec,
    hookimpl,
)

__all__ = ["ZOO_API", "zoo_likelihoods", "zoo_losses", "zoo_models", "zoo_samplers"]

ZOO_API = 1


_ITERATIVE_INVERSE = "zoo_flows.jacobi:IterativeInverse"


def _flow(arch: str, target: str, *capabilities: str, **rest: Any) -> ModelSpec:
    module = f"zoo_flows.{arch}"
    return ModelSpec(
        arch=arch,
        family="flows",
        density="explicit/tractable",
        target=f"{module}:{target}",
        config=f"{module}:{target}Config",
        capabilities=("Density", "Bijection", *capabilities),
        default_likelihood=("exact_density", "deq_bound"),
        default_loss="flow_nll",
        **rest,
    )


@hookimpl
def zoo_models() -> list[ModelSpec]:
    return [
        _flow(
            "realnvp",
            "RealNVP",
            summary="affine couplings by checkerboard and channels, multi-scale; or of vectors",
            paper="https://arxiv.org/abs/1605.08803",
            tiny=(("shape", (2,)), ("layers", 1), ("hidden", 8), ("blocks", 1)),
        ),
        _flow(
            "glow",
            "Glow",
            summary="actnorm, invertible 1x1 convolutions and affine couplings, multi-scale",
            paper="https://arxiv.org/abs/1807.03039",
            tiny=(("shape", (1, 4, 4)), ("steps", 1), ("hidden", 4)),
        ),
        _flow(
            "maf",
            "MAF",
            _ITERATIVE_INVERSE,
            summary="masked autoregressive layers: density in one pass, samples in D steps",
            paper="https://arxiv.org/abs/1705.07057",
            tiny=(("layers", 2), ("hidden", 8)),
        ),
        _flow(
            "nsf_coupling",
            "NSFCoupling",
            summary="couplings by monotonic rational-quadratic splines, of vectors or images",
            paper="https://arxiv.org/abs/1906.04032",
            tiny=(("steps", 2), ("bins", 4), ("hidden", 8), ("blocks", 1)),
        ),
    ]


@hookimpl
def zoo_samplers() -> list[SamplerSpec]:
    return [
        SamplerSpec(
            "jacobi",
            "zoo_flows.jacobi:Jacobi",
            requires=("Bijection", _ITERATIVE_INVERSE),
            summary="the draws of an autoregressive flow by parallel passes, up to a tolerance",
        )
    ]


@hookimpl
def zoo_losses() -> list[LossSpec]:
    return [
        LossSpec(
            "flow_nll",
            "zoo_flows.likelihood:FlowNLL",
            requires=("Density", "Bijection"),
            summary="-log p(x); of integers, minus the bound at one draw of the dequantizer",
        )
    ]


@hookimpl
def zoo_likelihoods() -> list[LikelihoodSpec]:
    return [
        LikelihoodSpec(
            "deq_bound",
            "zoo_flows.likelihood:DeqBound",
            LikelihoodKind("deq_bound", "lower"),
            requires=("Density", "Bijection"),
            events="integers",
            summary="bound on log P of integers by dequantization, importance-weighted by k > 1",
        )
    ]
