"""Ancestral sampling by the chain rule: x_i ~ p(x_i | x_<i), one position after another."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Protocol, runtime_checkable

import torch
from torch import Tensor

from zoo_autoregressive.sampling_options import SamplingOptions, draw
from zoo_core.plugin import Conditionals, GenerativeModel, Inpainting, Range, Rng

__all__ = ["ConditionalSampler", "FusedSampling", "Sequential", "draw"]


@runtime_checkable
class FusedSampling(Protocol):
    """A model whose kernel runs the loop of `Sequential` in one call, on the same uniforms."""

    @property
    def supports_fused_sampling(self) -> bool:
        """Whether the kernel supports this model's configuration."""
        ...

    def sample_fused(
        self, u: Tensor, cond: Tensor | None, *, fixed: Inpainting | None, temperature: float
    ) -> Tensor:
        """Events (B, *S), int64, from uniforms (B, D) in the order of generation."""
        ...


@dataclass(frozen=True)
class ConditionalSampler:
    """What samplers by conditionals share: their options (`SamplingOptions`) and what they say."""

    temperature: Annotated[float, Range(0.0, open=True)] = 1.0
    top_k: Annotated[int, Range(1, 65536)] | None = None
    top_p: Annotated[float, Range(0.0, 1.0, open=True)] | None = None

    def ignored(self, model: GenerativeModel, fixed: Inpainting) -> str | None:
        """The warning that unknown values come before observed ones in the model's order; None if
        all observed values come first."""
        assert isinstance(model, Conditionals)
        observed = fixed.mask.flatten(1)[:, model.order().to(fixed.mask.device)]
        early = ~observed & (observed.flip(1).cumsum(1).flip(1) > 0)  # before an observed one
        if not early.any():
            return None
        return (
            f"up to {int(early.sum(1).max())} unknown values of an event come before known ones "
            "in the model's order and are drawn as if those were unknown: this completion does "
            "not follow p(unknown | known). It does where the known values come first, e.g. in "
            "the upper rows of an image."
        )

    def altered_by(self) -> str | None:
        """The options with which draws do not follow the p(x) that is scored."""
        return self._options().altered_by()

    def _options(self) -> SamplingOptions:
        return SamplingOptions(self.temperature, self.top_k, self.top_p)


@dataclass(frozen=True)
class Sequential(ConditionalSampler):
    """Draws each value from p(x_i | x_<i), or from what the sampling options make of it.

        model.sample(16, sampler=Sequential(temperature=0.9, top_k=4))

    With `fixed` (inpainting), observed values condition only the values after them in
    `model.order()`. If all observed values come first, the samples follow p(unknown | known);
    otherwise they do not, and the driver warns. The fused kernel of a model that supports
    `FusedSampling` draws unless there is a `trace`, `top_k` or `top_p`, which it does not know:
    these go through the model's cache.
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
        """Events (B, *S), int64; `trace(i, x)` is called after each position."""
        assert isinstance(model, Conditionals)  # the capability this sampler is registered for
        u = rng.uniform((model.event.dims,), stream="value")  # (B, D), in the order of generation
        options = self._options()
        plain = trace is None and not options.truncates
        if plain and isinstance(model, FusedSampling) and model.supports_fused_sampling:
            return model.sample_fused(u, cond, fixed=fixed, temperature=self.temperature)
        x = torch.zeros((len(rng), *model.event.shape), dtype=torch.long, device=rng.device)
        flat = x.view(len(rng), -1)  # (B, D), the same memory
        cache = model.init_cache(len(rng), cond)
        for i, position in enumerate(model.order().tolist()):
            logits, cache = model.decode_step(x, i, cache)
            drawn = draw(options(logits), u[:, i])
            flat[:, position] = drawn if fixed is None else _observed_or(fixed, position, drawn)
            if trace is not None:
                trace(i, x)
        return x


def _observed_or(fixed: Inpainting, position: int, drawn: Tensor) -> Tensor:
    """The observed values at a flat position, and the drawn ones where none is observed."""
    mask, values = fixed.mask.flatten(1)[:, position], fixed.observed.flatten(1)[:, position]
    return torch.where(mask, values.to(drawn.dtype), drawn)
