"""The models, losses, samplers and latent tools of this family, by the names users import."""

from .dcgan import DCGAN as DCGAN
from .dcgan import DCGANConfig as DCGANConfig
from .latent import Projection as Projection
from .latent import project as project
from .latent import truncation_sweep as truncation_sweep
from .losses import AdversarialLoss as AdversarialLoss
from .losses import Hinge as Hinge
from .losses import NonSaturating as NonSaturating
from .losses import Relativistic as Relativistic
from .losses import Wasserstein as Wasserstein
from .r3gan import R3GAN as R3GAN
from .r3gan import R3GANConfig as R3GANConfig
from .samplers import Truncated as Truncated
from .wgan_gp import WGANGP as WGANGP
from .wgan_gp import WGANGPConfig as WGANGPConfig

__version__: str
