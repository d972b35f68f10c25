"""Glow's linear part: y = W (s x + t) at every position is one convolution with W diag(s) and W t.

Glow (Kingma & Dhariwal, 2018), table 1: actnorm and the invertible 1x1 convolution.

    y, ladj = actnorm_conv(x, weight, log_scale=log_scale, shift=shift)

`fold` and `fold_inverse` make the matrix and the bias that `place_by_place` applies, which are the
same for every batch of samples; `Kept` computes such a thing once.

Shapes: x, y (B, C, *S); weight (C, C); log_scale, shift (C,); ladj (B,) in nats.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo_kernels._spec import needs_dispatch

Folded = tuple[Tensor, Tensor, Tensor]
"""A matrix (C, C), a bias (C,), and log |det| of the matrix ()."""


def _check(x: Tensor, weight: Tensor, log_scale: Tensor, shift: Tensor) -> None:
    if x.dim() < 2:
        raise ValueError(f"x must be (B, C, ...), not {tuple(x.shape)}")
    c = x.shape[1]
    shapes = {"weight": (weight, (c, c)), "log_scale": (log_scale, (c,)), "shift": (shift, (c,))}
    for name, (t, shape) in shapes.items():
        if t.shape != shape:
            raise ValueError(
                f"{name} must have shape {shape} for x's channels, not {tuple(t.shape)}"
            )


def _logabsdet(weight: Tensor, log_scale: Tensor, logabsdet: Tensor | None) -> Tensor:
    if logabsdet is None:
        logabsdet = torch.linalg.slogdet(weight).logabsdet
    return log_scale.sum() + logabsdet


def fold(
    weight: Tensor, log_scale: Tensor, shift: Tensor, logabsdet: Tensor | None = None
) -> Folded:
    """weight (exp(log_scale) x + shift) as a matrix, a bias and log |det|. `logabsdet`, that of
    weight (), is computed if it is not given; for triangular factors it is known."""
    return (weight * log_scale.exp(), weight @ shift, _logabsdet(weight, log_scale, logabsdet))


def fold_inverse(
    weight: Tensor, log_scale: Tensor, shift: Tensor, logabsdet: Tensor | None = None
) -> Folded:
    """exp(-log_scale) (weight^-1 y - shift) in the same form, with the inverse's log |det|."""
    back = torch.linalg.inv(weight.double()).to(weight.dtype)  # float64: 1x1 kernels grow stiff
    s = (-log_scale).exp()
    return s[:, None] * back, -s * shift, -_logabsdet(weight, log_scale, logabsdet)


def place_by_place(x: Tensor, folded: Folded) -> tuple[Tensor, Tensor]:
    """(y, ladj): matrix x + bias at each of the positions of x, and log |det dy/dx|.

    A row of y depends on no other; in batches of other sizes it may be rounded differently.
    """
    matrix, bias, logabsdet = folded
    positions = math.prod(x.shape[2:])
    flat = x.reshape(x.shape[0], -1, positions)
    if _few(positions, len(matrix)):
        y = F.linear(flat.mT, matrix, bias).mT
    else:
        y = torch.baddbmm(bias[:, None], matrix.expand(x.shape[0], -1, -1), flat)
    return y.reshape(x.shape), (positions * logabsdet).expand(x.shape[0])


def _few(positions: int, channels: int) -> bool:
    """Whether one product over the positions of all events is cheaper than one for each event.

    The latter reads the matrix B times and makes a gradient (B, C, C). With many positions both
    cost little, and nothing is transposed.
    """
    return positions == 1 or 4 * positions < channels


def actnorm_conv(
    x: Tensor, weight: Tensor, *, log_scale: Tensor, shift: Tensor, logabsdet: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """y = weight (exp(log_scale) x + shift) at every position, and log |det dy/dx| in nats, (B,).

    Raises ValueError, naming the argument, for shapes that do not fit.
    """
    _check(x, weight, log_scale, shift)
    return place_by_place(x, fold(weight, log_scale, shift, logabsdet))


def actnorm_conv_inverse(
    y: Tensor, weight: Tensor, *, log_scale: Tensor, shift: Tensor, logabsdet: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """x = exp(-log_scale) (weight^-1 y - shift), and log |det dx/dy| in nats, (B,).

    Raises ValueError, naming the argument, for shapes that do not fit.
    """
    _check(y, weight, log_scale, shift)
    return place_by_place(y, fold_inverse(weight, log_scale, shift, logabsdet))


class Kept:
    """The last result of a function of a few tensors, computed again where one has other values.

    Values are compared, not versions: no way of writing to a parameter goes unseen. Where
    a gradient, a compiler or a transform needs to see the computation, nothing is kept.
    """

    def __init__(self) -> None:
        self._of: list[Tensor] = []
        self._result: Folded | None = None

    def __call__(self, function: Callable[[], Folded], *of: Tensor) -> Folded:
        if needs_dispatch(of):
            return function()
        if self._result is None or not (_usable(self._result) and _same(self._of, of)):
            self._result, self._of = function(), [t.detach().clone() for t in of]
        return self._result


def _usable(folded: Folded) -> bool:
    """Autograd refuses what was made in inference mode."""
    return torch.is_inference_mode_enabled() or not folded[0].is_inference()


def _same(kept: list[Tensor], now: tuple[Tensor, ...]) -> bool:
    return all(
        a.shape == b.shape and a.dtype == b.dtype and a.device == b.device and torch.equal(a, b)
        for a, b in zip(kept, now, strict=True)
    )
