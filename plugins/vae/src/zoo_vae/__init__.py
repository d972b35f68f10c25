"""Variational autoencoders: a Density Zoo plugin.

    from zoo_vae import VAE, VAEConfig

    model = VAE(VAEConfig(shape=(1, 8, 8), levels=17, likelihood="categorical"))

The names are those of `__init__.pyi`; bounds and losses (`ELBO`, `IWAE`, ...) are in `zoo_core`.
Names resolve on first use, so that importing this package imports no torch.
"""

from zoo_core.plugin import attach

__version__ = "0.2.0"
__getattr__, __dir__, __all__ = attach(__name__, __file__)
