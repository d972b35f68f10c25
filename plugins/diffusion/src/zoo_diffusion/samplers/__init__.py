"""Samplers of diffusion models."""

from zoo_diffusion.samplers.solvers import (
    DDIM,
    ODE,
    Ancestral,
    DPMpp2M,
    Heun,
    Solver,
    heun_table,
)

__all__ = ["DDIM", "ODE", "Ancestral", "DPMpp2M", "Heun", "Solver", "heun_table"]
