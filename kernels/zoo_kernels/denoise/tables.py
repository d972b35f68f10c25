"""Each solver as a table of coefficients for `denoise.step`, in float64, stored as float32.

A path is x_t = alpha_t x0 + sigma_t eps. A builder is given alpha and sigma at T + 1 times,
from noise to data: log(alpha / sigma) must increase, and sigma may be 0 at the end only.
`prediction` says what the network gives: "epsilon", "x0", "v" (= alpha eps - sigma x0; Salimans
& Ho, 2022), "score" (= -eps / sigma; Song et al., 2021) or "flow" (= eps - x0; for alpha = 1 - t,
sigma = t the velocity of Liu et al., 2023).

    ddpm    Ho et al., 2020, eq. 7; learned variance: Nichol & Dhariwal, 2021, eq. 15
    ddim    Song et al., 2021, eqs. 12 and 16
    dpm_solver_pp   Lu et al., 2022 (DPM-Solver++), algorithm 2, "2M"
    euler, heun     Karras et al., 2022, algorithm 1 on x / alpha over sigma / alpha
                    flow matching: euler(1 - t, t, prediction="flow") is x + (t' - t) u
"""

__all__ = [
    "PREDICTIONS",
    "Steps",
    "ddim",
    "ddpm",
    "dpm_solver_pp",
    "euler",
    "heun",
    "linear",
    "rows_of",
]

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from zoo_kernels.denoise import reference as at

PREDICTIONS = ("epsilon", "x0", "v", "score", "flow")
Numbers = Tensor | Sequence[float]


@dataclass(frozen=True)
class Steps:
    """A solver's table (T, 16) and which of its terms there are; row i is step i."""

    table: Tensor
    noisy: bool = False
    remembers: bool = False
    learned_variance: bool = False

    def __len__(self) -> int:
        return len(self.table)

    def to(self, device: torch.device | str) -> "Steps":
        return replace(self, table=self.table.to(device))


@dataclass(frozen=True)
class _Path:
    """alpha, sigma before (a, s) and after (a1, s1) each step, float64 (T,)."""

    a: Tensor
    s: Tensor
    a1: Tensor
    s1: Tensor

    @property
    def last(self) -> Tensor:
        return self.s1 == 0


def _path(alpha: Numbers, sigma: Numbers) -> _Path:
    a, s = (torch.as_tensor(t, dtype=torch.float64).cpu() for t in (alpha, sigma))
    if a.dim() != 1 or a.shape != s.shape or len(a) < 2:
        raise ValueError(
            "alpha and sigma must be 1-d and of one length >= 2, "
            f"not {tuple(a.shape)} and {tuple(s.shape)}"
        )
    if not (a.isfinite().all() and s.isfinite().all() and (a >= 0).all() and (s >= 0).all()):
        raise ValueError("alpha and sigma must be finite and not negative")
    if (s[:-1] == 0).any() or (a[1:] == 0).any():
        raise ValueError("sigma may be 0 at the last time only, alpha at the first only")
    if not ((a * s.roll(-1))[:-1] < (s * a.roll(-1))[:-1]).all():
        raise ValueError("alpha / sigma must increase from each time to the next (noise to data)")
    return _Path(a[:-1], s[:-1], a[1:], s[1:])


