"""What this family declares to the zoo; it imports no torch."""

from zoo_core import (
    LikelihoodKind,
    LikelihoodSpec,
    LossSpec,
    ModelSpec,
    SamplerSpec,
    hookimpl,
)

__all__ = ["ZOO_API", "zoo_likelihoods", "zoo_losses", "zoo_models", "zoo_samplers"]

ZOO_API = 1
_DISCRETE, _CONTINUOUS = "zoo_diffusion.times:DiscreteTime", "zoo_diffusion.times:ContinuousTime"
_TINY_MLP = ("network", {"type": "mlp", "hidden": 16, "layers": 1})


def _model(
    arch: str,
    cls: str,
    summary: str,
    paper: str,
    *,
    time: str,
    sampler: str,
    loss: str,
    tiny: tuple[tuple[str, object], ...] = (),
) -> ModelSpec:
    return ModelSpec(
        arch=arch,
        family="diffusion",
        density="explicit/score",
        target=f"zoo_diffusion.{arch}:{cls}",
        config=f"zoo_diffusion.{arch}:Config",
        capabilities=("Denoiser", time),
        default_likelihood="vlb",
        default_sampler=sampler,
        default_loss=loss,
        summary=summary,
        paper=paper,
        tiny=(_TINY_MLP, *tiny),
    )


@hookimpl
def zoo_models() -> list[ModelSpec]:
    return [
        _model(
            "ddpm",
            "DDPM",
            "a chain of T denoising steps, trained on L_simple or its bound",
            "https://arxiv.org/abs/2006.11239",
            time=_DISCRETE,
            sampler="ddim",
            loss="simple",
            tiny=(("timesteps", 20), ("beta_last", 0.4)),
        ),
        _model(
            "vp_sde",
            "VPSDE",
            "variance-preserving SDE in continuous time, trained by score matching",
            "https://arxiv.org/abs/2011.13456",
            time=_CONTINUOUS,
            sampler="dpmpp_2m",
            loss="simple",
        ),
        _model(
            "edm",
            "EDM",
            "preconditioned denoiser over noise levels, sampled by Heun's method",
            "https://arxiv.org/abs/2206.00364",
            time=_CONTINUOUS,
            sampler="heun",
            loss="edm",
        ),
        _model(
            "vdm",
            "VDM",
            "variational diffusion with a learned schedule and Fourier features",
            "https://arxiv.org/abs/2107.00630",
            time=_CONTINUOUS,
            sampler="ancestral",
            loss="vdm",
            tiny=(("levels", 3), ("gamma_min", -5.0), ("schedule_hidden", 4)),
        ),
    ]


@hookimpl
def zoo_losses() -> list[LossSpec]:
    return [
        LossSpec(
            "simple",
            "zoo_diffusion.losses:Simple",
            requires=("zoo_diffusion.parameterization:Predictor",),
            summary="error of the network's own output at uniform times",
        ),
        LossSpec(
            "vlb",
            "zoo_diffusion.losses:VLBLoss",
            requires=(_DISCRETE,),
            summary="variational bound of a chain of T steps",
        ),
        LossSpec(
            "vlb",
            "zoo_diffusion.losses:ContinuousVLBLoss",
            requires=(_CONTINUOUS,),
            summary="variational bound of continuous time, even in log-SNR",
        ),
        LossSpec(
            "vdm",
            "zoo_diffusion.vdm:VDMLoss",
            requires=("zoo_diffusion.vdm:LearnsSchedule",),
            summary="continuous bound that also learns the schedule",
        ),
        LossSpec(
            "edm",
            "zoo_diffusion.edm:EDMLoss",
            requires=("zoo_diffusion.edm:Preconditioned",),
            summary="weighted denoising error at log-normal noise levels",
        ),
    ]


@hookimpl
def zoo_samplers() -> list[SamplerSpec]:
    summaries = {
        "ancestral": ("Ancestral", "the chain's own steps"),
        "ddim": ("DDIM", "few steps along the flow; eta adds noise"),
        "heun": ("Heun", "second order, two calls a step, with churn"),
        "dpmpp_2m": ("DPMpp2M", "second order, one call a step"),
        "ode": ("ODE", "the probability flow, adaptively, its error held for each row"),
    }
    return [
        SamplerSpec(name, f"zoo_diffusion.samplers:{cls}", requires=("Denoiser",), summary=text)
        for name, (cls, text) in summaries.items()
    ]


@hookimpl
def zoo_likelihoods() -> list[LikelihoodSpec]:
    return [
        LikelihoodSpec(
            "vlb",
            "zoo_diffusion.likelihoods:VLB",
            LikelihoodKind("elbo", "lower"),
            requires=(_DISCRETE,),
            summary="variational bound of a chain of T steps, term by term",
        ),
        LikelihoodSpec(
            "vlb",
            "zoo_diffusion.likelihoods:ContinuousVLB",
            LikelihoodKind("elbo", "lower"),
            requires=(_CONTINUOUS,),
            summary="variational bound of continuous time, or of T steps of it",
        ),
        LikelihoodSpec(
            "ode",
            "zoo_diffusion.ode:ODELikelihood",
            LikelihoodKind("ode_estimate", "estimate"),
            requires=("Denoiser",),
            summary="density of the probability flow",
        ),
    ]
