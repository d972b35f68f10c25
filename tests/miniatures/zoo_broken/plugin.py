"""Declares the correct models and every fault, so that each fault is the only thing wrong."""

from zoo_core.plugin import ModelSpec, hookimpl

ZOO_API = 1
COINS = (
    "Coins Unnormalized SamplesAnotherLaw DrawsFromTorch CouplesTheBatch IgnoresTheSeed "
    "SamplesFloats HasAnIdleParameter HidesACapability HidesItsOwnCapability "
    "CountsItsSamples ForgetsABuffer "
    "ScoresTheBatch ScoresWithNoise ScoresAnything SamplesNothing IgnoresConditions "
    "MutatesItsConfig StartsInAForwardPass "
    "ScoresInHalf ComputesInHalf ComputesInHalfAtLast DependsOnTheMode "
    "NoisyInTraining Drops "
    "NormalizesByTheBatch NormalizesLargeBatches SeedsTorch SeedsNumpy SeedsPython "
    "SeedsWhileScoring HidesATensor HidesTensorsInAList KeepsItsLastBatch ForgetsATensor "
    "ForgetsANumber"
).split()
LATENT = {"default_likelihood": "elbo", "default_loss": "elbo"}
REALS = (
    "Blob OffByASeventh OffBySevenTenths InBits Negated OfOneDimension MeanOverDimensions "
    "ForgetsTheDeterminant AddsTheDeterminant ForgetsTwoPi ForgetsTheHalf SamplesTooWide "
    "SamplesElsewhere SamplesBackwards SamplesWithoutCorrelation DetachesItsSlope Labelled "
    "OffForOneClass SamplesOneClass Optional OffWithoutAClass Guided IgnoresItsVector Cube "
    "ForgetsItsJacobian NegatesItsJacobian Waiting MistakesItsRate HeavyTailed TailsTooHeavy Step "
    "FarModes"
).split()


def spec(name, *capabilities, module="models", **fields):
    return ModelSpec(
        name.lower(),
        family="broken",
        density="explicit/tractable",
        target=f"zoo_broken.{module}:{name}",
        config=f"zoo_broken.{module}:Config",
        capabilities=capabilities,
        **fields,
    )


@hookimpl
def zoo_models():
    return [
        *(spec(name, "Density", default_likelihood="exact") for name in COINS),
        spec("ClaimsACapability", "Density", "Score", default_likelihood="exact"),
        spec("Flippable", "Density", "zoo_broken.models:Flips", default_likelihood="exact"),
        spec("ScoresWithoutALikelihood", "Density"),
        spec("PeeksAhead", "Density", "Conditionals", default_likelihood="exact"),
        *(
            spec(name, "Density", "Bijection", default_likelihood="exact_density")
            for name in ("Stretch", "MisstatesItsJacobian")
        ),
        *(
            spec(name, "Density", module="reals", default_likelihood="exact_density")
            for name in REALS
        ),
        *(
            spec(name, "Density", "Score", module="reals", default_likelihood="exact_density")
            for name in ("Sloped", "NegatesItsScore", "CentersItsScore")
        ),
        *(
            spec(name, "Encoder", "Decoder", module="reals", **LATENT)
            for name in ("RealLatent", "DecodesInBits")
        ),
        *(
            spec(name, "Encoder", "Decoder", **LATENT)
            for name in ("Latent", "HalvesItsLikelihood")
        ),
    ]
