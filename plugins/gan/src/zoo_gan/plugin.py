"""The plugin's declarations; importing this module imports no torch."""

from zoo_core.plugin import ConverterSpec, LossSpec, ModelSpec, SamplerSpec, hookimpl

__all__ = ["ZOO_API", "zoo_converters", "zoo_losses", "zoo_models", "zoo_samplers"]

ZOO_API = 1

_ADVERSARIES = "zoo_gan.model:Adversaries"


@hookimpl
def zoo_models() -> list[ModelSpec]:
    return [
        ModelSpec(
            arch="dcgan",
            family="gan",
            density="implicit",
            target="zoo_gan.dcgan:DCGAN",
            config="zoo_gan.dcgan:DCGANConfig",
            capabilities=("Generator", _ADVERSARIES),
            default_loss="non_saturating",
            summary="convolutions with batch normalization; reads the PyTorch tutorial's weights",
            paper="https://arxiv.org/abs/1511.06434",
            tiny=(("channels", 1), ("kernels", (2, 4)), ("width", 4), ("latent", 4)),
        ),
        ModelSpec(
            arch="wgan_gp",
            family="gan",
            density="implicit",
            target="zoo_gan.wgan_gp:WGANGP",
            config="zoo_gan.wgan_gp:WGANGPConfig",
            capabilities=("Generator", _ADVERSARIES),
            default_loss="wasserstein",
            summary="Wasserstein GAN with a gradient penalty; images or vectors",
            paper="https://arxiv.org/abs/1704.00028",
            tiny=(("shape", (1, 4, 4)), ("width", 4), ("latent", 4), ("downsamples", 1)),
        ),
        ModelSpec(
            arch="r3gan",
            family="gan",
            density="implicit",
            target="zoo_gan.r3gan:R3GAN",
            config="zoo_gan.r3gan:R3GANConfig",
            capabilities=("Generator", _ADVERSARIES),
            default_loss="relativistic",
            summary="relativistic GAN with R1 and R2, residual networks; images or vectors",
            paper="https://arxiv.org/abs/2501.05441",
            tiny=(
                ("shape", (1, 4, 4)),
                ("levels", 5),
                ("classes", 3),
                ("latent", 4),
                ("widths", (4, 4)),
                ("group", 4),
                ("patch", 1),
            ),
        ),
    ]


@hookimpl
def zoo_losses() -> list[LossSpec]:
    needs = ("Generator", _ADVERSARIES)
    return [
        LossSpec(
            "non_saturating",
            "zoo_gan.losses:NonSaturating",
            requires=needs,
            summary="the loss of the first GANs: G maximizes log D",
        ),
        LossSpec(
            "hinge",
            "zoo_gan.losses:Hinge",
            requires=needs,
            summary="hinge loss with a margin of 1",
        ),
        LossSpec(
            "wasserstein",
            "zoo_gan.losses:Wasserstein",
            requires=needs,
            summary="difference of mean scores, with a gradient penalty on D (WGAN-GP)",
        ),
        LossSpec(
            "relativistic",
            "zoo_gan.losses:Relativistic",
            requires=needs,
            summary="real and generated scores compared in pairs, with R1 and R2 penalties",
        ),
    ]


@hookimpl
def zoo_samplers() -> list[SamplerSpec]:
    return [
        SamplerSpec(
            "truncated",
            "zoo_gan.samplers:Truncated",
            requires=("Generator", _ADVERSARIES),
            summary="truncation trick: latents within a threshold; less diversity, more fidelity",
        )
    ]


@hookimpl
def zoo_converters() -> list[ConverterSpec]:
    return [
        ConverterSpec(
            "dcgan_tutorial",
            "zoo_gan.convert:DCGANTutorial",
            arch="dcgan",
            summary="generators in the layout of the PyTorch DCGAN tutorial",
        ),
        ConverterSpec(
            "r3gan",
            "zoo_gan.convert_r3gan:FromR3GAN",
            arch="r3gan",
            summary="published pickles of R3GAN: the generator, and perhaps the discriminator",
        ),
    ]
