"""The models of this family, by the names users import."""

from .hvae import HVAE as HVAE
from .hvae import HVAEConfig as HVAEConfig
from .iwae import ImportanceWeightedAutoencoder as ImportanceWeightedAutoencoder
from .iwae import IWAEConfig as IWAEConfig
from .vae import VAE as VAE
from .vae import VAEConfig as VAEConfig

__version__: str
