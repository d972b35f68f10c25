"""From noise to a digit

`trace` is called with what the network takes the events for after each step of the sampler. At
first that is the mean of all digits, then a decision is made, then details appear.
"""

from _pictures import show_rows

import zoo_core as zoo
from zoo_diffusion import DDIM

model, steps = zoo.load("edm.digits"), []


def keep(step, x):
    steps.append(x.clone())


x = model.sample(12, seed=1, sampler=DDIM(steps=16), trace=keep)
shown = {f"step {i + 1}": steps[i] for i in (0, 3, 5, 7, 9, 12)}
show_rows({**shown, "samples": x}, model.event, "Denoised digits at seven steps of DDIM")
