"""Calls the C++ sampler: pads channels to whole vectors and lays the weights end to end."""

from dataclasses import fields
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from zoo_kernels import _extension
from zoo_kernels._alloc import alloc
from zoo_kernels.pixelcnn_sampler import reference
from zoo_kernels.pixelcnn_sampler.reference import SampleArguments

Pair = tuple[int, int]
VECTOR = 16
HEADS = ("binary", "softmax", "mixture")
"""In the order of `enum Head` in csrc/pixelcnn_sampler.cpp."""
PLAN = (
    *("layers", "channels", "hidden", "outputs", "padded_outputs"),
    *("head", "levels", "group"),
)
"""The sizes that C++ is told, in the order of its `enum PlanEntry`; those of the layers follow."""
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


def _plan(a: SampleArguments, padded: list[Tensor]) -> Tensor:
    stack = reference.layers(padded)
    sizes = {
        "layers": len(stack),
        "channels": stack[0].channels,
        "hidden": len(padded[-3]),
        "outputs": len(a.weights[-1]),
        "padded_outputs": len(padded[-1]),
        "head": HEADS.index(a.head),
        "levels": a.levels,
        "group": min(LARGEST_GROUP, -(-len(a.fixed) // torch.get_num_threads())),
    }
    taps = [n for layer in stack for n in (layer.inputs, *layer.taps)]
    return torch.tensor([*(sizes[name] for name in PLAN), *taps])


def sample(*args: Any) -> Tensor:
    a = SampleArguments(*args)
    out = alloc(a.fixed.shape, like=a.fixed).copy_(a.fixed)
    if not out.numel():
        return out
    padded = padded_weights(a.weights)
    c, padded_c = reference.layers(a.weights)[0].channels, reference.layers(padded)[0].channels
    nothing, cond, extra = a.uniforms.new_empty(0), a.cond, a.extra
    constants = nothing.view(1, 1, 0) if extra is None else extra.permute(1, 2, 0).contiguous()
    if cond is not None:
        cond = F.pad(cond.unflatten(-1, (2, c)), (0, padded_c - c)).contiguous()
    _extension.cpp("pixelcnn_sample")(
        out,
        a.uniforms.contiguous(),
        nothing if cond is None else cond,
        a.table.contiguous(),
        constants,
        torch.cat([w.reshape(-1) for w in padded]),
        _plan(a, padded),
    )
    return out
