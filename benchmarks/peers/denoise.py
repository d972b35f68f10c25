"""diffusers' scheduler steps on the linear schedule, 50 of 1,000 steps, as its pipelines call
them: the guidance is combined beforehand, the noise is torch's (another stream, the same work)."""

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

from zoo_kernels.denoise.reference import StepArguments

STEP = 1  # what the benchmark's index says


@cache
def _scheduler(name: str) -> tuple[Any, int]:
    import diffusers

    scheduler = getattr(diffusers, name)(beta_schedule="linear")
    if name == "DPMSolverMultistepScheduler":  # its own choice of times would be another
        scheduler.set_timesteps(timesteps=list(range(980, -1, -20)))
    else:
        scheduler.set_timesteps(50)
    return scheduler, int(scheduler.timesteps[STEP])


Step = Callable[[Tensor, Tensor, Tensor | None, float], Tensor]


@cache
def _stepper(name: str) -> Step:
    """A pipeline's step with its scheduler; what is compiled is this, without the set-up."""
    scheduler, t = _scheduler(name)

    def step(x: Tensor, output: Tensor, unconditional: Tensor | None, guidance: float) -> Tensor:
        if unconditional is not None:
            output = unconditional + guidance * (output - unconditional)
        stepped: Tensor = scheduler.step(output, t, x, return_dict=False)[0]
        return stepped

    return step


@cache
def _compiled(name: str) -> Step:
    step: Step = torch.compile(_stepper(name), dynamic=False)
    return step


def _inputs(a: StepArguments) -> tuple[Tensor, Tensor, Tensor | None, float]:
    return a.x, a.output, a.unconditional, a.guidance


def ddim(*args: Any) -> Tensor:
    a = StepArguments(*args)
    return _stepper("DDIMScheduler")(*_inputs(a))


def ddim_compiled(*args: Any) -> Tensor:
    a = StepArguments(*args)
    return _compiled("DDIMScheduler")(*_inputs(a))


ddim_guided, ddim_guided_compiled = ddim, ddim_compiled


def ddpm(*args: Any) -> Tensor:
    a = StepArguments(*args)
    return _stepper("DDPMScheduler")(*_inputs(a))


def ddpm_compiled(*args: Any) -> Tensor:
    a = StepArguments(*args)
    return _compiled("DDPMScheduler")(*_inputs(a))


def _second_order(last: Tensor | None) -> str:
    """DPM-Solver++ with `last` as the last prediction of x0: always the second-order step."""
    name = "DPMSolverMultistepScheduler"
    scheduler, _ = _scheduler(name)
    scheduler._step_index, scheduler.lower_order_nums = STEP, 1
    scheduler.model_outputs = [last, last]
    return name


def dpm_solver_pp(*args: Any) -> Tensor:
    a = StepArguments(*args)
    return _stepper(_second_order(a.multistep_buffer))(*_inputs(a))


def dpm_solver_pp_compiled(*args: Any) -> Tensor:
    a = StepArguments(*args)
    return _compiled(_second_order(a.multistep_buffer))(*_inputs(a))
