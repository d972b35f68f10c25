"""What this family declares to the zoo; it imports no torch."""

from zoo_core import ModelSpec, SamplerSpec, hookimpl

__all__ = ["ZOO_API", "zoo_models", "zoo_samplers"]

ZOO_API = 1


@hookimpl
def zoo_models() -> list[ModelSpec]:
    return [
        ModelSpec(
            arch="made",
            family="autoregressive",
            density="explicit/tractable",
            target="zoo_autoregressive.made:MADE",
            config="zoo_autoregressive.made:Config",
            capabilities=("Density", "Conditionals"),
            default_likelihood="exact",
            default_sampler="sequential",
            summary="masked autoencoder: every conditional in one pass of an MLP",
            paper="https://arxiv.org/abs/1502.03509",
            tiny=(("shape", (1, 3, 3)), ("hidden", 16)),
        ),
        ModelSpec(
            arch="gated_pixelcnn",
            family="autoregressive",
            density="explicit/tractable",
            target="zoo_autoregressive.gated_pixelcnn:GatedPixelCNN",
            config="zoo_autoregressive.gated_pixelcnn:Config",
            capabilities=("Density", "Conditionals"),
            default_likelihood="exact",
            default_sampler="sequential",
            summary="two stacks of gated masked convolutions, optionally class-conditional",
            paper="https://arxiv.org/abs/1606.05328",
            tiny=(("shape", (1, 3, 3)), ("hidden", 4), ("layers", 3), ("head", 4)),
        ),
        ModelSpec(
            arch="multiscale_pixelcnn",
            family="autoregressive",
            density="explicit/tractable",
            target="zoo_autoregressive.multiscale_pixelcnn:MultiscalePixelCNN",
            config="zoo_autoregressive.multiscale_pixelcnn:Config",
            capabilities=("Density", "Conditionals"),
            default_likelihood="exact",
            default_sampler="sequential",
            summary="gated blocks at full, half and quarter resolution: the best on a CPU",
            paper="https://arxiv.org/abs/1606.05328",
            tiny=(("shape", (1, 3, 3)), ("hidden", (4, 6)), ("blocks", (1, 1)), ("head", 4)),
        ),
    ]


@hookimpl
def zoo_samplers() -> list[SamplerSpec]:
    return [
        SamplerSpec(
            "sequential",
            "zoo_autoregressive.samplers:Sequential",
            requires=("Conditionals",),
            summary="one value after another from its conditional; completes partly known events",
        )
    ]
