"""Linear maps that keep an order, for the autoregressive parts of any family."""

from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["MaskedLinear"]


class MaskedLinear(nn.Linear):
    """y = b + (W * M) x, M[k, d] = 1 where output k may see input d.

    MADE (Germain et al., 2015), https://arxiv.org/abs/1502.03509, eq. 3.
    """

    mask: Tensor

    def __init__(self, mask: Tensor) -> None:
        super().__init__(mask.shape[1], mask.shape[0])
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * self.mask, self.bias)

    def part(self, x: Tensor, rows: slice) -> Tensor:
        """Outputs `rows` of inputs x (B, n), where they see exactly the first n inputs."""
        return F.linear(x, self.weight[rows, : x.shape[1]], self.bias[rows])
