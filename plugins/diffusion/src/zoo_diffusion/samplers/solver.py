"""What all solvers of a fixed number of steps share: their options, their loop and their table.

A solver is a `loop` in its paper's letters: `D(x, p)` gives x_0 and the network's epsilon at level
p, with alpha p.a, sigma p.s and n = sigma / alpha p.n; z(i) is the noise of step i. Its `table` is
the same loop as coefficients, one fused update a step (table.py); tests hold the two equal. A
solver whose steps depend on x has no table, and its loop runs.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from torch import Tensor

from zoo_core.plugin import ConfigError, Denoiser, Inpainting, Range, Rng, UsageError
from zoo_diffusion.samplers import fused_mlp
from zoo_diffusion.samplers.inpainting import InpaintingMethod, repaint
from zoo_diffusion.samplers.loop import (
    GuidanceAndClipping,
    Outputs,
    Trace,
    last_events,
    loop_states,
    prediction_type,
    start,
    trajectory,
)
from zoo_diffusion.samplers.table import Denoised, Noise, SolverTable, record
from zoo_diffusion.samplers.timesteps import Path, Spacing, time_path

__all__ = ["Solver", "Steps"]

Steps = Annotated[int, Range(1, 1 << 20)]
_RECORDED = 1001


@dataclass(frozen=True)
class Solver(ABC):
    """A sampler of a fixed number of `steps` with a spacing of times (`timesteps.py`).

    - `guidance_scale`, `guidance_interval`, `guidance_rescale`, `clip_denoised` and
      `dynamic_thresholding_ratio` are those of `GuidanceAndClipping`; guidance takes two calls of
      the network.
    - `strength`: the share of the steps that are taken, the last ones. They start at `x_T`, or at
      the event `init` with that time's noise (SDEdit; Meng et al., 2022).
    - `inpainting`: how observed values are conditioned on, by `inpainting_iterations` of a call
      or, for "repaint", of a step (`inpainting.py`).
    """

    steps: Steps = 50
    spacing: Spacing = "uniform"
    guidance_scale: Annotated[float, Range(-1000, 1000)] = 1.0
    clip_denoised: bool = True
    dynamic_thresholding_ratio: Annotated[float, Range(0, 1)] | None = None
    guidance_interval: Annotated[tuple[float, ...], Range(0, 1)] = (0.0, 1.0)
    guidance_rescale: Annotated[float, Range(0, 1)] = 0.0
    strength: Annotated[float, Range(0, 1)] = 1.0
    inpainting: InpaintingMethod = "moment_matching"
    inpainting_iterations: Annotated[int, Range(1, 1000)] = 1

    def __post_init__(self) -> None:
        low, *high = self.guidance_interval or (1.0,)
        if len(high) != 1 or low > high[0]:
            raise ConfigError(
                f"guidance_interval = {self.guidance_interval}: it must be two times in [0, 1], "
                "the earlier one first.",
                hint="guidance_interval=(0.2, 0.8)",
            )

    @abstractmethod
    def loop(self, D: Denoised, x: Tensor, path: Path, z: Noise) -> Iterator[Tensor]:
        """x after every step, from x at the path's start."""

    def table(self, model: Denoiser) -> SolverTable | None:
        """The solver's coefficients for a model; None if they depend on x."""
        return self.on(self.path(model), prediction_type(model))

    def on(self, path: Path, prediction: str) -> SolverTable | None:
        """The solver's coefficients on a path for outputs of a type.

        Of a very long path there are none: to record them takes longer than they save.
        """
        return record(self.loop, path, prediction=prediction) if len(path) <= _RECORDED else None

    def path(self, model: Denoiser) -> Path:
        """The levels at which the solver calls a model: the last ones, by `strength`."""
        whole = time_path(model, self.steps, self.spacing)
        return whole.last(max(1, round(self.strength * self.steps)))

    def __call__(
        self,
        model: Denoiser,
        rng: Rng,
        cond: Tensor | None,
        *,
        fixed: Inpainting | None = None,
        trace: Trace | None = None,
        x_T: Tensor | None = None,
        init: Tensor | None = None,
    ) -> Tensor:
        """Events (B, *S)."""
        if self.strength < 1 and x_T is None and init is None:
            raise UsageError(
                f"strength = {self.strength} takes the last steps alone, and nothing says where "
                "they start.",
                hint="sample(n, init=events) or sample(n, x_T=noise)",
            )
        path, options = self.path(model), self.options()
        table = self.on(path, prediction_type(model))
        x = start(model, rng, path, x_T, init)
        plain = fixed is None and trace is None
        if plain and table is not None and fused_mlp.supports(model, table, options):
            return model.event.from_network(fused_mlp.run(model, rng, x, table, options))
        how = self.inpainting, self.inpainting_iterations
        outputs = Outputs(model, rng, cond, options, fixed, *how, trace)
        if outputs.replacement is not None and self.inpainting == "repaint":
            repeated = repaint(self.loop, self.inpainting_iterations, outputs.replacement)
            states = loop_states(repeated, outputs, x, path, rng)
        elif table is None:
            states = loop_states(self.loop, outputs, x, path, rng)
        else:
            states = trajectory(outputs, x, table, rng)
        return last_events(model, states, fixed)

    def altered_by(self) -> str | None:
        """The guidance, with which draws do not follow the model's p(x | cond)."""
        return None if self.guidance_scale == 1 else f"guidance_scale = {self.guidance_scale}"

    def options(self) -> GuidanceAndClipping:
        """The options of guidance and clipping."""
        return GuidanceAndClipping(
            self.guidance_scale,
            self.clip_denoised,
            self.dynamic_thresholding_ratio,
            self.guidance_interval,
            self.guidance_rescale,
        )
