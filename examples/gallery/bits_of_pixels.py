"""Where the bits of an image are

The chain rule splits the exact log p(x) of an autoregressive model into one term a pixel: its
cost in bits given the pixels before it. Margins are nearly free; edges are where the model is
surprised.
"""

import math

import matplotlib.pyplot as plt
import torch
from _pictures import rgb

import zoo_core as zoo

model = zoo.load("gated_pixelcnn.digits")
x = zoo.load_dataset("digits").split("test").x[:8].long()
with torch.no_grad():
    logits = model.logits(x, None)  # (8, 1, 8, 8, 17)
terms = logits.log_softmax(-1).gather(-1, x.unsqueeze(-1)).squeeze(-1)  # log p(x_i | x_<i)
bits = -terms / math.log(2)

# %%
# The terms add up to what `log_likelihood` states.
print(terms.flatten(1).sum(1))
print(model.log_likelihood(x).nats)

# %%
figure, axes = plt.subplots(2, 8, figsize=(9, 2.8), label="Digits and the bits of their pixels")
for column, image, cost in zip(axes.T, rgb(x, model.event), bits, strict=True):
    column[0].imshow(image)
    drawn = column[1].imshow(cost[0], vmin=0, vmax=8)
    column[1].set_xlabel(f"{float(cost.sum()):.0f} bits", fontsize=8)
    for axis in column:
        axis.set(xticks=[], yticks=[])
figure.colorbar(drawn, ax=axes, label="bits")
