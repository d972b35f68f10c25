"""What a training of two players says of itself, and the failure that it looks like.

Measured on at most 256 events of the validation split and as many samples, in evaluation mode:

- `real`, `fake`: mean scores of D;
- `ranked`: part of the pairs of a real event and a sample that D puts in order, 1/2 by chance;
- `spread`: mean distance between samples over that between real events, 1 at best;
- `coverage`: part of the real events with a sample as near as their 5th nearest real neighbour
  (Naeem et al., 2020), 1 - 2^-5 at best;
- `modes`: part of the data's classes that get a fifth of their due, each sample counting for the
  class of the real event nearest to it.
"""

import torch
from torch import Tensor

from zoo_core.plugin import Diagnosis, Rng, Split, take
from zoo_gan.model import Adversaries

__all__ = ["diagnose"]

_EVENTS = 256
_NEIGHBOURS = 5
_COLLAPSED = {"spread": 0.3, "modes": 0.5, "coverage": 0.05}
"""What each number falls below when samples have become few."""
_RANKED = 0.999


def diagnose(model: Adversaries, split: Split) -> Diagnosis:
    """Numbers for the log, with a warning where they look like collapse or like D winning."""
    n = min(_EVENTS, len(split.x))
    rows = torch.arange(n) * len(split.x) // n
    x, cond = take(model, split, rows)  # type: ignore[arg-type]
    real = model.normalize(x)
    rng = Rng(0, n, scope="diagnosis/").to(real.device)
    fake = model.generator(model.prior(n, cond).sample(rng, stream="z"), cond)
    r, f = (model.discriminator(v, cond).float() for v in (real, fake))
    y = None if split.y is None else split.y[rows]
    values = {
        "real": float(r.mean()),
        "fake": float(f.mean()),
        "ranked": float((r[:, None] > f).float().mean()),
        **variety(real.flatten(1).float(), fake.flatten(1).float(), y),
    }
    return Diagnosis(values, warning(values))


def variety(real: Tensor, fake: Tensor, y: Tensor | None) -> dict[str, float]:
    """Spread, coverage and modes of samples (N, D) beside real events (N, D) of classes (N,)."""
    among, between = torch.cdist(real, real), torch.cdist(real, fake)  # (N, N)
    k = min(_NEIGHBOURS, len(real) - 1)
    radius = among.kthvalue(k + 1).values  # the nearest is the event itself
    found = {
        "spread": float(torch.cdist(fake, fake).mean() / among.mean()),
        "coverage": float((between.amin(1) <= radius).float().mean()),
    }
    if y is not None:
        due = torch.bincount(y).float() / len(y)
        got = torch.bincount(y[between.argmin(0).cpu()], minlength=len(due)).float() / len(fake)
        found["modes"] = float((got >= due / 5)[due > 0].float().mean())
    return found


def warning(values: dict[str, float]) -> str | None:
    """The likely failure and what helps against it, or None."""
    if any(values[name] < low for name, low in _COLLAPSED.items() if name in values):
        return (
            "the generator is collapsing: its samples are few and alike; try a larger r1 and r2, "
            "the relativistic loss, a smaller train.lr, or a larger train.batch_size"
        )
    if values["ranked"] > _RANKED:
        return (
            "the discriminator is winning: it tells every sample from the data, which teaches the "
            "generator little; try larger penalties, or a smaller players.discriminator.lr"
        )
    return None
