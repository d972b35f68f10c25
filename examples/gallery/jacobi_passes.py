"""All pixels at once: Jacobi sampling

An autoregressive model draws its 64 pixels one after the other. Given the random numbers, the
result is the only solution of a triangular system, which Jacobi iteration solves for all pixels
in parallel: the same digits, in fewer passes of the network.
"""

import matplotlib.pyplot as plt
import torch
from _pictures import show_rows

import zoo_core as zoo
from zoo_autoregressive import Jacobi, Sequential

model, passes = zoo.load("made.digits"), []
x = model.sample(12, seed=0, sampler=Jacobi(), trace=lambda k, x: passes.append(x.clone()))
same = torch.equal(x, model.sample(12, seed=0, sampler=Sequential()))
print(f"{len(passes)} passes instead of {model.event.dims}; the same digits: {same}")

# %%
rows = {f"after pass {k + 1}": passes[k] for k in (0, 2, 5, 9)}
show_rows({**rows, "in the end": x}, model.event, "Digits after some passes of Jacobi iteration")

# %%
figure, axis = plt.subplots(figsize=(5, 2.6), label="Pixels that are not final, by pass")
axis.plot(range(1, len(passes) + 1), [float((p != x).float().mean()) for p in passes], marker=".")
axis.set(xlabel="pass", ylabel="share of pixels not final", ylim=(0, 1))