def linear(prediction: str, a: Tensor, s: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """x0 = p_x x + p_m m and eps = e_x x + e_m m."""
    one, zero, square, square_s = torch.ones_like(a), torch.zeros_like(a), a * a + s * s, s * s
    if prediction in ("epsilon", "score") and (a == 0).any():
        raise ValueError(
            f"prediction {prediction!r} needs alpha > 0 at every time; use 'v' or 'x0'"
        )
    if prediction == "epsilon":
        return 1 / a, -s / a, zero, one
    if prediction == "score":
        return 1 / a, square_s / a, zero, -s
    if prediction == "x0":
        return zero, one, 1 / s, -a / s
    if prediction == "v":
        return a / square, -s / square, s / square, a / square
    if prediction == "flow":
        return 1 / (a + s), -s / (a + s), 1 / (a + s), a / (a + s)
    raise ValueError(f"prediction must be one of {', '.join(PREDICTIONS)}, not {prediction!r}")


def rows_of(prediction: str, a: Tensor, s: Tensor, **columns: Tensor) -> Tensor:
    """Rows in float64 from the columns that are not 0; x0's are those of (a, s)."""
    p_x, p_m, _, _ = linear(prediction, a, s)
    table = torch.zeros(len(a), at.COLUMNS, dtype=torch.float64)
    for name, column in {"P_X": p_x, "P_M": p_m, **columns}.items():
        table[:, getattr(at, name)] = column
    return table


def ddpm(
    alpha: Numbers, sigma: Numbers, *, prediction: str = "epsilon", variance: str = "small"
) -> Steps:
    """Ancestral sampling; variance "small" (beta tilde), "large" (beta) or "learned"."""
    if variance not in ("small", "large", "learned"):
        raise ValueError(f"variance must be small, large or learned, not {variance!r}")
    p = _path(alpha, sigma)
    ratio = p.a / p.a1
    beta = p.s**2 - (ratio * p.s1) ** 2  # 1 - alpha_bar_t / alpha_bar_t-1
    small = beta * p.s1**2 / p.s**2
    log_small = torch.where(p.last, 0.0, small.log())
    fixed = small if variance == "small" else beta
    noise = torch.where(
        p.last, 0.0, torch.ones_like(beta) if variance == "learned" else fixed**0.5
    )
    table = rows_of(
        prediction,
        p.a,
        p.s,
        C_X0=p.a1 * beta / p.s**2,
        C_X=ratio * p.s1**2 / p.s**2,
        S=noise,
        LOG_VAR_MIN=log_small,
        LOG_VAR_MAX=torch.where(p.last, 0.0, beta.log()),
    )
    return Steps(table.float(), noisy=True, learned_variance=variance == "learned")


def ddim(
    alpha: Numbers,
    sigma: Numbers,
    *,
    prediction: str = "epsilon",
    eta: float = 0.0,
    clipped_epsilon: bool = False,
) -> Steps:
    """eta = 0 is deterministic, eta = 1 has DDPM's variance. With clipping, the direction is the
    network's own epsilon, or with `clipped_epsilon` the one that the clipped x0 implies."""
    if not 0 <= eta <= 1:
        raise ValueError(f"eta must be in [0, 1], not {eta!r}")
    p = _path(alpha, sigma)
    _, _, e_x, e_m = linear(prediction, p.a, p.s)
    beta = p.s**2 - (p.a / p.a1 * p.s1) ** 2
    noise = eta * p.s1 / p.s * beta.sqrt()  # eq. 16
    along = (p.s1**2 - noise**2).clamp(min=0).sqrt()
    if clipped_epsilon:
        columns = {"C_X0": p.a1 - along * p.a / p.s, "C_X": along / p.s}
    else:
        columns = {"C_X0": p.a1, "C_X": along * e_x, "C_M": along * e_m}
    return Steps(rows_of(prediction, p.a, p.s, S=noise, **columns).float(), noisy=eta > 0)


def dpm_solver_pp(alpha: Numbers, sigma: Numbers, *, prediction: str = "epsilon") -> Steps:
    """The second-order multistep solver in x0; first order at the first step, at the last where
    sigma = 0, and at the one after alpha = 0."""
    p = _path(alpha, sigma)
    h = (p.a1 / p.s1).log() - (p.a / p.s).log()  # inf where alpha or sigma = 0
    before = torch.cat([torch.full_like(h[:1], float("inf")), h[:-1]])
    half = torch.where(h.isinf(), 0.0, h / (2 * before))  # 1 / (2 r)
    gain = -p.a1 * torch.expm1(-h)
    table = rows_of(
        prediction,
        p.a,
        p.s,
        C_X0=gain * (1 + half),
        C_X=p.s1 / p.s,
        C_H=-gain * half,
        G_X0=torch.ones_like(h),
    )
    return Steps(table.float(), remembers=True)


def euler(alpha: Numbers, sigma: Numbers, *, prediction: str = "epsilon") -> Steps:
    """x' / alpha' = x / alpha + (sigma' / alpha' - sigma / alpha) d, d = eps."""
    p = _path(alpha, sigma)
    return Steps(rows_of(prediction, p.a, p.s, **_euler(p)).float())


def _euler(p: _Path) -> dict[str, Tensor]:
    return {"C_X0": p.a1 - p.a * p.s1 / p.s, "C_X": p.s1 / p.s}


def heun(alpha: Numbers, sigma: Numbers, *, prediction: str = "epsilon") -> Steps:
    """Two rows per step: Euler's, which remembers x / alpha + (h / 2) d, and the correction, whose
    network call is at the step's end. A step from alpha = 0 or to sigma = 0, where the slope has
    no second value, is Euler's alone: one row."""
    p = _path(alpha, sigma)
    n, n1 = p.s / p.a, p.s1 / p.a1
    half = (n1 - n) / 2
    d_x, d_x0 = 1 / p.s, -1 / n  # d = (x / alpha - x0) / n
    inner = ~p.last & (p.a > 0)
    memory = {"G_X": 1 / p.a + half * d_x, "G_X0": half * d_x0}
    memory = {name: torch.where(inner, column, 0.0) for name, column in memory.items()}
    first = rows_of(prediction, p.a, p.s, **_euler(p), **memory)
    end_a, end_s, h = p.a1[inner], p.s1[inner], half[inner]
    second = rows_of(
        prediction, end_a, end_s, C_H=end_a, C_X=end_a * h / end_s, C_X0=-end_a * h / n1[inner]
    )
    rows = [row for pair in zip(first[inner], second, strict=True) for row in pair]
    ends = first[p.a == 0], first[p.last & (p.a > 0)]
    return Steps(torch.stack([*ends[0], *rows, *ends[1]]).float(), remembers=True)
