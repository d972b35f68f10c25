"""Sampling by the chain rule: x_i ~ p(x_i | x_<i), one position after another."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Protocol, runtime_checkable

import torch
from torch import Tensor

from zoo_core.plugin import Conditionals, GenerativeModel, Inpainting, Range, Rng

__all__ = ["DrawsAtOnce", "Sequential", "draw"]


@runtime_checkable
class DrawsAtOnce(Protocol):
    """A model whose kernel runs this file's loop in one call, for the same uniforms."""

    @property
    def draws_at_once(self) -> bool:
        """Whether the kernel takes this model's configuration."""
        ...

    def draw_at_once(
        self, u: Tensor, cond: Tensor | None, *, fixed: Inpainting | None, temperature: float
    ) -> Tensor:
        """Events (B, *S), int64, from uniforms (B, D) in the order of generation."""
        ...


@dataclass(frozen=True)
class Sequential:
    """Draws from p(x_i | x_<i)^(1/T), normalized; temperature T = 1 samples the model itself.

    With `fixed`, known values are put in place and the later ones follow from them: what is known
    conditions only what comes after it in the model's order. Where all known values come first,
    this draws from p(unknown | known); elsewhere it does not, and the driver warns. A model whose
    kernel draws whole events (`DrawsAtOnce`) uses it unless a `trace` is wanted.
    """

    temperature: Annotated[float, Range(0.0, open=True)] = 1.0

    def __call__(
        self,
        model: GenerativeModel,
        rng: Rng,
        cond: Tensor | None,
        *,
        fixed: Inpainting | None = None,
        trace: Callable[[int, Tensor], None] | None = None,
    ) -> Tensor:
        """Events (B, *S), int64; `trace(i, x)` is called after each position."""
        assert isinstance(model, Conditionals)  # the capability this sampler is registered for
        u = rng.uniform((model.event.dims,), stream="value")  # (B, D), in the order of generation
        if trace is None and isinstance(model, DrawsAtOnce) and model.draws_at_once:
            return model.draw_at_once(u, cond, fixed=fixed, temperature=self.temperature)
        x = torch.zeros((len(rng), *model.event.shape), dtype=torch.long, device=rng.device)
        flat = x.view(len(rng), -1)  # (B, D), the same memory
        cache = model.begin(len(rng), cond)
        for i, position in enumerate(model.order().tolist()):
            logits, cache = model.conditional(x, i, cache)
            drawn = draw(logits / self.temperature, u[:, i])
            flat[:, position] = drawn if fixed is None else _known(fixed, position, drawn)
            if trace is not None:
                trace(i, x)
        return x

    def ignored(self, model: GenerativeModel, fixed: Inpainting) -> str | None:
        """Whether unknown values come before known ones in the model's order."""
        assert isinstance(model, Conditionals)
        known = fixed.mask.flatten(1)[:, model.order().to(fixed.mask.device)]
        early = ~known & (known.flip(1).cumsum(1).flip(1) > 0)  # unknown, and a known one later
        if not early.any():
            return None
        return (
            f"up to {int(early.sum(1).max())} unknown values of an event come before known ones "
            "in the model's order and are drawn as if those were unknown: this completion does "
            "not follow p(unknown | known). It does where the known values come first, e.g. in "
            "the upper rows of an image."
        )


def draw(logits: Tensor, u: Tensor) -> Tensor:
    """Values (B,) of uniforms (B,) from logits (B, K): x = 1 where u < p(1) for a bit, else the
    first x with u < p(0) + ... + p(x)."""
    p = logits.double().softmax(-1)
    if p.shape[-1] == 2:
        return (u < p[:, 1]).long()
    cdf = p.cumsum(-1)
    return (u.unsqueeze(-1) >= cdf / cdf[:, -1:]).sum(-1)


def _known(fixed: Inpainting, position: int, drawn: Tensor) -> Tensor:
    """The known values at a flat position, and the drawn ones where none is known."""
    mask, values = fixed.mask.flatten(1)[:, position], fixed.observed.flatten(1)[:, position]
    return torch.where(mask, values.to(drawn.dtype), drawn)
