"""Images whose sides are no multiples of a factor, for networks that halve them.

Shapes: B batch, C channels, H height, W width.
"""

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional as F

__all__ = ["on_padded"]


def on_padded(network: Callable[[Tensor], Tensor], x: Tensor, factor: int) -> Tensor:
    """The network's output (B, C', H, W) at x (B, C, H, W), whose sides become multiples.

    The last row and column are repeated below and at the right, and what stands there is cut off
    again. Sides that are multiples stay as they are.
    """
    H, W = x.shape[-2:]
    below, right = -H % factor, -W % factor
    if not (below or right):
        return network(x)
    return network(F.pad(x, (0, right, 0, below), mode="replicate"))[..., :H, :W]
