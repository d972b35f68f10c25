"""Samplers of diffusion models, each with its equations and its source."""

from zoo_diffusion.samplers.adaptive import ODE
from zoo_diffusion.samplers.flow_maps import FlowMapSteps, MultiStep, OneStep
from zoo_diffusion.samplers.inversion import decode, encode, interpolate
from zoo_diffusion.samplers.multistep import DPMpp2M, DPMpp3M, DPMppSDE, UniPC
from zoo_diffusion.samplers.one_step import DDIM, Ancestral, Euler, EulerAncestral, Heun, Midpoint
from zoo_diffusion.samplers.predictor_corrector import PC
from zoo_diffusion.samplers.solver import Solver

__all__ = [
    "DDIM",
    "ODE",
    "PC",
    "Ancestral",
    "DPMpp2M",
    "DPMpp3M",
    "DPMppSDE",
    "Euler",
    "EulerAncestral",
    "FlowMapSteps",
    "Heun",
    "Midpoint",
    "MultiStep",
    "OneStep",
    "Solver",
    "UniPC",
    "decode",
    "encode",
    "interpolate",
]
