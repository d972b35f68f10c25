"""Likelihoods of diffusion models: the variational bound and the probability flow's density."""

from zoo_diffusion.likelihoods.ode import ODELikelihood
from zoo_diffusion.likelihoods.vlb import VLB, ContinuousVLB

__all__ = ["VLB", "ContinuousVLB", "ODELikelihood"]
