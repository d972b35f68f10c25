"""Calls the C++ sampler: pads channels to whole vectors and lays the weights end to end."""

from dataclasses import fields

import torch
import torch.nn.functional as F
from torch import Tensor

from zoo_kernels import _extension
from zoo_kernels._alloc import alloc
from zoo_kernels.pixelcnn_sampler import reference

Pair = tuple[int, int]
VECTOR = 16
HEADS = {"binary": 0, "softmax": 1, "mixture": 2}
LARGEST_GROUP = 8  # images that share one pass over the weights


def round_up(n: int, to: int) -> int:
    return -(-n // to) * to


def pad_blocks(w: Tensor, inputs: Pair, outputs: Pair) -> Tensor:
    """Zero-pad every block of a vector or matrix of blocks; the pairs are (n, padded n)."""
    (i, padded_i), (o, padded_o) = inputs, outputs
    columns = F.pad(w.unflatten(-1, (-1, o)), (0, padded_o - o)).flatten(-2)
    if w.dim() == 1 or i == padded_i:
        return columns
    return F.pad(columns.unflatten(0, (-1, i)), (0, 0, 0, padded_i - i)).flatten(0, 1)


def pad_stack(
    weights: list[Tensor], inputs: Pair, channels: Pair, hidden: Pair, outputs: Pair
) -> list[Tensor]:
    """The same stack with zero-padded widths, each (n, padded n); padded channels stay zero."""
    made = []
    for i, layer in enumerate(reference.layers(weights)):
        n = channels if i else inputs
        widths = [n, n, channels, channels, n, n, channels, channels]
        tensors = [getattr(layer, f.name) for f in fields(layer)]
        made += [pad_blocks(w, m, channels) for w, m in zip(tensors, widths, strict=True)]
    pairs = [(channels, hidden), (hidden, hidden), (hidden, outputs), (outputs, outputs)]
    return made + [pad_blocks(w, *pair) for w, pair in zip(weights[-4:], pairs, strict=True)]


def padded_weights(weights: list[Tensor]) -> list[Tensor]:
    """C, D and P padded to whole vectors; the image's inputs need no padding."""
    first = reference.layers(weights)[0]
    widths = (first.channels, len(weights[-3]), len(weights[-1]))
    pairs = [(n, round_up(n, VECTOR)) for n in widths]
    return pad_stack(weights, (first.inputs, first.inputs), *pairs)


def sample(
    uniforms: Tensor,
    fixed: Tensor,
    cond: Tensor | None,
    table: Tensor,
    extra: Tensor | None,
    weights: list[Tensor],
    head: str,
    levels: int,
) -> Tensor:
    out = alloc(fixed.shape, like=fixed).copy_(fixed)
    if not out.numel():
        return out
    padded = padded_weights(weights)
    stack = reference.layers(padded)
    c = (weights[0].shape[1], stack[0].channels)
    group = min(LARGEST_GROUP, -(-len(fixed) // torch.get_num_threads()))
    sizes = [len(stack), c[1], len(padded[-3]), len(weights[-1]), len(padded[-1]), HEADS[head],
             levels, group]  # fmt: skip
    for layer in stack:
        sizes += [layer.inputs, *layer.taps]
    nothing = uniforms.new_empty(0)
    constants = nothing.view(1, 1, 0) if extra is None else extra.permute(1, 2, 0).contiguous()
    if cond is not None:
        cond = F.pad(cond.unflatten(-1, (2, c[0])), (0, c[1] - c[0])).contiguous()
    _extension.cpp("pixelcnn_sample")(
        out, uniforms.contiguous(), nothing if cond is None else cond, table.contiguous(),
        constants, torch.cat([w.reshape(-1) for w in padded]), torch.tensor(sizes),
    )  # fmt: skip
    return out
