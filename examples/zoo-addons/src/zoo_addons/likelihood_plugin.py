"""A plugin that adds one likelihood. Importing this module imports no torch."""

from zoo_core.plugin import LikelihoodKind, LikelihoodSpec, hookimpl

__all__ = ["ZOO_API"]

ZOO_API = 1


@hookimpl
def zoo_likelihoods() -> list[LikelihoodSpec]:
    return [
        LikelihoodSpec(
            "jackknife",
            "zoo_addons.jackknife:Jackknife",
            LikelihoodKind("jackknife", "estimate"),
            requires=("Encoder", "Decoder"),
            summary="jackknife estimate: IWAE without its first-order bias",
        )
    ]
