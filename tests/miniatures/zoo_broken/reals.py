"""Correct densities of reals, and copies of them that each break one law of densities."""

import math
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import nn
from torch.nn import functional as F
from zoo_broken.faults import breaks

import zoo_core as zoo
from zoo_core.plugin import Normal, Range

MASS, SLOPE = "density_integrates_to_one", "slope_of_log_p_fits_the_samples"
SUM, MEANS = "probabilities_sum_to_one", "samples_follow_the_likelihood"
LOG_2PI = math.log(2 * math.pi)


@dataclass(frozen=True)
class Config:
    dims: Annotated[int, Range(1, 4096)] = 3


class Blob(zoo.GenerativeModel):
    """x = m(c) + L z with z ~ N(0, I), perhaps given c; `event` and `condition` may be changed."""

    condition_of = zoo.Condition()
    low = high = None

    def __init__(self, config):
        event = zoo.Event((config.dims,), low=self.low, high=self.high)
        super().__init__(config, event, self.condition_of)
        d = config.dims
        self.mean = nn.Parameter(torch.linspace(-1, 1, d))
        self.root = nn.Parameter(torch.eye(d) * torch.linspace(0.5, 1.5, d) + self._below())
        self.shift = nn.Embedding(3, d) if self.condition_of.classes else None

    def _below(self):
        d = self.config.dims
        return torch.ones(d, d).tril(-1) / d

    def centre(self, cond):
        return self.mean if cond is None else self.mean + self.shift(cond)

    def whiten(self, x, cond=None):
        """z (B, D) and log |det dz/dx| (B,)."""
        root = self.root.tril()
        z = torch.linalg.solve_triangular(root, (x - self.centre(cond)).mT, upper=False).mT
        return z, -root.diagonal().abs().log().sum().expand(len(x))

    def log_prob(self, x, cond=None):
        z, ladj = self.whiten(x, cond)
        return -(z.square() + LOG_2PI).sum(1) / 2 + ladj

    def sample_rows(self, rng, cond=None):
        z = rng.normal(self.event.shape, stream="z").to(self.dtype)
        return self.centre(cond) + z @ self.root.tril().mT


@breaks(MASS)
class OffByASeventh(Blob):
    def log_prob(self, x, cond=None):
        return super().log_prob(x) + 1 / 7


@breaks(MASS)
class OffBySevenTenths(Blob):
    def log_prob(self, x, cond=None):
        return super().log_prob(x) - 0.7


@breaks(MASS, SLOPE)
class InBits(Blob):
    def log_prob(self, x, cond=None):
        return super().log_prob(x) / math.log(2)


@breaks(MASS, SLOPE)
class Negated(Blob):
    def log_prob(self, x, cond=None):
        return -super().log_prob(x)


@breaks(SLOPE)  # its mass is infinite, and no number of draws tells so
class OfOneDimension(Blob):
    def log_prob(self, x, cond=None):
        z, _ = self.whiten(x)
        return -(z[:, 0].square() + LOG_2PI) / 2 - self.root[0, 0].log() + 0 * self.root.sum()


@breaks(MASS, SLOPE)
class MeanOverDimensions(Blob):
    def log_prob(self, x, cond=None):
        return super().log_prob(x) / self.config.dims


@breaks(MASS)
class ForgetsTheDeterminant(Blob):
    def log_prob(self, x, cond=None):
        z, _ = self.whiten(x)
        return -(z.square() + LOG_2PI).sum(1) / 2


@breaks(MASS)
class AddsTheDeterminant(Blob):
    def log_prob(self, x, cond=None):
        z, ladj = self.whiten(x)
        return -(z.square() + LOG_2PI).sum(1) / 2 - ladj


@breaks(MASS)
class ForgetsTwoPi(Blob):
    def log_prob(self, x, cond=None):
        z, ladj = self.whiten(x)
        return -z.square().sum(1) / 2 + ladj


@breaks(MASS, SLOPE)
class ForgetsTheHalf(Blob):
    def log_prob(self, x, cond=None):
        z, ladj = self.whiten(x)
        return -(z.square() + LOG_2PI / 2).sum(1) + ladj


@breaks(SLOPE)
class SamplesTooWide(Blob):
    def sample_rows(self, rng, cond=None):
        return self.mean + 1.2 * (super().sample_rows(rng) - self.mean)


@breaks(SLOPE)
class SamplesElsewhere(Blob):
    def sample_rows(self, rng, cond=None):
        return super().sample_rows(rng) + 0.5


@breaks(SLOPE)
class SamplesBackwards(Blob):
    def sample_rows(self, rng, cond=None):
        return super().sample_rows(rng).flip(1)


@breaks(SLOPE)
class SamplesWithoutCorrelation(Blob):
    def sample_rows(self, rng, cond=None):
        z = rng.normal(self.event.shape, stream="z").to(self.dtype)
        return self.mean + z * self.root.tril().square().sum(1).sqrt()


@breaks(SLOPE)
class DetachesItsSlope(Blob):
    def log_prob(self, x, cond=None):
        return super().log_prob(x.detach() + 0.5 * (x - x.detach()))


class Sloped(Blob):
    """A blob that knows its score."""

    def score(self, x, cond=None):
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            return torch.autograd.grad(self.log_prob(x).sum(), x)[0]


@breaks("score_is_the_slope_of_log_p")
class NegatesItsScore(Sloped):
    def score(self, x, cond=None):
        return -super().score(x)


@breaks("score_of_a_row_is_its_own", "score_is_the_slope_of_log_p")
class CentersItsScore(Sloped):
    def score(self, x, cond=None):
        s = super().score(x)
        return s - s.mean(0)


