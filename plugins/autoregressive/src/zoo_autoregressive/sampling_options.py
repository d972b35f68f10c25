"""Sampling options of conditionals: temperature, top-k and top-p.

From the probabilities p of one value, in this order:

    temperature    p_k ~ p_k^(1/T)
    top_k          the k most probable levels, renormalized; of equal ones at the edge all stay
    top_p          the fewest most probable levels whose sum reaches P, renormalized
                   (Holtzman et al., 2020, https://arxiv.org/abs/1904.09751)

With anything but the defaults, draws do not follow the p(x) that the model scores: even the
temperature acts on each conditional, which is no temperature of p(x).

Shapes: K levels.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["SamplingOptions", "draw"]


@dataclass(frozen=True)
class SamplingOptions:
    """What is done to the logits of a value before it is drawn; by default nothing."""

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None

    @property
    def truncates(self) -> bool:
        """Whether levels are left out."""
        return self.top_k is not None or self.top_p is not None

    def altered_by(self) -> str | None:
        """The options that change the distribution, or None."""
        changed = [] if self.temperature == 1 else [f"temperature = {self.temperature}"]
        changed += [] if self.top_k is None else [f"top_k = {self.top_k}"]
        changed += [] if self.top_p is None else [f"top_p = {self.top_p}"]
        return ", ".join(changed) or None

    def __call__(self, logits: Tensor) -> Tensor:
        """The logits (..., K) that are drawn from; -inf are levels that are left out.

        >>> SamplingOptions(top_k=2)(torch.tensor([[3.0, 1.0, 2.0]]))
        tensor([[3., -inf, 2.]])
        """
        logits = logits / self.temperature
        if self.top_k is not None and self.top_k < logits.shape[-1]:
            least = logits.topk(self.top_k).values[..., -1:]
            logits = logits.masked_fill(logits < least, -torch.inf)
        return logits if self.top_p is None else _nucleus(logits, self.top_p)


def draw(logits: Tensor, u: Tensor) -> Tensor:
    """Values (...) int64 from logits (..., K) and uniforms u (...), by the inverse CDF.

    For K = 2, x = 1 where u < p(1); else x is the first with u < p(0) + ... + p(x).

    >>> draw(torch.zeros(2, 4), torch.tensor([0.1, 0.6]))
    tensor([0, 2])
    """
    p = logits.double().softmax(-1)
    if p.shape[-1] == 2:
        return (u < p[..., 1]).long()
    cdf = p.cumsum(-1)
    return (u.unsqueeze(-1) >= cdf / cdf[..., -1:]).sum(-1)


def _nucleus(logits: Tensor, top_p: float) -> Tensor:
    """A level stays if the more probable ones do not reach `top_p` without it."""
    p, order = logits.double().softmax(-1).sort(dim=-1, descending=True, stable=True)
    left_out = (p.cumsum(-1) - p >= top_p).gather(-1, order.argsort(-1))
    return logits.masked_fill(left_out, -torch.inf)
