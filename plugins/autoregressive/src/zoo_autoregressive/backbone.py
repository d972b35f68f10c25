"""A causal U-Net: two stacks of blocks at falling, then rising resolution, with skip connections.

The shape of PixelCNN++ (Salimans et al., 2017), https://arxiv.org/abs/1701.05517, sections 2.3
and 2.4. The vertical stack v at (r, c) sees the rows above r, the horizontal stack h also the
pixels to the left of c in row r. The first convolution of each excludes the pixel itself:

    v = k columns of the n rows r - n .. r - 1,    h = n columns c - n .. c - 1 of row r

Later convolutions include their own position: 2 x 3 centred in v, 2 x 2 up and to the left in h,
and each block of h sees that of v. With stride 2 they halve the resolution, and a transposed 2 x 2
convolution doubles it (the paper's vertical one is 2 x 3). Each upsampling block has a skip
connection from a downsampling block of the same scale. The architectures differ in their blocks,
which are arguments here. While training on large maps, only the inputs of a block are kept for the
gradient, and the block is evaluated again (Chen et al., 2016, https://arxiv.org/abs/1604.06174): a
quarter to a third more time, and half of the memory. Small maps are kept.

Shapes: B batch, C channels, H rows, W columns, U units; scales are numbered from the finest.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from zoo_autoregressive.incremental_decoding import Pass, PixelConv, RasterConv

__all__ = ["Backbone", "TwoStackBlock"]

Stack = Literal["vertical", "horizontal"]
_LARGE = 1 << 18
"""Values of a map, as of 16 images of 16 x 16 and 64 units, from which a block is evaluated again.
For smaller ones memory is no concern, and the second evaluation takes half of a step's time."""


class TwoStackBlock(Protocol):
    """One block of both stacks; `skip` is the output at the other end of its skip connection."""

    def vertical(self, v: Tensor, skip: Tensor | None, run: Pass) -> tuple[Tensor, Tensor]:
        """v' (B, U, ., .), and what the horizontal stack needs of it."""
        ...

    def horizontal(self, h: Tensor, skip: Tensor | None, link: Tensor, run: Pass) -> Tensor:
        """h' (B, U, ., .); `link` is from the vertical stack."""
        ...


class Backbone(nn.Module):
    """Features of every pixel from the earlier ones.

    `units[s]` is the width at scale s and `blocks[s]` the number of blocks of each path, down and
    up; the coarsest scale has one path. `make(U, skip)` makes a block of U units.
    """

    def __init__(
        self,
        inputs: int,
        units: Sequence[int],
        blocks: Sequence[int],
        kernel_size: int,
        make: Callable[[int, bool], nn.Module],
    ) -> None:
        super().__init__()
        n, U = kernel_size // 2, units[0]
        finer, coarser = units[:-1], units[1:]
        self.v_first = RasterConv(inputs, U, n, kernel_size, left=n)
        self.h_first = RasterConv(inputs, U, 1, n, left=n - 1)
        self.link = PixelConv(U, U)
        self.down, self.up = nn.ModuleDict(), nn.ModuleDict()
        for stack, k in (("vertical", 3), ("horizontal", 2)):
            self.down[stack] = nn.ModuleList(
                RasterConv(a, b, 2, k, left=1, stride=2)
                for a, b in zip(finer, coarser, strict=True)
            )
            self.up[stack] = nn.ModuleList(
                nn.ConvTranspose2d(b, a, 2, 2) for a, b in zip(finer, coarser, strict=True)
            )
        self.before = nn.ModuleList(
            nn.ModuleList(make(U, False) for _ in range(n))
            for U, n in zip(units, blocks, strict=True)
        )
        self.after = nn.ModuleList(
            nn.ModuleList(make(U, True) for _ in range(n))
            for U, n in zip(finer, blocks[:-1], strict=True)
        )

    def vertical(self, above: Tensor, run: Pass) -> None:
        """Evaluate the vertical stack; `above` (B, I, ., W) is the input one row above."""
        v = run.conv(self.v_first, above)
        run.put(self.link, self.link(v))
        self._down_and_up("vertical", 0, v, run)

    def horizontal(self, left: Tensor, run: Pass) -> Tensor:
        """Features (B, U, ., .); `left` (B, I, ., .) is the input one column to the left."""
        h = run.conv(self.h_first, left) + run.get(self.link)
        return self._down_and_up("horizontal", 0, h, run)

    def _down_and_up(self, stack: Stack, s: int, x: Tensor, run: Pass) -> Tensor:
        """Down from scale s and up again; x is at the positions of the pass."""
        outputs = []
        for block in _blocks(self.before, s):
            x = self._block(block, stack, x, None, run)
            outputs.append(x)
        if s == len(self.after):
            return x
        y = run.down(_item(self.down[stack], s), x)
        y = None if y is None else self._down_and_up(stack, s + 1, y, run.coarser())
        x = run.up(_item(self.up[stack], s), y)
        for block in _blocks(self.after, s):
            x = self._block(block, stack, x, outputs.pop(), run)
        return x

    def _block(
        self, block: TwoStackBlock, stack: Stack, x: Tensor, skip: Tensor | None, run: Pass
    ) -> Tensor:
        if stack == "horizontal":
            link = run.get(cast(nn.Module, block))
            return cast(Tensor, self._evaluate(block.horizontal, x, skip, link, run))
        x, link = self._evaluate(block.vertical, x, skip, run)
        run.put(cast(nn.Module, block), link)
        return x

    def _evaluate(self, block: Callable[..., Any], x: Tensor, *args: Any) -> Any:
        """block(x, *args); of a large map, the gradient computes it again rather than keep it."""
        if self.training and torch.is_grad_enabled() and x.numel() >= _LARGE:
            return checkpoint(block, x, *args, use_reentrant=False)
        return block(x, *args)


def _blocks(modules: nn.ModuleList, s: int) -> list[TwoStackBlock]:
    return cast("list[TwoStackBlock]", list(cast(nn.ModuleList, modules[s])))


def _item(modules: nn.Module, s: int) -> Any:
    return cast(nn.ModuleList, modules)[s]
