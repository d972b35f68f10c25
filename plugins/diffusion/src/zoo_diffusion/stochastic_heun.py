"""Heun's method with churn (Karras et al., 2022, algorithm 2) as one table.

A step that churns is preceded by a row that only adds noise, from n = sigma / alpha to
n' = (1 + gamma) n: x' = alpha' (x / alpha + s sqrt(n'^2 - n^2) z).
"""

import torch
from torch import Tensor

from zoo_core.plugin import Schedule
from zoo_diffusion.sampling_loop import Plan, Walk
from zoo_diffusion.schedules import time_at
from zoo_kernels import denoise
from zoo_kernels.denoise import reference as columns

__all__ = ["heun"]


def heun(
    schedule: Schedule,
    path: Walk,
    prediction: str,
    *,
    gamma: float,
    within: tuple[float, float],
    noise: float,
) -> Plan:
    """Rows of all steps; times, alpha and sigma are those that each row finds."""
    tables, found, calls = [], [], []
    most = (path.sigma[0] / path.alpha[0]).item()
    for i in range(len(path.times)):
        here = torch.stack((path.times[i], path.alpha[i], path.sigma[i]))
        n = (here[2] / here[1]).item()
        higher = min(n * (1 + gamma), most) if within[0] <= n <= within[1] else n
        if higher > n:
            raised = _at(schedule, higher)
            tables.append(_churn(here, raised, noise))
            found.append(here)
            calls.append(False)
            here = raised
        ends = torch.stack((here[1:], torch.stack((path.alpha[i + 1], path.sigma[i + 1]))))
        tables.append(denoise.heun(ends[:, 0], ends[:, 1], prediction=prediction).table)
        found.append(here)
        if len(tables[-1]) == 2:
            found.append(_at(schedule, float(ends[1, 1] / ends[1, 0])))
        calls += [True] * len(tables[-1])
    steps = denoise.Steps(torch.cat(tables), noisy=not all(calls), remembers=True)
    t, alpha, sigma = torch.stack(found).unbind(1)
    return Plan(steps, t, alpha, sigma, tuple(calls), path.deviation)


def _at(schedule: Schedule, n: float) -> Tensor:
    """Time, alpha and sigma where sigma / alpha = n, float64 (3,)."""
    t = time_at(schedule, -2 * torch.tensor([n], dtype=torch.float64).log())
    return torch.cat((t, schedule.alpha(t), schedule.sigma(t))).cpu()


def _churn(here: Tensor, raised: Tensor, noise: float) -> Tensor:
    row = torch.zeros(1, columns.COLUMNS, dtype=torch.float64)
    n, higher = here[2] / here[1], raised[2] / raised[1]
    row[0, columns.C_X] = raised[1] / here[1]
    row[0, columns.S] = noise * raised[1] * (higher.square() - n.square()).clamp(min=0).sqrt()
    return row.float()
