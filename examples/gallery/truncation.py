"""Truncation of a GAN's latents

Latents beyond a threshold are drawn again. A low threshold gives typical samples of little
variety; infinity is the distribution that was trained.
"""

import math

from _pictures import show_rows

import zoo_core as zoo
from zoo_gan import truncation_sweep

model = zoo.load("r3gan.digits")
thresholds = (0.05, 0.5, 1.0, math.inf)
sweep = truncation_sweep(model, 12, thresholds, seed=0)  # (4, 12, 1, 8, 8)
rows = {f"threshold {t:g}": x for t, x in zip(thresholds, sweep, strict=True)}
show_rows(rows, model.event, "Digits of a GAN at four truncation thresholds")
