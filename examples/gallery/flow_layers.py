"""Points on their way through a flow

A flow maps data to a standard normal and back, without loss. Colours follow the points: each half
moon is stretched into a part of the normal.
"""

import matplotlib.pyplot as plt

import zoo_core as zoo
from zoo_core import latent

data, model = zoo.load_dataset("moons"), zoo.load("nsf_coupling.moons")
x = data.split("test").x[:1500]
z = latent.encode(model, x)
back = latent.decode(model, z)
print(f"largest error of x -> z -> x: {float((back - x).abs().max()):.1e}")

# %%
figure, axes = plt.subplots(1, 3, figsize=(9, 3), label="Moons, their latents, and new samples")
panels = {"data x": x, "latents z = f(x)": z, "samples": model.sample(1500, seed=0)}
for axis, (name, points) in zip(axes, panels.items(), strict=True):
    axis.scatter(*points.T, s=3, c="tab:grey" if name == "samples" else x[:, 0])
    axis.set(title=name, aspect="equal")
figure.tight_layout()
