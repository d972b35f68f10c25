"""Masked autoregressive flow (Papamakarios, Pavlakou & Murray, 2017).

https://arxiv.org/abs/1705.07057. N layers; the order of the features is reversed between them:

    x_i = u_i exp(alpha_i) + mu_i,   (mu_i, alpha_i) = f_i(x_1..x_{i-1})        (eqs. 3-4)

f is a MADE with residual layers (Nash & Durkan, 2019). The degrees of its hidden units rise evenly
from 0 to D - 1; a unit of degree m sees x_1..x_m. Actnorm before each layer replaces the paper's
batch normalization, with which the density of an event would depend on its batch. Scales are
bounded, alpha = 3 tanh(r / 3).

The density costs one pass. **Sampling takes D steps** per layer, since x_i needs x_1..x_{i-1}. No
unit is computed twice: with sorted degrees, the units that x_i completes are a slice of every
layer, so the D steps of a layer cost as many multiplications as one pass. The sampler `jacobi`
takes a few passes over all features instead.

Images are treated as vectors, in raster order. Shapes: B batch, D features, U units, z (B, D).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo_core.plugin import MaskedLinear, Range, dropout, init_output
from zoo_flows.bijections import ActNorm, Chain, Flip, InvertibleLayer
from zoo_flows.flow import Flow, FlowConfig
from zoo_flows.jacobi import solve
from zoo_kernels import coupling

__all__ = ["MAF", "MAFConfig"]

_BOUND = 3.0


@dataclass(frozen=True)
class MAFConfig(FlowConfig):
    """Event, condition, preprocessing, and size."""

    layers: Annotated[int, Range(1, 64)] = 5
    hidden: Annotated[int, Range(1, 65536)] = 256
    blocks: Annotated[int, Range(0, 64)] = 1
    """Residual layers after the first."""
    dropout: Annotated[float, Range(0.0, 0.99)] = 0.0


class MaskedAutoregressiveLayer(InvertibleLayer):
    """One layer: u = (x - mu) exp(-alpha), with mu and alpha from a residual MADE."""

    def __init__(self, config: MAFConfig, features: int, context: int) -> None:
        super().__init__()
        D, U = features, config.hidden
        x, m = torch.arange(1, D + 1), torch.arange(U) * D // U  # degrees of inputs, units
        self.first = MaskedLinear(x, m)
        self.blocks = nn.ModuleList(MaskedLinear(m, m) for _ in range(config.blocks))
        self.last = MaskedLinear(m, x.repeat(2), strict=True)
        init_output(self.last, None)
        self.context = nn.Linear(context, U, bias=False) if context else None
        self.dropout = config.dropout
        self._prefix = torch.searchsorted(m, torch.arange(D), right=True).tolist()

    def forward(self, x: Tensor, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return coupling.inverse(x, self._affine(x, h), scale="tanh", constant=_BOUND)

    def inverse(self, y: Tensor, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """D steps; step i computes the units of degree i, which see x_1..x_i, and then x_{i+1}."""
        batch, D = y.shape
        x, params = torch.zeros_like(y), y.new_empty(batch, 2, D)
        layers = 1 + len(self.blocks)
        units = [y.new_empty(batch, self.first.out_features) for _ in range(layers)]
        shift = None if self.context is None else self.context(h)
        weight, bias = self.last.weight.view(2, D, -1), self.last.bias.view(2, D)
        done = 0
        for i in range(D):
            new = slice(done, self._prefix[i])
            self._grow(x[:, :i], new, units, shift)
            done = new.stop
            affine = F.linear(F.relu(units[-1][:, :done]), weight[:, i, :done], bias[:, i])
            params[:, :, i] = affine
            mu, r = affine.unbind(1)
            x[:, i] = torch.addcmul(mu, y[:, i], (_BOUND * (r / _BOUND).tanh()).exp())
        return coupling.forward(y, params, scale="tanh", constant=_BOUND)

    def inverse_by_iteration(self, y: Tensor, h: Tensor | None, tolerance: float) -> Tensor:
        """The x of `inverse`, by passes over all features at once (`jacobi.py`)."""

        def step(x: Tensor, rows: Tensor) -> Tensor:
            params = self._affine(x, None if h is None else h[rows])
            return coupling.forward(y[rows], params, scale="tanh", constant=_BOUND)[0]

        return solve(step, y, tolerance)[0]

    def _affine(self, x: Tensor, h: Tensor | None) -> Tensor:
        """mu and r of every feature, (B, 2, D)."""
        y = self._add_context(self.first(x), h)
        for block in self.blocks:
            y = y + dropout(F.relu(block(F.relu(y))), self.dropout, self.training)
        params: Tensor = self.last(F.relu(y)).to(x.dtype)
        return params.view(x.shape[0], 2, -1)

    def _grow(self, x: Tensor, new: slice, units: list[Tensor], shift: Tensor | None) -> None:
        """Compute the units `new` of every layer, before their nonlinearity."""
        if new.start == new.stop:
            return
        y = self.first.part(x, new)
        units[0][:, new] = y if shift is None else y + shift[:, new]
        for l, block in enumerate(self.blocks):
            assert isinstance(block, MaskedLinear)
            seen = F.relu(units[l][:, : new.stop])
            units[l + 1][:, new] = units[l][:, new] + F.relu(block.part(seen, new))

    def _add_context(self, y: Tensor, h: Tensor | None) -> Tensor:
        return y if self.context is None else y + self.context(h)


class MAF(Flow):
    """Masked autoregressive affine layers over a vector, or over the values of an image."""

    def __init__(self, config: MAFConfig | None = None) -> None:
        c = config or MAFConfig()
        super().__init__(c)
        self.transform = Chain([Flatten(), *self._layers()])

    def inverse_by_iteration(self, z: Tensor, cond: Tensor | None, tolerance: float) -> Tensor:
        """Continuous x (B, *S) of z (B, D), up to `tolerance` in each layer."""
        assert isinstance(self.transform, Chain)
        y, h = z, self._context(cond)
        for layer in reversed(self.transform.layers):
            assert isinstance(layer, InvertibleLayer)
            if isinstance(layer, MaskedAutoregressiveLayer):
                y = layer.inverse_by_iteration(y, h, tolerance)
            else:
                y = layer.inverse(y, h)[0]
        return self.preprocess.inverse(y.view(y.shape[0], *self.event.shape))[0]

    def _layers(self) -> Iterator[InvertibleLayer]:
        d = self.event.dims
        for i in range(self.config.layers):
            if i:
                yield Flip()
            yield ActNorm(d)
            yield MaskedAutoregressiveLayer(self.config, d, self.context_features)


class Flatten(InvertibleLayer):
    """An event as a vector; the model reshapes it in the inverse direction."""

    def forward(self, x: Tensor, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return x.flatten(1), x.new_zeros(x.shape[0])

    def inverse(self, y: Tensor, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return y, y.new_zeros(y.shape[0])
