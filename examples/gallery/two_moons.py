"""The density of a flow on two moons

Points in the plane are real numbers, so a flow's density is exact and can be drawn. The data set
knows its own density: the left map is the truth, the right one the flow's.
"""

import matplotlib.pyplot as plt
import torch

import zoo_core as zoo

moons, model = zoo.load_dataset("moons"), zoo.load("nsf_coupling.moons")
x = moons.split("test").x
print("flow ", model.log_likelihood(x).mean())
print("truth", f"{float(moons.truth(x).mean()):.3f} nats")

# %%
across, up = torch.linspace(-2, 3, 200), torch.linspace(-1.5, 2, 140)
grid = torch.cartesian_prod(across, up)
maps = {"truth": moons.truth(grid), "nsf_coupling.moons": model.log_likelihood(grid).nats}

figure, axes = plt.subplots(1, 2, figsize=(8, 3), label="The density of two moons and of a flow")
for axis, (name, nats) in zip(axes, maps.items(), strict=True):
    axis.contourf(across, up, nats.view(200, 140).T, levels=range(-10, 1), extend="min")
    axis.scatter(*x[:200].T, s=1, color="white")
    axis.set(title=f"log p(x), {name}", aspect="equal")
