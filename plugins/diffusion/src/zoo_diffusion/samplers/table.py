"""Solvers as tables: what a loop does in each row is linear in x, in the x_0 of this and earlier
calls, in epsilon and in noise, so that it is one fused update (`zoo_kernels.denoise.step`).

`record` runs a solver's loop on linear forms instead of events and reads the coefficients off.
A form is a tensor of coefficients of the basis

    [x_1 | x_0 of call 0, 1, ... | epsilon of call 0, 1, ... | noise of row 0, 1, ...]

Shapes: R rows, K earlier x_0 that a row takes, F = 1 + 3 R basis elements.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from zoo_diffusion.samplers.timesteps import Level, Path
from zoo_kernels import denoise
from zoo_kernels.denoise import tables

__all__ = ["Denoised", "Loop", "Noise", "SolverTable", "Weighing", "record"]

Denoised = Callable[[Tensor, Level], tuple[Tensor, Tensor]]
"""(x (B, *S), a level) -> x_0, guided and bounded, and the network's own epsilon, both (B, *S)."""


@runtime_checkable
class Weighing(Protocol):
    """A `Denoised` of a model that learns its variance."""

    def weigh(self, x: Tensor, p: Level) -> Tensor:
        """The weight v (B, *S) of the large log-variance at x (B, *S), level p."""
        ...


Noise = Callable[[int], Tensor]
"""Row -> z ~ N(0, 1), (B, *S)."""
Loop = Callable[[Denoised, Tensor, Path, Noise], Iterable[Tensor]]
"""(D, x_1, path, z) -> x after every step."""
_ZERO = 1e-9
"""Coefficients below this are rounding: the others are of the order of one."""


@dataclass(frozen=True)
class SolverTable:
    """A solver as a table of R rows, each a step.

    Row j starts from x at `levels[j]` and, if `calls[j]`, takes the network's output there, at
    times[j], float64 (R,). `std` is the standard deviation of x_1. `history` (R, K), if any, are
    the coefficients of the x_0 of the K calls before, the latest first; without it, a row takes
    what the row before it put into the multistep buffer.
    """

    coefficients: denoise.Steps
    times: Tensor
    levels: tuple[Level, ...]
    calls: tuple[bool, ...]
    std: float
    history: Tensor | None = None

    @classmethod
    def on(cls, path: Path, coefficients: denoise.Steps) -> "SolverTable":
        """The table with one row, and one call, for each step of a path."""
        return cls.of(path[:-1], coefficients, path.std)

    @classmethod
    def of(
        cls,
        levels: Sequence[Level],
        coefficients: denoise.Steps,
        std: float,
        calls: Sequence[bool] | None = None,
        history: Tensor | None = None,
    ) -> "SolverTable":
        """The table whose rows start at `levels`; by default each calls the network."""
        times = torch.tensor([p.t for p in levels], dtype=torch.float64)
        made = (True,) * len(levels) if calls is None else tuple(calls)
        return cls(coefficients, times, tuple(levels), made, std, history)

    @property
    def lags(self) -> int:
        """How many kept tensors a row may take."""
        return 1 if self.history is None else self.history.shape[1]

    def to(self, device: torch.device) -> "SolverTable":
        """The table with coefficients, history and times on a device."""
        history = None if self.history is None else self.history.to(device)
        moved = self.coefficients.to(device)
        return replace(self, coefficients=moved, times=self.times.to(device), history=history)

    def buffer(self, j: int, kept: Sequence[Tensor]) -> Tensor | None:
        """What row j takes of the tensors (B, *S) that rows before it kept, the latest first."""
        if not kept or self.history is None:
            return kept[0] if kept else None
        return _sum(c * x_0 for c, x_0 in zip(self.history[j], kept, strict=False))


def record(loop: Loop, path: Path, *, prediction: str) -> SolverTable:
    """The table of a linear loop that calls the network at most twice a step.

    Raises ValueError for a loop of another kind, such as one with steps that depend on x.
    """
    rows = 2 * len(path)
    starts: list[tuple[Tensor, Level]] = []

    def basis(k: int) -> Tensor:
        return torch.zeros(1 + 3 * rows, dtype=torch.float64).index_fill_(0, torch.tensor(k), 1.0)

    def D(x: Tensor, level: Level) -> tuple[Tensor, Tensor]:
        starts.append((x, level))
        return basis(len(starts)), basis(rows + len(starts))

    end = basis(0)
    for x in loop(D, end, path, lambda row: basis(1 + 2 * rows + row)):
        end = x
    forms = torch.stack([*(x for x, _ in starts), end])
    only_in_x = torch.cat((forms[:, :1], forms[:, 1 + 2 * rows :]), 1)  # x_1 and noise
    pivot = only_in_x[:-1].abs().argmax(1, keepdim=True)
    carried = (only_in_x[1:].gather(1, pivot) / only_in_x[:-1].gather(1, pivot)).squeeze(1)
    rest = forms[1:] - carried.unsqueeze(1) * forms[:-1]  # the terms beside x itself
    x_0, epsilon, noise = (rest[:, 1 + k * rows :][:, : len(starts)] for k in range(3))
    return _table([p for _, p in starts], carried, x_0, epsilon, noise, path.std, prediction)


def _table(
    levels: Sequence[Level],
    carried: Tensor,
    x_0: Tensor,
    epsilon: Tensor,
    noise: Tensor,
    std: float,
    prediction: str,
) -> SolverTable:
    """The table of R rows from x's coefficients (R,) and those of all others, (R, R) each."""
    history = _earlier(x_0)
    beside = x_0.triu(1), epsilon - epsilon.diag().diag(), noise - noise.diag().diag()
    if not all(bool((k.abs() < _ZERO).all()) for k in beside):
        raise ValueError("a step takes what is not known yet: the loop has no table.")
    alpha, sigma = (torch.tensor([p[k] for p in levels], dtype=torch.float64) for k in (1, 2))
    _, _, e_x, e_m = tables.linear(prediction, alpha, sigma)
    ones = torch.ones_like(carried)
    columns = tables.rows_of(
        prediction,
        alpha,
        sigma,
        C_X=carried + epsilon.diag() * e_x,
        C_M=epsilon.diag() * e_m,
        C_X0=x_0.diag(),
        C_H=ones,
        G_X0=ones,
        S=noise.diag(),
    )
    noisy = bool((noise.abs() > _ZERO).any())
    steps = denoise.Steps(columns.float(), noisy=noisy, remembers=history is not None)
    return SolverTable.of(levels, steps, std, history=history)


def _earlier(x_0: Tensor) -> Tensor | None:
    """The history (R, K) of a table from the coefficients (R, R) of the x_0 of all calls."""
    R = len(x_0)
    lags = [torch.cat((x_0.new_zeros(k), x_0.diagonal(-k))) for k in range(1, R)]
    K = max((k for k, lag in enumerate(lags, 1) if bool((lag.abs() > _ZERO).any())), default=0)
    return torch.stack(lags[:K], 1).float() if K else None


def _sum(terms: Iterable[Tensor]) -> Tensor:
    return reduce(torch.add, terms)
