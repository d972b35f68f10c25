"""What this plugin declares. It imports neither torch nor numpy: targets are resolved on use."""

from zoo_core import ModelSpec, hookimpl

__all__ = ["ZOO_API", "zoo_models"]

ZOO_API = 1


@hookimpl
def zoo_models() -> list[ModelSpec]:
    return [
        ModelSpec(
            arch="acme_mixture",
            family="acme-mixture",
            density="explicit/tractable",
            target="zoo_acme_mixture.model:AcmeMixtureMixture",
            config="zoo_acme_mixture.model:Config",
            capabilities=("Density",),
            default_likelihood="exact_density",
            summary="mixture of Gaussians in the plane",
            tiny=(("components", 3),),
        )
    ]
