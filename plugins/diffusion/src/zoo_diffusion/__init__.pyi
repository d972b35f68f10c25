"""The models, losses, samplers and likelihoods of this family, by the names users import."""

from .ddpm import DDPM as DDPM
from .ddpm import DDPMConfig as DDPMConfig
from .edm import EDM as EDM
from .edm import EDMConfig as EDMConfig
from .edm import EDMLoss as EDMLoss
from .flow_loss import FlowMatchingLoss as FlowMatchingLoss
from .flow_matching import FlowMatching as FlowMatching
from .flow_matching import FlowMatchingConfig as FlowMatchingConfig
from .likelihoods import VLB as VLB
from .likelihoods import ContinuousVLB as ContinuousVLB
from .likelihoods import ODELikelihood as ODELikelihood
from .losses import ContinuousVLBLoss as ContinuousVLBLoss
from .losses import SimpleLoss as SimpleLoss
from .losses import VLBLoss as VLBLoss
from .networks import MLPConfig as MLPConfig
from .networks import UNetConfig as UNetConfig
from .samplers import DDIM as DDIM
from .samplers import ODE as ODE
from .samplers import PC as PC
from .samplers import Ancestral as Ancestral
from .samplers import DPMpp2M as DPMpp2M
from .samplers import DPMpp3M as DPMpp3M
from .samplers import DPMppSDE as DPMppSDE
from .samplers import Euler as Euler
from .samplers import EulerAncestral as EulerAncestral
from .samplers import Heun as Heun
from .samplers import Midpoint as Midpoint
from .samplers import UniPC as UniPC
from .samplers import decode as decode
from .samplers import encode as encode
from .samplers import interpolate as interpolate
from .score import ScoreAt as ScoreAt
from .vdm import VDM as VDM
from .vdm import VDMConfig as VDMConfig
from .vdm import VDMLoss as VDMLoss
from .ve_sde import VESDE as VESDE
from .ve_sde import VESDEConfig as VESDEConfig
from .vp_sde import VPSDE as VPSDE
from .vp_sde import VPSDEConfig as VPSDEConfig

__version__: str
