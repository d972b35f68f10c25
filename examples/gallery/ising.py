"""Spins of a magnet, with the true probabilities

The Ising model is a data set whose log p(x) is known exactly. Sampled lattices should not only
look right: their energies should have the right distribution.
"""

import matplotlib.pyplot as plt
from _pictures import show_rows

import zoo_core as zoo

data, model = zoo.load_dataset("ising"), zoo.load("gated_pixelcnn.ising")
real, drawn = data.split("test").x[:1000], model.sample(1000, seed=0)
show_rows({"held out": real[:12], "gated_pixelcnn.ising": drawn[:12]}, data.event, "Spins")

# %%
print("model:", model.log_likelihood(real).mean())
print(f"truth: {float(data.truth(real).mean()):.3f} nats")

# %%
figure, axis = plt.subplots(figsize=(5.5, 2.8), label="True log p of real and of drawn lattices")
for name, x in {"held out": real, "drawn by the model": drawn}.items():
    axis.hist(data.truth(x).numpy(), bins=40, histtype="step", density=True, label=name)
axis.set(xlabel="true log p(x) in nats", ylabel="density")
axis.legend()
