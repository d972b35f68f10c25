"""The models and components of this family, and its use in other libraries' flows."""

from .flow import Flow as Flow
from .flow import FlowConfig as FlowConfig
from .glow import Glow as Glow
from .glow import GlowConfig as GlowConfig
from .jacobi import IterativeInverse as IterativeInverse
from .jacobi import Jacobi as Jacobi
from .likelihood import DeqBound as DeqBound
from .likelihood import FlowNLL as FlowNLL
from .maf import MAF as MAF
from .maf import MAFConfig as MAFConfig
from .nsf_coupling import NSFCoupling as NSFCoupling
from .nsf_coupling import NSFCouplingConfig as NSFCouplingConfig
from .preprocessing import Preprocess as Preprocess
from .realnvp import RealNVP as RealNVP
from .realnvp import RealNVPConfig as RealNVPConfig
from .torch_distributions import AffineTransform as AffineTransform
from .torch_distributions import FlowDistribution as FlowDistribution
from .torch_distributions import SplineTransform as SplineTransform
from .torch_distributions import use_kernels as use_kernels

__version__: str
