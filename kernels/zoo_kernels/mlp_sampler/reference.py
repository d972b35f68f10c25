"""A whole denoising loop whose network is a residual MLP, modulated by time.

    h <- W_in x + b_in
    h <- h + V_l silu((1 + a_il) norm(W_l h + b_l) + c_l) + d_l                a, c: modulation
    m  = W_out silu(h) + b_out
    x <- step i of a solver's table (denoise/reference.py), with its noise

for i = 0, 1, ...: time enters by the modulation alone, which is the same for all rows, so that
it is computed for all steps before.

Shapes: x (B, D), table (T, 16), modulation (T, L, 2, H) = [a, c], rows (B,); weights are W_in
(H, D), b_in, then W_l (H, H), b_l, V_l (H, H), d_l of every layer, W_out (D, H), b_out.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo_kernels.denoise import reference as denoise


class MlpArguments(NamedTuple):
    """The arguments of `zoo::mlp_sample` in their order."""

    x: Tensor
    table: Tensor
    modulation: Tensor
    weights: list[Tensor]
    rows: Tensor
    seed: int
    stream: int
    clip: float  # 0: x0 is not clipped
    noisy: bool
    remember: bool


def network(x: Tensor, modulation: Tensor, weights: list[Tensor]) -> Tensor:
    """m (B, D) for the modulation (L, 2, H) of one step."""
    h = F.linear(x, *weights[:2])
    for i, (scale, shift) in enumerate(modulation):
        inner, inner_bias, outer, outer_bias = weights[2 + 4 * i : 6 + 4 * i]
        u = F.layer_norm(F.linear(h, inner, inner_bias), h.shape[-1:])
        h = h + F.linear(F.silu((1 + scale) * u + shift), outer, outer_bias)
    return F.linear(F.silu(h), *weights[-2:])


def sample(*args: Any) -> Tensor:
    """x after all steps, (B, D), of `MlpArguments`."""
    a = MlpArguments(*args)
    x, buffer = a.x, None
    for i in range(len(a.table)):
        x, kept = denoise.step(
            *denoise.StepArguments(
                x=x,
                output=network(x, a.modulation[i], a.weights),
                unconditional=None,
                variance=None,
                multistep_buffer=buffer,
                dynamic_threshold=None,
                table=a.table,
                table_row=torch.tensor([i], device=x.device),
                rows=a.rows,
                seed=a.seed,
                stream=a.stream,
                guidance=1.0,
                clip=a.clip,
                noisy=a.noisy,
                remember=a.remember,
            )
        )
        buffer = kept if a.remember else None
    return x.clone()
