"""Masked linear layers, for autoregressive networks of any family."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.nn import functional as F

if TYPE_CHECKING:  # annotations only; the tests check them (tests/shapes.py)
    from jaxtyping import Float, Int

__all__ = ["MaskedLinear"]


class MaskedLinear(nn.Linear):
    """y = b + (W * M) x, M[k, d] = 1 where output k may see input d.

    It may if the degrees satisfy g_in[d] <= g_out[k], or g_in[d] < g_out[k] if `strict`. Each
    degree of g_out is that of `copies` adjacent outputs.
    MADE (Germain et al., 2015), https://arxiv.org/abs/1502.03509, eqs. 8 and 9.
    """

    mask: Tensor

    def __init__(
        self,
        g_in: Int[Tensor, "I"],
        g_out: Int[Tensor, "O"],
        *,
        strict: bool = False,
        copies: int = 1,
    ) -> None:
        super().__init__(len(g_in), len(g_out) * copies)  # first, so that absurd sizes end here
        g_out = g_out.repeat_interleave(copies)
        mask = (g_in < g_out[:, None]) if strict else (g_in <= g_out[:, None])
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, x: Float[Tensor, "*B I"]) -> Float[Tensor, "*B O"]:
        return F.linear(x, self.weight * self.mask, self.bias)

    def part(self, x: Float[Tensor, "B n"], rows: slice) -> Float[Tensor, "B m"]:
        """Outputs `rows` from the first n inputs x (B, n), which must be all that they see."""
        return F.linear(x, self.weight[rows, : x.shape[1]], self.bias[rows])
