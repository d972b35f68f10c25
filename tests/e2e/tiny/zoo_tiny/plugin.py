"""The hooks of the tests' plugin; imports no torch."""

from zoo_core.plugin import (
    HealthCheck,
    LikelihoodKind,
    LikelihoodSpec,
    LossSpec,
    ModelSpec,
    SamplerSpec,
    hookimpl,
)

ZOO_API = 1


@hookimpl
def zoo_models():
    dice = ModelSpec(
        "dice",
        "tiny",
        "explicit/tractable",
        "zoo_tiny.model:Dice",
        "zoo_tiny.model:DiceConfig",
        capabilities=("Density",),
        default_likelihood="exact",
        summary="independent fair dice, one a pixel",
        paper="Liber de ludo aleae (Cardano, 1564)",
    )
    fog = ModelSpec(
        "fog",
        "tiny",
        "implicit",
        "zoo_tiny.model:Fog",
        "zoo_tiny.model:FogConfig",
        default_loss="settle",
        summary="uniform noise without a density",
        paper="Nebelmeer (Friedrich, 1818)",
    )
    return [dice, fog]


@hookimpl
def zoo_losses():
    return [LossSpec("settle", "zoo_tiny.model:Settle", summary="parameters towards 1")]


@hookimpl
def zoo_samplers():
    return [
        SamplerSpec("loaded", "zoo_tiny.model:Loaded", requires=("Density",), summary="one face"),
    ]


@hookimpl
def zoo_likelihoods():
    bound = LikelihoodKind("tiny_bound", "lower")
    return [LikelihoodSpec("tiny_bound", "zoo_tiny.model:Bound", bound, requires=("Density",))]


@hookimpl
def zoo_health_checks():
    return [
        HealthCheck("tiny_check", "zoo_tiny.health:check", fix="zoo_tiny.health:fix"),
    ]