class Labelled(Blob):
    """A blob of each of three classes."""

    condition_of = zoo.Condition("classes", classes=3)


@breaks(MASS)
class OffForOneClass(Labelled):
    def log_prob(self, x, cond=None):
        return super().log_prob(x, cond) + 0.7 * (cond == 2)


@breaks(SLOPE)
class SamplesOneClass(Labelled):
    def sample_rows(self, rng, cond=None):
        return super().sample_rows(rng, cond * 0)


class Optional(Blob):
    """A blob of each class and one without."""

    condition_of = zoo.Condition("classes", classes=3, optional=True)


@breaks(MASS)
class OffWithoutAClass(Optional):
    def log_prob(self, x, cond=None):
        return super().log_prob(x, cond) + (0.7 if cond is None else 0)


class Guided(Blob):
    """A blob that moves with a vector."""

    condition_of = zoo.Condition("vector", shape=(3,))

    def centre(self, cond):
        return self.mean + cond


@breaks(SLOPE)
class IgnoresItsVector(Guided):
    def log_prob(self, x, cond=None):
        return super().log_prob(x, cond * 0)


class Cube(Blob):
    """A blob through the logistic function: reals in [0, 1]."""

    low, high = 0.0, 1.0

    def whiten(self, x, cond=None):
        x = x.clamp(1e-6, 1 - 1e-6)
        z, ladj = super().whiten(x.logit())
        return z, ladj + self.jacobian(x)

    def jacobian(self, x):
        return -(x.log() + (-x).log1p()).sum(1)

    def sample_rows(self, rng, cond=None):
        return super().sample_rows(rng).sigmoid()


@breaks(MASS, SLOPE)
class ForgetsItsJacobian(Cube):
    def jacobian(self, x):
        return 0.0


@breaks(MASS, SLOPE)
class NegatesItsJacobian(Cube):
    def jacobian(self, x):
        return -super().jacobian(x)


class Waiting(Blob):
    """Exponentials, from 0: a range with one end, at which the density is largest."""

    low = 0.0

    def rate(self):
        return self.root.diagonal().abs() + 0 * (self.root.sum() + self.mean.sum())

    def log_prob(self, x, cond=None):
        return (self.rate().log() - self.rate() * x).sum(1)

    def sample_rows(self, rng, cond=None):
        return -torch.log1p(-rng.uniform(self.event.shape, stream="u")) / self.rate()


@breaks(MASS, SLOPE)
class MistakesItsRate(Waiting):
    def log_prob(self, x, cond=None):
        return (self.rate().log() - x / self.rate()).sum(1)


class HeavyTailed(Blob):
    """Student's t with two degrees of freedom: no variance."""

    def log_prob(self, x, cond=None):
        z, ladj = self.whiten(x)
        return (-1.5 * torch.log1p(z.square() / 2) - math.log(2 * math.sqrt(2))).sum(1) + ladj

    def sample_rows(self, rng, cond=None):
        z, e = rng.normal(self.event.shape, stream="z"), rng.uniform(self.event.shape, stream="e")
        return self.mean + (z / (-torch.log1p(-e)).sqrt()) @ self.root.tril().mT


@breaks(MASS)
class TailsTooHeavy(HeavyTailed):
    def log_prob(self, x, cond=None):
        return super().log_prob(x) - 0.5


class Step(Blob):
    """A blob with four fifths of its mass on one side of z_0 = 0: the density jumps."""

    def log_prob(self, x, cond=None):
        z, _ = self.whiten(x)
        return super().log_prob(x) + math.log(2) + torch.where(z[:, 0] > 0, 0.8, 0.2).log()

    def sample_rows(self, rng, cond=None):
        z = rng.normal(self.event.shape, stream="z")
        right = rng.uniform(stream="side") < 0.8
        first = torch.where(right, z[:, 0].abs(), -z[:, 0].abs())
        z = torch.cat((first[:, None], z[:, 1:]), 1)
        return self.mean + z @ self.root.tril().mT


class FarModes(Blob):
    """Two narrow blobs far apart: no fitted normal is like them."""

    def log_prob(self, x, cond=None):
        parts = [super(FarModes, self).log_prob(x + side) for side in (-60.0, 60.0)]
        return torch.stack(parts).logsumexp(0) - math.log(2)

    def sample_rows(self, rng, cond=None):
        side = 2.0 * (rng.uniform((1,), stream="side") < 0.5) - 1
        return super().sample_rows(rng) + 60 * side


class RealLatent(zoo.GenerativeModel):
    """A linear normal decoder of three reals and a rough encoder."""

    weight = 1.0

    def __init__(self, config):
        super().__init__(config, zoo.Event((config.dims,)))
        self.decoder, self.encoder = nn.Linear(1, config.dims), nn.Linear(config.dims, 2)

    def prior(self, batch, cond=None):
        return Normal.standard(batch, 1, like=self.decoder.weight)

    def encode(self, x, cond=None):
        mean, log_std = self.encoder(x).chunk(2, 1)
        return Normal(F.softsign(mean), F.softsign(log_std) / 4)

    def decode(self, z, cond=None):
        return Weighed(self.decoder(z), torch.zeros(len(z), self.config.dims), self.weight)

    def sample_rows(self, rng, cond=None):
        return self.decode(self.prior(len(rng)).sample(rng, stream="z")).sample(rng, stream="x")


@dataclass(frozen=True)
class Weighed(Normal):
    weight: float = 1.0

    def log_prob(self, x):
        return self.weight * super().log_prob(x)


@breaks("decoder_integrates_to_one")
class DecodesInBits(RealLatent):
    weight = 1 / math.log(2)
