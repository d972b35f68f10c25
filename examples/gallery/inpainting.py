"""Complete the lower half of digits

`fixed` holds the known values and their mask. Where the known values come first in the order of
an autoregressive model, as the upper rows of an image do, its completions follow p(unknown |
known) exactly. A diffusion model conditions on them approximately, in any order.
"""

import torch
from _pictures import show_rows

import zoo_core as zoo
from zoo_diffusion import DDIM

digits = zoo.load_dataset("digits")
x = digits.split("test").x[:12]
mask = torch.zeros_like(x, dtype=torch.bool)
mask[:, :, :4] = True
fixed = (x, mask)

# %%
exact, diffusion = zoo.load("gated_pixelcnn.digits"), zoo.load("edm.digits")
rows = {
    "held-out digits": x,
    "what is known": torch.where(mask, x, 0),
    "gated_pixelcnn": exact.sample(12, seed=0, fixed=fixed),
    "gated_pixelcnn, another seed": exact.sample(12, seed=1, fixed=fixed),
    "edm": diffusion.sample(12, seed=0, fixed=fixed, sampler=DDIM(steps=30)),
}
show_rows(rows, digits.event, "Digits whose lower half was drawn given the upper one")
