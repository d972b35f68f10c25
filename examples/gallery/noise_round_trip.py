"""Digits to their noise and back

The probability flow is invertible: `encode` finds the noise x_T from which DDIM comes to an
image, and `decode` goes back. The error that is left is that of the solver; it falls with the
number of steps.
"""

import matplotlib.pyplot as plt
from _pictures import show_rows

import zoo_core as zoo
from zoo_diffusion import DDIM, decode, encode

model = zoo.load("edm.digits")
x = zoo.load_dataset("digits").split("test").x[:8]
back = {}
for steps in (4, 8, 16, 32):
    sampler = DDIM(steps=steps)
    back[steps] = decode(model, encode(model, x, sampler=sampler), sampler=sampler)

# %%
rows = {f"back by {steps} steps": y for steps, y in back.items()}
show_rows({"held-out digits": x, **rows}, model.event, "Digits and what comes back of them")

# %%
figure, axis = plt.subplots(figsize=(5, 2.8), label="Mean error of the round trip by steps")
errors = [float((y.double() - x.double()).abs().mean()) for y in back.values()]
axis.plot(list(back), errors, marker="o")
axis.set(xlabel="steps", ylabel="mean error in levels (of 16)", xscale="log", ylim=(0, None))
axis.set_xticks(list(back), [str(steps) for steps in back])
axis.minorticks_off()
