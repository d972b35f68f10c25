"""Jacobi sampling: all values at once from the draws of the last pass, until nothing changes.

Each value has its own uniform u_i, and with F_i the CDF of p(x_i | x_<i) the sequential sample is
the only solution of the triangular system

    x_i = F_i^-1(u_i; x_<i),  i = 1..D

so it can be found by iterating all D equations in parallel (Song et al., Accelerating feedforward
computation via parallel nonlinear equation solving, 2021, https://arxiv.org/abs/2002.03629). The
first k values are right after k passes, so there are at most D; on images there are far fewer.

A model that supports `BlockDecoding` is iterated block by block, such as the rows of an image,
with all earlier values in its cache; a row of the batch that has converged waits for the others of
its block. Any other model is iterated as a whole, and rows leave as they converge.

Shapes: B batch, S the event's shape, D its values, K levels, N values of a block.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from zoo_autoregressive.samplers import ConditionalSampler
from zoo_autoregressive.sampling_options import SamplingOptions, draw
from zoo_core.plugin import Conditionals, GenerativeModel, Inpainting, Rng

__all__ = ["BlockDecoding", "Jacobi"]

_MAX_LOGITS = 1 << 24
"""Most logits of a pass: 128 MB in float64, in which they are drawn from."""


@runtime_checkable
class BlockDecoding(Protocol):
    """A model whose cache can evaluate several neighbours in the order of generation at once."""

    def order_blocks(self) -> Sequence[range]:
        """The blocks, ranges of indices into `order()`, one after another; a single one if the
        model's configuration cannot be evaluated by blocks."""
        ...

    def decode_block(self, x: Tensor, block: range, cache: Any) -> tuple[Tensor, Any]:
        """Logits (B, N, K) of the values `order()[block]` of x (B, *S), and the cache.

        It is called repeatedly for a block, whose values change in between, and then for the next.
        """
        ...


@dataclass(frozen=True)
class Jacobi(ConditionalSampler):
    """Draws what `Sequential` draws, in fewer and larger passes of the network.

        model.sample(1, sampler=Jacobi())

    The values are those of `Sequential` with the same seed, in all but at most 1 row in 1,000,
    where a last bit decides. `fixed` and the sampling options act as they do there.
    """

    def __call__(
        self,
        model: GenerativeModel,
        rng: Rng,
        cond: Tensor | None,
        *,
        fixed: Inpainting | None = None,
        trace: Callable[[int, Tensor], None] | None = None,
    ) -> Tensor:
        """Events (B, *S), int64; `trace(k, x)` is called after each pass."""
        assert isinstance(model, Conditionals)  # the capability this sampler is registered for
        u = rng.uniform((model.event.dims,), stream="value")  # (B, D), in the order of generation
        x = torch.zeros((len(rng), *model.event.shape), dtype=torch.long, device=rng.device)
        order = model.order().to(rng.device)
        equations = _Equations(u, order, self._options(), fixed)
        if isinstance(model, BlockDecoding) and len(model.order_blocks()) > 1:
            passes = _solve_blocks(model, x, cond, equations)
        else:
            passes = _solve(model, x, cond, equations)
        for k, _ in enumerate(passes):
            if trace is not None:
                trace(k, x)
        return x


@dataclass(frozen=True)
class _Equations:
    """x_i = F_i^-1(u_i; x_<i), or the observed value; all are in the order of generation."""

    u: Tensor  # (B, D)
    order: Tensor  # (D,)
    options: SamplingOptions
    fixed: Inpainting | None

    def right_side(self, logits: Tensor, rows: Tensor | slice, block: slice) -> Tensor:
        """New values (B, N) of a block, from their logits (B, N, K)."""
        drawn = draw(self.options(logits), self.u[rows, block])
        if self.fixed is None:
            return drawn
        at = self.order[block]
        mask, observed = (
            t.flatten(1)[rows][:, at] for t in (self.fixed.mask, self.fixed.observed)
        )
        return torch.where(mask, observed.to(drawn.dtype), drawn)


def _solve(
    model: GenerativeModel, x: Tensor, cond: Tensor | None, equations: _Equations
) -> Iterator[None]:
    """Iterate x (B, *S) in place over all values; rows leave as they converge."""
    assert isinstance(model, Conditionals)
    flat, order, everything = x.view(len(x), -1), equations.order, slice(None)
    rows = torch.arange(len(x), device=x.device)
    assert model.event.levels is not None  # conditionals are of integers
    at_once = max(1, _MAX_LOGITS // (flat.shape[1] * model.event.levels))
    for _ in range(flat.shape[1]):
        changed = []
        for part in rows.split(at_once):
            logits = model.logits(x[part], None if cond is None else cond[part])
            values = equations.right_side(logits.flatten(1, -2)[:, order], part, everything)
            changed.append(part[(values != flat[part][:, order]).any(1)])
            flat[part[:, None], order] = values
        yield
        rows = torch.cat(changed)
        if not len(rows):
            return


def _solve_blocks(
    model: BlockDecoding, x: Tensor, cond: Tensor | None, equations: _Equations
) -> Iterator[None]:
    """Iterate x (B, *S) in place over one block after another."""
    assert isinstance(model, Conditionals)
    flat, cache, every = x.view(len(x), -1), model.init_cache(len(x), cond), slice(None)
    for block in model.order_blocks():
        here = slice(block.start, block.stop)
        at = equations.order[here]
        for _ in block:
            logits, cache = model.decode_block(x, block, cache)
            values = equations.right_side(logits, every, here)
            converged = torch.equal(values, flat[:, at])
            flat[:, at] = values
            yield
            if converged:
                break
