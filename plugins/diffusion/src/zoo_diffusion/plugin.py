"""The hooks of this family; importing it imports no torch."""

from zoo_core.plugin import (
    ConverterSpec,
    LikelihoodKind,
    LikelihoodSpec,
    LossSpec,
    ModelSpec,
    SamplerSpec,
    hookimpl,
)

__all__ = [
    "ZOO_API",
    "zoo_converters",
    "zoo_likelihoods",
    "zoo_losses",
    "zoo_models",
    "zoo_samplers",
]

ZOO_API = 1
_DISCRETE, _CONTINUOUS = (
    "zoo_diffusion.parameterization:DiscreteTime",
    "zoo_diffusion.parameterization:ContinuousTime",
)
_PREDICTOR = "zoo_diffusion.parameterization:Predictor"
_LEARNS_SCHEDULE, _PRECONDITIONED = (
    "zoo_diffusion.vdm:LearnsSchedule",
    "zoo_diffusion.edm:Preconditioned",
)
_VELOCITY = "zoo_diffusion.flow_loss:HasVelocity"
_FLOW_MAP = "zoo_diffusion.flow_map:FlowMap"
_BETWEEN = "zoo_diffusion.flow_map:FlowMapBetween"
_AVERAGE = "zoo_diffusion.mean_flow_loss:HasAverageVelocity"
_CONSISTENCY = "zoo_diffusion.consistency_loss:HasConsistency"
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
    more: tuple[str, ...] = (),
    likelihood: str = "vlb",
    tiny: tuple[tuple[str, object], ...] = (),
) -> ModelSpec:
    return ModelSpec(
        arch=arch,
        family="diffusion",
        density="explicit/score",
        target=f"zoo_diffusion.{arch}:{cls}",
        config=f"zoo_diffusion.{arch}:{cls}Config",
        capabilities=("Denoiser", "Score", _PREDICTOR, time, *more),
        default_likelihood=likelihood,
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
            "ve_sde",
            "VESDE",
            "variance-exploding SDE: the model of NCSN++ checkpoints",
            "https://arxiv.org/abs/2011.13456",
            time=_CONTINUOUS,
            sampler="dpmpp_2m",
            loss="vlb",
        ),
        _model(
            "edm",
            "EDM",
            "preconditioned denoiser over noise levels, sampled by Heun's method",
            "https://arxiv.org/abs/2206.00364",
            time=_CONTINUOUS,
            sampler="heun",
            loss="edm",
            more=(_PRECONDITIONED,),
        ),
        _model(
            "vdm",
            "VDM",
            "variational diffusion with a learned schedule and Fourier features",
            "https://arxiv.org/abs/2107.00630",
            time=_CONTINUOUS,
            sampler="ancestral",
            loss="vdm",
            more=(_LEARNS_SCHEDULE,),
            tiny=(("levels", 3), ("gamma_min", -5.0), ("schedule_hidden", 4)),
        ),
        _model(
            "flow_matching",
            "FlowMatching",
            "velocity of a linear or variance-preserving path from noise to data",
            "https://arxiv.org/abs/2210.02747",
            time=_CONTINUOUS,
            sampler="midpoint",
            loss="flow_matching",
            more=(_VELOCITY,),
            likelihood="ode",
        ),
        ModelSpec(
            arch="consistency",
            family="diffusion",
            density="implicit",
            target="zoo_diffusion.consistency:Consistency",
            config="zoo_diffusion.consistency:ConsistencyConfig",
            capabilities=("Generator", _FLOW_MAP, _CONSISTENCY),
            default_sampler="onestep",
            default_loss="consistency",
            summary="from noise to data in one call, or a few; trained alone or by a teacher",
            paper="https://arxiv.org/abs/2303.01469",
            tiny=(_TINY_MLP,),
        ),
        ModelSpec(
            arch="mean_flow",
            family="diffusion",
            density="implicit",
            target="zoo_diffusion.mean_flow:MeanFlow",
            config="zoo_diffusion.mean_flow:MeanFlowConfig",
            capabilities=("Generator", _FLOW_MAP, _BETWEEN, _AVERAGE),
            default_sampler="onestep",
            default_loss="mean_flow",
            summary="average velocity between any two times: noise to data in one call",
            paper="https://arxiv.org/abs/2505.13447",
            tiny=(_TINY_MLP,),
        ),
    ]


@hookimpl
def zoo_losses() -> list[LossSpec]:
    return [
        LossSpec(
            "simple",
            "zoo_diffusion.losses:SimpleLoss",
            requires=(_PREDICTOR,),
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
            summary="variational bound in continuous time, at uniform log-SNRs",
        ),
        LossSpec(
            "vdm",
            "zoo_diffusion.vdm:VDMLoss",
            requires=(_LEARNS_SCHEDULE,),
            summary="continuous bound that also learns the schedule",
        ),
        LossSpec(
            "edm",
            "zoo_diffusion.edm:EDMLoss",
            requires=(_PRECONDITIONED,),
            summary="weighted denoising error at log-normal noise levels",
        ),
        LossSpec(
            "flow_matching",
            "zoo_diffusion.flow_loss:FlowMatchingLoss",
            requires=(_VELOCITY,),
            summary="error of the velocity, with independent noise or by optimal transport",
        ),
        LossSpec(
            "consistency",
            "zoo_diffusion.consistency_loss:ConsistencyLoss",
            requires=(_CONSISTENCY,),
            summary="agreement of neighbouring noise levels, of data or along a teacher's flow",
        ),
        LossSpec(
            "mean_flow",
            "zoo_diffusion.mean_flow_loss:MeanFlowLoss",
            requires=(_AVERAGE,),
            summary="error of the velocity that an average velocity implies",
        ),
    ]


