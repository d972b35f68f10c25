"""The models of this family, and the bounds and losses of every encoder-decoder model."""

from zoo_core.likelihoods.ais import AIS as AIS
from zoo_core.likelihoods.elbo import ELBO as ELBO
from zoo_core.likelihoods.elbo import ELBOLoss as ELBOLoss
from zoo_core.likelihoods.iwae import IWAE as IWAE
from zoo_core.likelihoods.iwae import IWAELoss as IWAELoss

from .hvae import HVAE as HVAE
from .hvae import HVAEConfig as HVAEConfig
from .iwae import ImportanceWeightedAutoencoder as ImportanceWeightedAutoencoder
from .iwae import IWAEConfig as IWAEConfig
from .vae import VAE as VAE
from .vae import VAEConfig as VAEConfig

__version__: str
