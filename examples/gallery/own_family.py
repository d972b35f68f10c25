"""A family of your own in forty lines

A class says what its events are and what only it knows: here log p(x) and how to draw. Batches,
seeds, standard errors, training, saving and `zoo.compare` are derived. A plugin adds a name.
"""

from dataclasses import dataclass

import matplotlib.pyplot as plt
import torch
from torch import nn

import zoo_core as zoo


@dataclass(frozen=True)
class MixtureConfig:
    components: int = 12


class Mixture(zoo.GenerativeModel):
    """p(x) = sum_k w_k N(x; m_k, s_k^2 I), points of the plane."""

    def __init__(self, config=MixtureConfig()):
        super().__init__(config, zoo.Event((2,)))
        K = config.components
        self.logits = nn.Parameter(torch.zeros(K))
        self.means = nn.Parameter(torch.randn(K, 2))
        self.log_std = nn.Parameter(torch.full((K,), -1.0))

    def log_prob(self, x, cond=None):
        normal = torch.distributions.Normal(self.means, self.log_std.exp().unsqueeze(-1))
        return (self.logits.log_softmax(0) + normal.log_prob(x[:, None]).sum(-1)).logsumexp(-1)

    def sample_rows(self, rng, cond=None):
        cumulative = self.logits.softmax(0).cumsum(0)
        k = torch.searchsorted(cumulative[:-1], rng.uniform((), stream="component"))
        noise = rng.normal((2,), stream="noise")
        return self.means[k] + self.log_std[k].exp().unsqueeze(-1) * noise


# %%
# It trains by the zoo's loop, on arrays, data sets of torch, files, or a name.
torch.manual_seed(0)
model, moons = Mixture(), zoo.load_dataset("moons")
zoo.train(model, moons, zoo.TrainConfig(steps=600, lr=0.02, batch_size=256))
print(model.log_likelihood(moons.split("test").x).mean())
print(f"truth: {float(moons.truth(moons.split('test').x).mean()):.3f} nats")

# %%
figure, axis = plt.subplots(figsize=(5, 3), label="The density of a mixture, and its samples")
across, up = torch.linspace(-2, 3, 150), torch.linspace(-1.5, 2, 100)
nats = model.log_likelihood(torch.cartesian_prod(across, up)).nats.view(150, 100)
axis.contourf(across, up, nats.T, levels=range(-8, 1), extend="min")
axis.scatter(*model.sample(300, seed=0).T, s=2, color="white")
axis.set(aspect="equal", title="log p(x), and samples")
