"""The plugin's declarations; importing this module imports no torch."""

from zoo_core.plugin import ModelSpec, hookimpl

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
            config="zoo_vae.vae:VAEConfig",
            capabilities=("Encoder", "Decoder"),
            default_likelihood="elbo",
            default_loss="elbo",
            summary="normal latents between an encoder and a decoder, dense or convolutional",
            paper="https://arxiv.org/abs/1312.6114",
            tiny=(("shape", (1, 2, 4)), ("latent", 2), ("hidden", (8,)), ("channels", (4,))),
        ),
        ModelSpec(
            arch="iwae",
            family="vae",
            density="explicit/approximate",
            target="zoo_vae.iwae:ImportanceWeightedAutoencoder",
            config="zoo_vae.iwae:IWAEConfig",
            capabilities=("Encoder", "Decoder"),
            default_likelihood="elbo",
            default_loss="iwae",
            summary="groups of normal latents, trained on the importance-weighted bound",
            paper="https://arxiv.org/abs/1509.00519",
            tiny=(("shape", (1, 2, 3)), ("latent", (3, 2)), ("hidden", (6, 4))),
        ),
        ModelSpec(
            arch="hvae",
            family="vae",
            density="explicit/approximate",
            target="zoo_vae.hvae:HVAE",
            config="zoo_vae.hvae:HVAEConfig",
            capabilities=("Encoder", "Decoder"),
            default_likelihood="elbo",
            default_loss="elbo",
            summary="hierarchical VAE of convolutional latent groups with top-down inference",
            paper="https://arxiv.org/abs/1602.02282",
            tiny=(("shape", (1, 4, 2)), ("channels", (4,)), ("blocks", (3,)), ("latent", (1,))),
        ),
    ]
