"""What this family declares to the zoo; it imports no torch."""

from zoo_core import ModelSpec, hookimpl

__all__ = ["ZOO_API", "zoo_models"]

ZOO_API = 1


@hookimpl
def zoo_models() -> list[ModelSpec]:
    return [
        ModelSpec(
            arch="vae",
            family="vae",
            density="explicit/approximate",
            target="zoo_vae.vae:VAE",
            config="zoo_vae.vae:Config",
            capabilities=("Encoder", "Decoder"),
            default_likelihood="elbo",
            default_loss="elbo",
            summary="normal codes between two networks, dense or convolutional",
            paper="https://arxiv.org/abs/1312.6114",
            tiny=(("shape", (1, 2, 4)), ("latent", 2), ("hidden", (8,)), ("channels", (4,))),
        ),
    ]
