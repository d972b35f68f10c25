"""Sample arguments, costs, benchmark rows and compiled variants of the denoising step."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from zoo_kernels._examples import Bench, Case, Cost, Examples, Variant, positions
from zoo_kernels.denoise.reference import StepArguments, ThresholdArguments
from zoo_kernels.denoise.tables import Steps, ddim, ddpm, dpm_solver_pp, heun


def _cost(*args: Any) -> Cost:
    a = StepArguments(*args)
    read = 2 + sum(t is not None for t in (a.unconditional, a.variance, a.multistep_buffer))
    moved = a.x.numel() * a.x.element_size() * (read + 1 + a.remember)
    return Cost(bytes=moved, flops=10 * a.x.numel())


def _cost_threshold(*args: Any) -> Cost:
    a = ThresholdArguments(*args)
    read = 2 + (a.unconditional is not None)
    return Cost(bytes=a.x.numel() * a.x.element_size() * read, flops=4 * a.x.numel())


def _schedule(n: int) -> tuple[Tensor, Tensor]:
    angle = torch.linspace(1.4, 0.0, n + 1, dtype=torch.float64)
    return angle.cos(), angle.sin()


def _arguments(
    shape: tuple[int, ...],
    generator: torch.Generator,
    dtype: torch.dtype,
    steps: Steps,
    *,
    index: int = 1,
    guided: bool = False,
    thresholded: bool = False,
    clip: float = 0.0,
) -> StepArguments:
    def draw() -> Tensor:
        return torch.randn(shape, generator=generator).to(dtype)

    return StepArguments(
        x=draw(),
        output=draw(),
        unconditional=draw() if guided else None,
        variance=draw() if steps.learned_variance else None,
        multistep_buffer=draw() if steps.remembers else None,
        dynamic_threshold=(
            1 + torch.rand(shape[:1], generator=generator) if thresholded else None
        ),
        table=steps.table,
        table_row=torch.tensor([index]),
        rows=torch.arange(shape[0]) + 5,
        seed=2**40 + 3,
        stream=7,
        guidance=2.5 if guided else 1.0,
        clip=clip,
        noisy=steps.noisy,
        remember=steps.remembers,
    )


_BATCHED = {
    *("x", "output", "unconditional", "variance", "multistep_buffer", "dynamic_threshold"),
    "rows",
}


def _case(
    name: str,
    arguments: Callable[[torch.Generator, torch.dtype], StepArguments | ThresholdArguments],
) -> Case:
    """The batch is dimension 0 of those `_BATCHED` arguments that are present."""
    example = arguments(torch.Generator(), torch.float32)
    present = [k for k, v in example._asdict().items() if k in _BATCHED and v is not None]
    return Case(name, lambda *made: tuple(arguments(*made)), positions(example, *present))


def _step_case(name: str, shape: tuple[int, ...], steps: Steps, **options: Any) -> Case:
    def arguments(generator: torch.Generator, dtype: torch.dtype) -> StepArguments:
        return _arguments(shape, generator, dtype, steps, **options)

    return _case(name, arguments)


_LEARNED = ddpm(*_schedule(4), variance="learned")
_STEP_CASES = (
    _step_case("ddpm-learned-guided", (3, 2, 5, 7), _LEARNED, guided=True, clip=1.0),
    _step_case("ddim-clip", (2, 130), ddim(*_schedule(4)), clip=1.0),
    _step_case("ddim-noise-v", (1, 1), ddim(*_schedule(4), prediction="v", eta=1.0)),
    _step_case(
        "2m-threshold",
        (2, 3, 43),
        dpm_solver_pp(*_schedule(4), prediction="x0"),
        thresholded=True,
    ),
    _step_case("heun-last", (5, 3), heun(*_schedule(4)), index=6),
)


def _threshold_case(name: str, *shape: int, guided: bool, quantile: float) -> Case:
    def arguments(generator: torch.Generator, dtype: torch.dtype) -> ThresholdArguments:
        a = _arguments(shape, generator, dtype, ddim(*_schedule(4)), guided=guided)
        return ThresholdArguments(
            x=a.x,
            output=a.output,
            unconditional=a.unconditional,
            table=a.table,
            table_row=a.table_row,
            guidance=a.guidance,
            quantile=quantile,
            max=3.0,
        )

    return _case(name, arguments)


_THRESHOLD_CASES = (
    _threshold_case("guided", 3, 2, 41, guided=True, quantile=0.6),
    _threshold_case("one", 1, 1, guided=False, quantile=0.995),
    _threshold_case("top", 2, 33, guided=False, quantile=1.0),
)


def _images(steps: Steps, **options: Any) -> Callable[[torch.Generator], tuple[Any, ...]]:
    def make(generator: torch.Generator) -> tuple[Any, ...]:
        return tuple(_arguments((64, 3, 64, 64), generator, torch.float32, steps, **options))

    return make


def _bench(name: str, steps: Steps, **options: Any) -> Bench:
    peers = {
        "diffusers": f"peers.denoise:{name}",
        "diffusers compiled": f"peers.denoise:{name}_compiled",
    }
    return Bench(f"{name} 64x3x64x64", _images(steps, **options), peers)


def linear_schedule(inference: int = 50, training: int = 1000) -> tuple[Tensor, Tensor]:
    """DDPM's betas at every 20th step from the end, then clean data: what diffusers walks."""
    bar = (1 - torch.linspace(1e-4, 0.02, training, dtype=torch.float64)).cumprod(0)
    chosen = bar[:: training // inference].flip(0)
    alpha_bar = torch.cat([chosen, torch.ones(1, dtype=torch.float64)])
    return alpha_bar.sqrt(), (1 - alpha_bar).sqrt()


_PATH = linear_schedule()
_TYPES = {"fp32": "*fp32", "bf16": "*bf16"}
_INTEGERS = {
    "m_row": "i64",
    "u_row": "i64",
    "v_row": "i64",
    "d": "i32",
    "pieces": "i32",
    "n_steps": "i32",
    "seed": "i64",
    "stream": "i64",
}
_FLOATS = {"guidance": "fp32", "clip": "fp32"}
_FLAGS = ("GUIDED", "LEARNED", "BUFFERED", "THRESHOLDED", "CLIP", "NOISY", "REMEMBER")


def _variant(kind: str, *flags: str, registers: int) -> Variant:
    pointers = ("p_out", "p_kept", "p_x", "p_m", "p_u", "p_v", "p_h")
    signature = {p: _TYPES[kind] for p in pointers}
    signature |= {"p_threshold": "*fp32", "p_table": "*fp32", "p_index": "*i64", "p_rows": "*i64"}
    return Variant(
        "zoo_kernels.denoise._triton:_step_kernel",
        signature | _INTEGERS | _FLOATS,
        {flag: flag in flags for flag in _FLAGS} | {"BLOCK": 256},
        registers,
        aligned=(*pointers, "d", "m_row", "u_row", "v_row"),
        deterministic=True,
        fused=11 if "NOISY" in flags else 0,
        vector_loads=True,  # the square root's own
    )


def step() -> Examples:
    return Examples(
        cases=_STEP_CASES,
        cost=_cost,
        bench=(
            _bench("ddim", ddim(*_PATH), clip=1.0),
            _bench("ddim_guided", ddim(*_PATH), clip=1.0, guided=True),
            _bench("ddpm", ddpm(*_PATH), clip=1.0),
            _bench("dpm_solver_pp", dpm_solver_pp(*_PATH)),
        ),
        variants=(
            _variant("fp32", "CLIP", registers=40),
            _variant("bf16", "CLIP", "GUIDED", registers=48),
            _variant("fp32", "CLIP", "NOISY", registers=80),
            _variant("bf16", "CLIP", "NOISY", "GUIDED", "LEARNED", registers=96),
            _variant("fp32", "BUFFERED", "REMEMBER", "GUIDED", registers=48),
        ),
    )


def dynamic_threshold() -> Examples:
    return Examples(
        cases=_THRESHOLD_CASES,
        cost=_cost_threshold,
        variants=(
            Variant(
                "zoo_kernels.denoise._triton:_threshold_kernel",
                {
                    "p_out": "*fp32",
                    "p_x": "*fp32",
                    "p_m": "*fp32",
                    "p_u": "*fp32",
                    "p_table": "*fp32",
                    "p_index": "*i64",
                    "m_row": "i64",
                    "u_row": "i64",
                    "d": "i32",
                    "n_steps": "i32",
                    "low": "i32",
                    "fraction": "fp32",
                    "guidance": "fp32",
                    "max": "fp32",
                },
                {"GUIDED": True, "BLOCK": 1024},
                registers=64,
                warps=8,
                aligned=("p_x", "p_m", "p_u", "d", "m_row", "u_row"),
                vector_loads=True,
            ),
        ),
    )
