"""Which inputs surprise which model?

Four models score held-out digits, digits upside down, inverted digits and uniform noise, in nats
relative to their own mean on held-out digits. A threshold on log p separates the noise and the
inverted digits, but digits upside down only in part: a likelihood is no measure of meaning.
"""

import matplotlib.pyplot as plt
import torch

import zoo_core as zoo

digits = zoo.load_dataset("digits")
x = digits.split("test").x[:100]
noise = torch.randint(0, 17, x.shape, generator=torch.Generator().manual_seed(0))
inputs = {
    "held-out digits": x,
    "upside down": x.flip(-1, -2),
    "inverted": 16 - x.int(),
    "noise": noise,
}
names = ("gated_pixelcnn", "nsf_coupling", "vae", "hvae")

# %%
figure, axes = plt.subplots(2, 2, figsize=(8, 4.6), label="Surprise of four models by input")
for axis, name in zip(axes.flat, names, strict=True):
    scores = {what: zoo.load(f"{name}.digits").log_likelihood(y) for what, y in inputs.items()}
    nats, sign = {what: s.nats for what, s in scores.items()}, scores["inverted"].kind.sign
    centre = float(nats["held-out digits"].mean())
    axis.boxplot([n - centre for n in nats.values()], orientation="horizontal", widths=0.6)
    axis.set_yticks(range(1, 5), list(nats))
    axis.set(title=f"{name} (log p {sign})", xscale="symlog", xlim=(-2000, 50))
    axis.set_xticks([-1000, -100, -10, 0, 10], ["-1000", "-100", "-10", "0", "10"])
    axis.invert_yaxis()
figure.supxlabel("nats relative to held-out digits", fontsize=10)
figure.tight_layout()
