"""diffusers' scheduler steps on the linear schedule, 50 of 1,000 steps, as its pipelines call
them: the guidance is combined beforehand, the noise is torch's (another stream, the same work)."""

from functools import cache
from typing import Any

import torch
from torch import Tensor

STEP = 1  # what the benchmark's index says


@cache
def _scheduler(name: str) -> tuple[Any, int]:
    import diffusers

    options = {"beta_schedule": "linear"}
    if name != "DPMSolverMultistepScheduler":
        options["clip_sample"] = True
    scheduler = getattr(diffusers, name)(**options)
    scheduler.set_timesteps(50)
    return scheduler, int(scheduler.timesteps[STEP])


def _guided(output: Tensor, unconditional: Tensor | None, guidance: float) -> Tensor:
    if unconditional is None:
        return output
    return unconditional + guidance * (output - unconditional)


def _step(name: str, args: tuple[Any, ...]) -> Tensor:
    x, output, unconditional, *_ = args
    scheduler, t = _scheduler(name)
    return scheduler.step(_guided(output, unconditional, args[11]), t, x, return_dict=False)[0]


def ddim(*args: Any) -> Tensor:
    return _step("DDIMScheduler", args)


ddim_guided = ddim


def ddpm(*args: Any) -> Tensor:
    return _step("DDPMScheduler", args)


def dpm_solver_pp(*args: Any) -> Tensor:
    scheduler, _ = _scheduler("DPMSolverMultistepScheduler")
    scheduler._step_index, scheduler.lower_order_nums = STEP, 1  # always the second-order step
    scheduler.model_outputs = [args[4], args[4]]
    return _step("DPMSolverMultistepScheduler", args)


@cache
def _compile(f: Any) -> Any:
    return torch.compile(f)


def ddim_compiled(*args: Any) -> Tensor:
    return _compile(ddim)(*args)


ddim_guided_compiled = ddim_compiled


def ddpm_compiled(*args: Any) -> Tensor:
    return _compile(ddpm)(*args)


def dpm_solver_pp_compiled(*args: Any) -> Tensor:
    return _compile(dpm_solver_pp)(*args)
