"""A map of a VAE's latents

Held-out digits are encoded and shown in the plane of the two directions in which their latents
vary most. The model has never seen the classes, yet most of them come apart. Decoding a walk
between two digits shows what lies in between.
"""

import matplotlib.pyplot as plt
import torch
from _pictures import show_rows

import zoo_core as zoo
from zoo_core import latent

model, test = zoo.load("vae.digits"), zoo.load_dataset("digits").split("test")
z = latent.encode(model, test.x)  # (360, L)
_, _, directions = torch.pca_lowrank(z, q=2)
flat = (z - z.mean(0)) @ directions

# %%
figure, axis = plt.subplots(figsize=(6, 4.4), label="Latents of held-out digits by class")
points = axis.scatter(*flat.T, c=test.y, cmap="tab10", s=14)
figure.colorbar(points, ticks=range(10), label="digit")
axis.set(xlabel="first direction", ylabel="second direction", aspect="equal")

# %%
# Four walks along great circles, each from one held-out digit to another.
walks = latent.interpolate(z[:4], z[4:8], steps=12)
rows = {
    f"from a {a} to a {b}": latent.decode(model, walk)
    for a, b, walk in zip(test.y[:4].tolist(), test.y[4:8].tolist(), walks, strict=True)
}
show_rows(rows, model.event, "Walks between digits in the latents of a VAE")