@hookimpl
def zoo_samplers() -> list[SamplerSpec]:
    summaries = {
        "ancestral": ("Ancestral", "the chain's own steps"),
        "ddim": ("DDIM", "few steps along the probability flow; eta adds noise"),
        "euler": ("Euler", "first order along the probability flow, in noise levels"),
        "euler_ancestral": ("EulerAncestral", "Euler's step to less noise, and new noise"),
        "heun": ("Heun", "second order, two calls a step, with stochastic churn"),
        "midpoint": ("Midpoint", "second order along a straight path, two calls a step"),
        "dpmpp_2m": ("DPMpp2M", "DPM-Solver++(2M): second order, one call a step"),
        "dpmpp_3m": ("DPMpp3M", "DPM-Solver++(3M): third order, one call a step"),
        "dpmpp_sde": ("DPMppSDE", "SDE-DPM-Solver++(2M): second order, with noise"),
        "unipc": ("UniPC", "predictor and corrector of high order, one call a step"),
        "pc": ("PC", "reverse diffusion with Langevin corrections"),
        "ode": ("ODE", "the probability flow, by adaptive steps with an error for each event"),
    }
    denoisers = [
        SamplerSpec(name, f"zoo_diffusion.samplers:{cls}", requires=("Denoiser",), summary=text)
        for name, (cls, text) in summaries.items()
    ]
    return [
        *denoisers,
        SamplerSpec(
            "onestep",
            "zoo_diffusion.samplers:OneStep",
            requires=(_FLOW_MAP,),
            summary="the end of the flow in one call",
        ),
        SamplerSpec(
            "multistep",
            "zoo_diffusion.samplers:MultiStep",
            requires=(_FLOW_MAP,),
            summary="a few calls, with new noise between them",
        ),
        SamplerSpec(
            "flow_map",
            "zoo_diffusion.samplers:FlowMapSteps",
            requires=(_BETWEEN,),
            summary="a few calls along the flow, without noise",
        ),
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
            summary="variational bound in continuous time, or in T steps of it",
        ),
        LikelihoodSpec(
            "ode",
            "zoo_diffusion.likelihoods:ODELikelihood",
            LikelihoodKind("ode_estimate", "estimate"),
            requires=("Denoiser",),
            summary="density of the probability-flow ODE",
        ),
    ]


def _with(*schedulers: str) -> tuple[tuple[str, str], ...]:
    """Pairs of the U-Net, under its present and its first name, and each scheduler."""
    networks = ("UNet2DModel", "UNetUnconditionalModel")
    return tuple((network, scheduler) for network in networks for scheduler in schedulers)


@hookimpl
def zoo_converters() -> list[ConverterSpec]:
    return [
        ConverterSpec(
            "diffusers_ddpm",
            "zoo_diffusion.converters.diffusers:FromDDPM",
            arch="ddpm",
            summary="UNet2DModel of diffusers with a DDPM or DDIM scheduler",
            reads=_with("DDPMScheduler", "DDIMScheduler", "PNDMScheduler"),
        ),
        ConverterSpec(
            "diffusers_ncsnpp",
            "zoo_diffusion.converters.diffusers:FromNCSN",
            arch="ve_sde",
            summary="NCSN++ of diffusers with its variance-exploding scheduler",
            reads=_with("ScoreSdeVeScheduler"),
        ),
        ConverterSpec(
            "diffusers_consistency",
            "zoo_diffusion.converters.diffusers:FromConsistency",
            arch="consistency",
            summary="UNet2DModel of diffusers with the scheduler of consistency models",
            reads=_with("CMStochasticIterativeScheduler"),
        ),
        ConverterSpec(
            "edm",
            "zoo_diffusion.converters.edm:FromEDM",
            arch="edm",
            summary="pickles of EDM with the networks DDPM++ or NCSN++",
        ),
        ConverterSpec(
            "score_sde",
            "zoo_diffusion.converters.score_sde:FromScoreSDE",
            arch="edm",
            summary="DDPM++ and NCSN++ of score_sde for CIFAR-10, with their moving averages",
        ),
        ConverterSpec(
            "guided_diffusion",
            "zoo_diffusion.converters.guided:FromGuided",
            arch="ddpm",
            summary="U-Nets of guided-diffusion, whose names torchcfm's have too",
        ),
        ConverterSpec(
            "torchcfm",
            "zoo_diffusion.converters.torchcfm:FromTorchCFM",
            arch="flow_matching",
            summary="U-Nets of torchcfm, with their moving averages",
        ),
        ConverterSpec(
            "sit",
            "zoo_diffusion.converters.dit:FromSiT",
            arch="flow_matching",
            summary="SiT, over latents of an autoencoder",
        ),
        ConverterSpec(
            "jit",
            "zoo_diffusion.converters.dit:FromJiT",
            arch="flow_matching",
            summary="JiT, over the pixels of images",
        ),
        ConverterSpec(
            "diffusers_dit",
            "zoo_diffusion.converters.dit:FromDiT",
            arch="ddpm",
            summary="DiTTransformer2DModel of diffusers, over latents of an autoencoder",
            reads=tuple(("DiTTransformer2DModel", s) for s in ("DDIMScheduler", "DDPMScheduler")),
        ),
    ]
