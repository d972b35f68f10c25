"""A family plugin in miniature: what a third party writes, and the plugin of the core's tests."""

from zoo_core.plugin import LossSpec, ModelSpec, SamplerSpec, hookimpl

ZOO_API = 1


@hookimpl
def zoo_models():
    return [
        ModelSpec(
            "mini_ar",
            family="miniature",
            density="explicit/tractable",
            target="zoo_mini.autoregressive:MiniAR",
            config="zoo_mini.autoregressive:Config",
            capabilities=("Density", "Conditionals"),
            default_likelihood="exact",
            tiny=(("side", 2), ("hidden", 8)),
        ),
        ModelSpec(
            "mini_flow",
            family="miniature",
            density="explicit/tractable",
            target="zoo_mini.flow:MiniFlow",
            config="zoo_mini.flow:Config",
            capabilities=("Density", "Bijection"),
            default_likelihood="exact_density",
            tiny=(("layers", 2), ("hidden", 8)),
        ),
        ModelSpec(
            "mini_vae",
            family="miniature",
            density="explicit/approximate",
            target="zoo_mini.vae:MiniVAE",
            config="zoo_mini.vae:Config",
            capabilities=("Encoder", "Decoder"),
            default_likelihood="elbo",
            default_loss="elbo",
            tiny=(("side", 2), ("hidden", 8)),
        ),
        ModelSpec(
            "mini_gan",
            family="miniature",
            density="implicit",
            target="zoo_mini.gan:MiniGAN",
            config="zoo_mini.gan:Config",
            capabilities=("Generator",),
            default_loss="mini_adversarial",
            tiny=(("hidden", 8),),
        ),
        ModelSpec(
            "mini_diffusion",
            family="miniature",
            density="explicit/score",
            target="zoo_mini.diffusion:MiniDiffusion",
            config="zoo_mini.diffusion:Config",
            capabilities=("Denoiser",),
            default_sampler="mini_ddim",
            default_loss="mini_denoising",
            tiny=(("hidden", 8),),
        ),
        ModelSpec(
            "mini_stack",
            family="miniature",
            density="explicit/tractable",
            target="zoo_mini.stack:MiniStack",
            config="zoo_mini.stack:Config",
            capabilities=("Density",),
            default_likelihood="exact",
            submodels=(("base", "mini_ar"),),
        ),
    ]


@hookimpl
def zoo_losses():
    return [
        LossSpec("mini_adversarial", "zoo_mini.gan:Adversarial", requires=("Generator",)),
        LossSpec("mini_denoising", "zoo_mini.diffusion:Denoising", requires=("Denoiser",)),
    ]


@hookimpl
def zoo_samplers():
    return [SamplerSpec("mini_ddim", "zoo_mini.diffusion:DDIM", requires=("Denoiser",))]
