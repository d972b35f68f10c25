"""DDIM and ancestral sampling

Ancestral sampling (DDPM) adds noise in every step and needs many of them; DDIM follows the
probability flow without noise and gets along with few. The network is the same.
"""

from _pictures import show_rows

import zoo_core as zoo
from zoo_diffusion import DDIM, Ancestral

model = zoo.load("ddpm.digits")
rows = {
    f"{type(sampler).__name__}, {sampler.steps} steps": model.sample(12, seed=0, sampler=sampler)
    for sampler in (DDIM(steps=5), DDIM(steps=20), Ancestral(steps=5), Ancestral(steps=100))
}
show_rows(rows, model.event, "Digits by DDIM and by ancestral sampling with few and many steps")
