"""Declares the correct models and every fault, so that each fault is the only thing wrong."""

import zoo_core as zoo

ZOO_API = 1
COINS = (
    "Coins Unnormalized SamplesAnotherLaw DrawsFromTorch CouplesTheBatch IgnoresTheSeed "
    "SamplesFloats HasAnIdleParameter HidesACapability CountsItsSamples ForgetsABuffer "
    "ScoresTheBatch ScoresWithNoise ScoresAnything SamplesNothing IgnoresConditions "
    "MutatesItsConfig StartsInAForwardPass"
).split()


def spec(name, *capabilities, **fields):
    return zoo.ModelSpec(
        name.lower(),
        family="broken",
        density="explicit/tractable",
        target=f"zoo_broken.models:{name}",
        config="zoo_broken.models:Config",
        capabilities=capabilities,
        **fields,
    )


@zoo.hookimpl
def zoo_models():
    return [
        *(spec(name, "Density", default_likelihood="exact") for name in COINS),
        spec("ClaimsACapability", "Density", "Score", default_likelihood="exact"),
        spec("ScoresWithoutALikelihood", "Density"),
        spec("PeeksAhead", "Density", "Conditionals", default_likelihood="exact"),
        *(
            spec(name, "Density", "Bijection", default_likelihood="exact_density")
            for name in ("Stretch", "MisstatesItsJacobian")
        ),
        *(
            spec(name, "Encoder", "Decoder", default_likelihood="elbo", default_loss="elbo")
            for name in ("Latent", "HalvesItsLikelihood")
        ),
    ]
