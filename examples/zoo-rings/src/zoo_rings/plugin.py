"""The plugin's declarations; importing this module imports no torch."""

from zoo_core.plugin import ModelSpec, hookimpl

__all__ = ["ZOO_API", "zoo_models"]

ZOO_API = 1


@hookimpl
def zoo_models() -> list[ModelSpec]:
    return [
        ModelSpec(
            arch="ring_mixture",
            family="rings",
            density="explicit/tractable",
            target="zoo_rings.model:RingMixture",
            config="zoo_rings.model:Config",
            capabilities=("Density",),
            default_likelihood="exact_density",
            summary="mixture of rings in the plane",
        )
    ]
