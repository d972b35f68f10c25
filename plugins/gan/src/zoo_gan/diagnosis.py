"""Training diagnostics of a GAN, and warnings of mode collapse or a winning discriminator.

Measured on at most 256 events of the validation split and as many samples, in evaluation mode:

- `real`, `fake`: D's mean scores;
- `auc`: fraction of pairs (real event, sample) in which D scores the real event higher; 1/2 by
  chance;
- `spread`: mean distance between samples over the mean distance between real events; 1 is ideal;
- `coverage`: fraction of real events with a sample within the distance of their 5th nearest real
  neighbour (Naeem et al., 2020); at best 1 - 2^-5;
- `modes`: fraction of the data's classes that get at least a fifth of their share of the samples,
  each sample taking the class of the nearest real event.
"""

import torch
from torch import Tensor

from zoo_core.plugin import Condition, Diagnosis, GenerativeModel, Rng, Split, take
from zoo_gan.model import Adversaries

__all__ = ["diagnose", "diversity", "warning"]

_EVENTS = 256
_NEIGHBOURS = 5
_COLLAPSED = {"spread": 0.3, "modes": 0.5, "coverage": 0.05}
"""Thresholds below which the samples have collapsed."""
_MAX_AUC = 0.999


def diagnose(model: Adversaries, split: Split) -> Diagnosis:
    """Numbers for the training log, with a warning where training fails."""
    assert isinstance(model, GenerativeModel)  # the training loop has no others
    n = min(_EVENTS, len(split.x))
    rows = torch.arange(n) * len(split.x) // n
    x, cond = take(model, split, rows)
    real = model.normalize(x)
    rng = Rng(0, n, scope="diagnosis/").to(real.device)
    fake = model.generator(model.prior(n, cond).sample(rng, stream="z"), cond)
    r, f = (model.discriminator(v, cond).float() for v in (real, fake))
    y = _modes(model.condition, split, rows)
    values = {
        "real": float(r.mean()),
        "fake": float(f.mean()),
        "auc": float((r[:, None] > f).float().mean()),
        **diversity(real.flatten(1).float(), fake.flatten(1).float(), y),
    }
    return Diagnosis(values, warning(values))


def _modes(condition: Condition, split: Split, rows: Tensor) -> Tensor | None:
    """The class of each row, or the number of its combination of labels; None without labels."""
    if split.y is None or (condition.kind == "none" and split.y.ndim != 1):
        return None
    y: Tensor = split.y[rows]
    return condition.cell(y)


def diversity(real: Tensor, fake: Tensor, y: Tensor | None) -> dict[str, float]:
    """Spread, coverage and modes of samples (N, D) beside real events (N, D) of classes (N,)."""
    real_real, real_fake = torch.cdist(real, real), torch.cdist(real, fake)  # (N, N)
    k = min(_NEIGHBOURS, len(real) - 1)
    radius = real_real.kthvalue(k + 1).values  # the nearest is the event itself
    values = {
        "spread": float(torch.cdist(fake, fake).mean() / real_real.mean()),
        "coverage": float((real_fake.amin(1) <= radius).float().mean()),
    }
    if y is not None:
        expected = torch.bincount(y).float() / len(y)
        classes = y[real_fake.argmin(0).cpu()]
        observed = torch.bincount(classes, minlength=len(expected)).float() / len(fake)
        values["modes"] = float((observed >= expected / 5)[expected > 0].float().mean())
    return values


def warning(values: dict[str, float]) -> str | None:
    """The likely failure and its remedies, or None."""
    if any(values[name] < low for name, low in _COLLAPSED.items() if name in values):
        return (
            "the generator is collapsing: its samples are few and alike; try a larger r1 and r2, "
            "the relativistic loss, a smaller train.lr, or a larger train.batch_size"
        )
    if values["auc"] > _MAX_AUC:
        return (
            "the discriminator is winning: it tells every sample from the data, which teaches the "
            "generator little; try larger penalties, or a smaller players.discriminator.lr"
        )
    return None
