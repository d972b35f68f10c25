"""A model of two models in miniature: an autoencoder's codes, and a prior over them."""

from zoo_core.plugin import LikelihoodKind, LikelihoodSpec, LossSpec, ModelSpec, hookimpl

ZOO_API = 1
AUTOENCODER = "zoo_core.catalog.capabilities:Autoencoder"


@hookimpl
def zoo_models():
    return [
        ModelSpec(
            "mini_vq",
            family="miniature",
            density="implicit",
            target="zoo_twostage.vq:MiniVQ",
            config="zoo_twostage.vq:Config",
            capabilities=(AUTOENCODER,),
            default_loss="mini_vq",
            tiny=(("hidden", 4),),
        ),
        ModelSpec(
            "mini_latent",
            family="miniature",
            density="implicit",
            target="zoo_twostage.vq:MiniLatent",
            config="zoo_twostage.vq:LatentConfig",
            capabilities=("zoo_twostage.vq:HasPrior",),
            default_likelihood="tokens",
            default_loss=None,
            submodels=(("autoencoder", "mini_vq"), ("prior", "made")),
        ),
    ]


@hookimpl
def zoo_losses():
    return [LossSpec("mini_vq", "zoo_twostage.vq:VQLoss", requires=(AUTOENCODER,))]


@hookimpl
def zoo_likelihoods():
    return [
        LikelihoodSpec(
            "tokens",
            "zoo_twostage.vq:Tokens",
            LikelihoodKind("tokens", "equal", "of the latents"),
            requires=("zoo_twostage.vq:HasPrior",),
        )
    ]
