"""The truncation trick: less diversity for more fidelity.

Large Scale GAN Training for High Fidelity Natural Image Synthesis (Brock et al., 2019), section
3.1, https://arxiv.org/abs/1809.11096.
"""

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from zoo_core.plugin import Range, Rng
from zoo_gan.model import Adversaries

__all__ = ["Truncated", "truncate"]

_MAX_THRESHOLD = 1e4


@dataclass(frozen=True)
class Truncated:
    """Samples whose latents follow a standard normal truncated at `threshold` standard deviations.

    The latents of a seed are those of the untruncated sample, moved towards 0: the images of one
    seed change smoothly with the threshold, and a large threshold changes nothing.

        model.sample(16, sampler=Truncated(threshold=0.7))
    """

    threshold: Annotated[float, Range(0.0, _MAX_THRESHOLD, open=True)] = 1.0

    def __call__(self, model: Adversaries, rng: Rng, cond: Tensor | None) -> Tensor:
        """One event per row of `rng`, (B, *S)."""
        z = model.prior(len(rng), cond).sample(rng, stream="z")
        return model.to_events(model.generate(truncate(z, self.threshold), cond))

    def altered_by(self) -> str:
        """The threshold: a score of the generator is one of latents that are not truncated."""
        return f"threshold = {self.threshold}"


def truncate(z: Tensor, threshold: float) -> Tensor:
    r"""Map standard normals to the normal truncated to |z| <= threshold, keeping each quantile.

        z' = Phi^{-1}(a + (1 - 2 a) Phi(z)),  a = Phi(-threshold)

    Computed for -|z|, where Phi is accurate in floating point, and mirrored.
    """
    a = torch.special.ndtr(torch.tensor(-threshold, dtype=torch.float64, device=z.device))
    lower = torch.special.ndtri(a + (1 - 2 * a) * torch.special.ndtr(-z.double().abs()))
    moved: Tensor = -z.sign() * lower
    return moved.to(z.dtype)
