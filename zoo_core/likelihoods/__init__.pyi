"""The generic likelihoods and losses: this file is the one table of these names."""

from .ais import AIS as AIS
from .ais import GeneratorAIS as GeneratorAIS
from .elbo import ELBO as ELBO
from .elbo import ELBOLoss as ELBOLoss
from .exact import Exact as Exact
from .exact import ExactDensity as ExactDensity
from .iwae import IWAE as IWAE
from .iwae import IWAELoss as IWAELoss
from .per_dimension import log_prob_map as log_prob_map
