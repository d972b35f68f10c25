"""normflows' affine coupling block (sigmoid scale, channel split) with a network that returns the
given parameters: split, coupling, log-determinant, merge. Its inverse is s (x - shift), so it is
our forward where its shift is minus ours; its parameters are pairs (shift, scale)."""

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn


class _Given(nn.Module):
    """A network whose output is given: params (B, 2, C', *S) as pairs, (B, 2 C', *S), the shifts
    negated beforehand."""

    def __init__(self, params: Tensor) -> None:
        super().__init__()
        shift, scale = params.unbind(1)
        self.params = torch.stack([-shift, scale], 2).flatten(1, 2)

    def forward(self, z: Tensor) -> Tensor:
        return self.params


_blocks: dict[int, tuple[Tensor, Any]] = {}  # with the parameters, to keep their id


def _block(params: Tensor) -> Any:
    from normflows.flows import AffineCouplingBlock

    if id(params) not in _blocks:
        block = AffineCouplingBlock(_Given(params), scale_map="sigmoid", split_mode="channel")
        _blocks[id(params)] = params, block
    return _blocks[id(params)][1]


def forward(x: Tensor, params: Tensor, *rest: Any) -> Any:
    return _block(params).inverse(x)


def inverse(x: Tensor, params: Tensor, *rest: Any) -> Any:
    return _block(params).forward(x)


@cache
def _compile(name: str, block: Any) -> Any:
    return torch.compile(getattr(block, name))


def forward_compiled(x: Tensor, params: Tensor, *rest: Any) -> Any:
    return _compile("inverse", _block(params))(x)


def inverse_compiled(x: Tensor, params: Tensor, *rest: Any) -> Any:
    return _compile("forward", _block(params))(x)
