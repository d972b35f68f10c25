"""Sampling from less of the prior: fidelity for variety.

The truncation trick of Large Scale GAN Training (Brock et al., 2019), section 3.1.
"""

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from zoo_core.plugin import Range, Rng
from zoo_gan.model import Adversaries

__all__ = ["Truncated", "truncate"]

_LARGEST = 1e4
"""Beyond it a threshold is none."""


@dataclass(frozen=True)
class Truncated:
    """Samples from latents of a normal prior cut off at `threshold` standard deviations.

    The latents of a seed are those of an untruncated sample, moved inwards: the images of one seed
    change smoothly with the threshold, and a large one changes nothing.
    """

    threshold: Annotated[float, Range(0.0, _LARGEST, open=True)] = 1.0

    def __call__(self, model: Adversaries, rng: Rng, cond: Tensor | None) -> Tensor:
        """Events (B, *S)."""
        z = model.prior(len(rng), cond).sample(rng, stream="z")
        return model.to_events(model.generate(truncate(z, self.threshold), cond))


def truncate(z: Tensor, threshold: float) -> Tensor:
    r"""Standard normals as normals given |z| <= threshold, each keeping its quantile.

        z' = Phi^{-1}(a + (1 - 2 a) Phi(z)),  a = Phi(-threshold)

    It is computed on the lower half, where Phi has the digits, and mirrored.
    """
    a = torch.special.ndtr(torch.tensor(-threshold, dtype=torch.float64, device=z.device))
    lower = torch.special.ndtri(a + (1 - 2 * a) * torch.special.ndtr(-z.double().abs()))
    moved: Tensor = -z.sign() * lower
    return moved.to(z.dtype)
