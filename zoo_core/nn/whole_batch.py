"""What networks and losses compute over their batch, over that of all processes.

In a training on several processes each holds a part of every batch. Inside `part_of_batch`,
`batch_mean`, `gather_rows`, `dropout` and batch normalization give what a single process with the
whole batch would compute. Elsewhere they are the plain operations, bit for bit.

torch's SyncBatchNorm refuses CPU tensors and does not synchronize second derivatives.
Shapes: B rows of this process, N rows of the whole batch.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

__all__ = ["Part", "batch_mean", "dropout", "gather_rows", "part_of_batch", "whole_batch_layers"]


@dataclass(frozen=True)
class Part:
    """The places of a process's rows in a batch of `size` rows, and the group that shares it."""

    positions: Tensor
    size: int
    group: Any

    def rows(self, n: int) -> int:
        """Rows of all processes, where this one has n: a multiple of its part of the batch."""
        return self.size * n // len(self.positions)


_current: Part | None = None  # no ContextVar: checkpointing computes forward in autograd's threads


@contextmanager
def part_of_batch(part: Part | None) -> Iterator[None]:
    """Inside the block, batches are a part of a larger one; None for the whole."""
    global _current
    before, _current = _current, part
    try:
        yield
    finally:
        _current = before


def batch_mean(x: Tensor) -> Tensor:
    """The mean over the rows of the whole batch, (B, ...) -> (...); differentiable."""
    if _current is None:
        return x.mean(0)
    return _sum(x.sum(0), _current.group) / _current.rows(len(x))


def gather_rows(x: Tensor) -> Tensor:
    """The rows of the whole batch in its order, (B, ...) -> (N, ...), without gradients."""
    if _current is None:
        return x.detach()
    whole = x.new_zeros(_current.size, *x.shape[1:])
    whole[_current.positions.to(x.device)] = x.detach()
    torch.distributed.all_reduce(whole, group=_current.group)
    return whole


def dropout(x: Tensor, p: float, training: bool = True) -> Tensor:
    """`F.dropout` of rows x (B, ...), whose masks are those of the rows in the whole batch."""
    if _current is None or not training or p == 0 or len(x) != len(_current.positions):
        return F.dropout(x, p, training)
    mask = F.dropout(_ones(x, _current.size), p)
    return x * mask[_current.positions.to(x.device)]


def _ones(x: Tensor, n: int) -> Tensor:
    """Ones (n, ...) laid out in memory as x (B, ...): random numbers are drawn in that order."""
    strides = x.stride()
    order = sorted(range(x.ndim), key=lambda i: -strides[i])
    shape = (n, *x.shape[1:])
    place = [order.index(i) for i in range(x.ndim)]
    return torch.ones([shape[i] for i in order], dtype=x.dtype, device=x.device).permute(place)


@contextmanager
def whole_batch_layers(model: nn.Module) -> Iterator[None]:
    """Inside the block, batch normalization and dropout layers of `model` see the whole batch."""
    forwards: list[tuple[type[nn.Module], Callable[..., Tensor]]]
    forwards = [(_BatchNorm, _batch_norm), (nn.Dropout, _dropout_layer)]
    changed = []
    for module in model.modules():
        for kind, forward in forwards:
            if isinstance(module, kind) and "forward" not in vars(module):
                module.forward = partial(forward, module)
                changed.append(module)
    try:
        yield
    finally:
        for module in changed:
            del module.forward


def _dropout_layer(layer: nn.Dropout, x: Tensor) -> Tensor:
    return dropout(x, layer.p, layer.training)


def _batch_norm(layer: _BatchNorm, x: Tensor) -> Tensor:
    """y = (x - m) / sqrt(v + eps) * weight + bias with the moments m, v of the whole batch."""
    if _current is None or not layer.training:
        y: Tensor = type(layer).forward(layer, x)
        return y
    values = x if x.dtype == torch.float64 else x.float()
    dims, shape = [0, *range(2, x.ndim)], [1, -1] + [1] * (x.ndim - 2)
    n = _current.rows(len(x)) * values[0, 0].numel()
    m = _sum(values.sum(dims), _current.group) / n
    centered = values - m.view(shape)
    v = _sum(centered.square().sum(dims), _current.group) / n
    _track(layer, m.detach(), v.detach() * (n / max(1, n - 1)))
    y = centered * (v + layer.eps).rsqrt().view(shape)
    if layer.affine:
        y = y * layer.weight.view(shape) + layer.bias.view(shape)
    return y.to(x.dtype)


def _track(layer: _BatchNorm, mean: Tensor, variance: Tensor) -> None:
    """Update the layer's running moments as torch does."""
    if layer.running_mean is None or layer.running_var is None:
        return
    assert layer.num_batches_tracked is not None
    layer.num_batches_tracked.add_(1)
    rate = layer.momentum
    if rate is None:
        rate = 1 / float(layer.num_batches_tracked)
    layer.running_mean.lerp_(mean.to(layer.running_mean.dtype), rate)
    layer.running_var.lerp_(variance.to(layer.running_var.dtype), rate)


def _sum(x: Tensor, group: Any) -> Tensor:
    y: Tensor = _Sum.apply(x, group)  # type: ignore[no-untyped-call]
    return y


class _Sum(torch.autograd.Function):
    """The sum over processes; its gradient is the sum of theirs, however often derived."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, group: Any) -> Tensor:
        ctx.group = group
        y = x.clone(memory_format=torch.contiguous_format)
        torch.distributed.all_reduce(y, group=group)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return _sum(grad, ctx.group), None
