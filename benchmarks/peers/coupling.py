"""normflows' affine coupling block (sigmoid scale, channel split) with a network that returns the
given parameters: split, coupling, log-determinant, merge. Its parameters are pairs (shift, scale)
and its forward divides; forward here is its inverse."""

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn


class _Given(nn.Module):
    params: Tensor

    def forward(self, z: Tensor) -> Tensor:
        return self.params


@cache
def _block() -> Any:
    from normflows.flows import AffineCouplingBlock

    return AffineCouplingBlock(_Given(), scale_map="sigmoid", split_mode="channel")


def _given(params: Tensor) -> Any:
    """params (B, 2, C', *S), a view of pairs, as the network's output (B, 2 C', *S)."""
    _block().flows[1].param_map.params = params.movedim(1, 2).flatten(1, 2)
    return _block()


def forward(x: Tensor, params: Tensor, *rest: Any) -> Any:
    return _given(params).inverse(x)


def inverse(x: Tensor, params: Tensor, *rest: Any) -> Any:
    return _given(params).forward(x)


@cache
def _compile(f: Any) -> Any:
    return torch.compile(f)


def forward_compiled(*args: Any) -> Any:
    return _compile(forward)(*args)


def inverse_compiled(*args: Any) -> Any:
    return _compile(inverse)(*args)
