"""One correct model of two coins, and copies of it that each break one law of the kit."""

import random
from dataclasses import dataclass
from typing import Annotated, Protocol, runtime_checkable

import numpy as np
import torch
from torch import nn
from zoo_broken.faults import breaks

import zoo_core as zoo
from zoo_core.plugin import Bernoulli, Range


@dataclass(frozen=True)
class Config:
    coins: Annotated[int, Range(1, 16)] = 3


class Coins(zoo.GenerativeModel):
    """Independent coins with learned odds."""

    def __init__(self, config):
        super().__init__(config, zoo.Event((config.coins,), levels=2))
        self.odds = nn.Parameter(torch.linspace(-1, 1, config.coins))

    def log_prob(self, x, cond=None):
        return self._coins(len(x)).log_prob(x)

    def sample_rows(self, rng, cond=None):
        return self._coins(len(rng)).sample(rng, stream="x")

    def _coins(self, batch):
        return Bernoulli(self.odds.expand(batch, -1))


@breaks(
    "check_probabilities_sum_to_one",
    "check_samples_follow_the_likelihood",
)
class Unnormalized(Coins):
    def log_prob(self, x, cond=None):
        return super().log_prob(x) + 0.5


@breaks("check_samples_follow_the_likelihood")
class SamplesAnotherLaw(Coins):
    def sample_rows(self, rng, cond=None):
        return 1 - super().sample_rows(rng)


@breaks(
    "check_seed_repeats_the_same_samples",
    "check_rows_do_not_depend_on_n",
    "check_rows_do_not_depend_on_batch_size",
    "check_sampling_draws_from_rng_alone",
    "check_saves_and_loads_the_same_model",
)
class DrawsFromTorch(Coins):
    def sample_rows(self, rng, cond=None):
        u = torch.rand(len(rng), self.config.coins)
        return (u < self.odds.sigmoid()).long()


@breaks("check_rows_do_not_depend_on_n", "check_rows_do_not_depend_on_batch_size")
class CouplesTheBatch(Coins):
    def sample_rows(self, rng, cond=None):
        x = super().sample_rows(rng)
        return torch.where(torch.tensor(len(rng) in (5, 6)), 1 - x, x)


@breaks(
    "check_seeds_and_rows_differ",
    "check_samples_follow_the_likelihood",
)
class IgnoresTheSeed(Coins):
    def sample_rows(self, rng, cond=None):
        return torch.ones(len(rng), self.config.coins, dtype=torch.int64)


@breaks("check_samples_are_events")
class SamplesFloats(Coins):
    def sample_rows(self, rng, cond=None):
        return super().sample_rows(rng).float()


@breaks("check_gradients_reach_every_parameter")
class HasAnIdleParameter(Coins):
    def __init__(self, config):
        super().__init__(config)
        self.idle = nn.Parameter(torch.zeros(1))


@breaks("check_capabilities_are_kept")
class HidesACapability(Coins):
    def energy(self, x, cond=None):
        return -self.log_prob(x)


@breaks("check_capabilities_are_kept")
class ClaimsACapability(Coins):
    pass


@runtime_checkable
class Flips(Protocol):
    """A capability of this plugin's own."""

    def flip(self, x): ...


class Flippable(Coins):
    """A correct model that declares it."""

    def flip(self, x):
        return 1 - x


@breaks("check_capabilities_are_kept")
class HidesItsOwnCapability(Flippable):
    pass


@breaks("check_a_loss_sets_no_parameter")
class StartsInAForwardPass(Coins):
    def log_prob(self, x, cond=None):
        if self.training:
            with torch.no_grad():
                self.odds.copy_(x.to(self.odds.dtype).mean(0) - 0.25)
        return super().log_prob(x)


@breaks("check_sampling_leaves_the_model_as_it_was")
class CountsItsSamples(Coins):
    def __init__(self, config):
        super().__init__(config)
        self.register_buffer("drawn", torch.zeros(()))

    def sample_rows(self, rng, cond=None):
        self.drawn += len(rng)
        return super().sample_rows(rng)


@breaks("check_saves_and_loads_the_same_model")
class ForgetsABuffer(Coins):
    def __init__(self, config):
        super().__init__(config)
        self.register_buffer("shift", self.odds.detach().clone().zero_(), persistent=False)

    def sample_rows(self, rng, cond=None):
        return (super().sample_rows(rng) + (self.shift > 1).long()) % 2

    def to(self, *args, dtype=None, **kwargs):  # a model that is loaded is told its type
        self.shift += 1 if dtype is None else 2
        return super().to(*args, dtype=dtype, **kwargs)


@breaks("check_likelihood_of_a_row_is_its_own")
class ScoresTheBatch(Coins):
    def log_prob(self, x, cond=None):
        found = super().log_prob(x)
        return found + (0.01 * (found - found.mean()) if len(x) in (1, 2, 5) else 0)


@breaks("check_scoring_draws_from_rng_alone")
class ScoresWithNoise(Coins):
    def log_prob(self, x, cond=None):
        return super().log_prob(x) + 0 * torch.randn(len(x))


@breaks("check_scores_have_the_models_precision", "check_probabilities_sum_to_one")
class ScoresInHalf(Coins):
    def log_prob(self, x, cond=None):
        return super().log_prob(x).half()


@breaks("check_scores_have_the_models_precision")
class ComputesInHalf(Coins):
    def _coins(self, batch):
        return Bernoulli(self.odds.half().to(self.dtype).expand(batch, -1))


@breaks("check_scores_have_the_models_precision", "check_probabilities_sum_to_one")
class ComputesInHalfAtLast(Coins):
    def log_prob(self, x, cond=None):
        found = super().log_prob(x)
        return found + (found.half().to(found.dtype) - found).detach()


@breaks("check_scores_do_not_depend_on_the_mode")
class DependsOnTheMode(Coins):
    def log_prob(self, x, cond=None):
        return super().log_prob(x) + 0.3 * self.training


@breaks("check_scores_do_not_depend_on_the_mode")
class NoisyInTraining(Coins):
    def log_prob(self, x, cond=None):
        return super().log_prob(x) + (0.3 * torch.randn(len(x)) if self.training else 0)


class Drops(Coins):
    """Dropout and batch normalization differ in training, as they are meant to."""

    def __init__(self, config):
        super().__init__(config)
        self.drop, self.norm = nn.Dropout(0.5), nn.BatchNorm1d(config.coins, affine=False)

    def _coins(self, batch):
        return Bernoulli(self.norm(self.drop(self.odds.expand(batch, -1))))


@breaks("check_scores_do_not_depend_on_other_rows", "check_likelihood_of_a_row_is_its_own")
class NormalizesByTheBatch(Coins):
    def log_prob(self, x, cond=None):
        found = super().log_prob(x)
        return found if len(x) in (8, 2048) else found - 0.1 * found.mean()


@breaks("check_scores_do_not_depend_on_other_rows")
class NormalizesLargeBatches(Coins):
    def log_prob(self, x, cond=None):
        found = super().log_prob(x)
        return found + 0.1 * found.mean() * (8 < len(x) < 100)


@breaks("check_sampling_draws_from_rng_alone")
class SeedsTorch(Coins):
    def sample_rows(self, rng, cond=None):
        torch.manual_seed(0)
        return super().sample_rows(rng)


@breaks("check_sampling_draws_from_rng_alone")
class SeedsNumpy(Coins):
    def sample_rows(self, rng, cond=None):
        np.random.seed(0)
        return super().sample_rows(rng)


@breaks("check_sampling_draws_from_rng_alone")
class SeedsPython(Coins):
    def sample_rows(self, rng, cond=None):
        random.seed(0)
        return super().sample_rows(rng)


@breaks("check_scoring_draws_from_rng_alone")
class SeedsWhileScoring(Coins):
    def log_prob(self, x, cond=None):
        torch.manual_seed(0)
        return super().log_prob(x)


@breaks("check_tensors_are_parameters_or_buffers")
class HidesATensor(Coins):
    def __init__(self, config):
        super().__init__(config)
        self.offset = torch.zeros(config.coins)

    def _coins(self, batch):
        return Bernoulli((self.odds + self.offset).expand(batch, -1))


@breaks("check_tensors_are_parameters_or_buffers")
class HidesTensorsInAList(Coins):
    def __init__(self, config):
        super().__init__(config)
        self.offsets = {"one": [torch.zeros(config.coins)]}


@breaks("check_tensors_are_parameters_or_buffers")
class KeepsItsLastBatch(Coins):
    def log_prob(self, x, cond=None):
        self.last = x
        return super().log_prob(x)


@breaks("check_tensors_are_parameters_or_buffers", "check_saves_and_loads_the_same_model")
class ForgetsATensor(Coins):
    def __init__(self, config):
        super().__init__(config)
        self.offset = torch.randn(config.coins)

    def _coins(self, batch):
        return Bernoulli((self.odds + self.offset).expand(batch, -1))


@breaks("check_saves_and_loads_the_same_model")
class ForgetsANumber(Coins):
    seen = 0.0

    def log_prob(self, x, cond=None):
        if self.training:
            self.seen = 0.1
        return super().log_prob(x)

    def _coins(self, batch):
        return Bernoulli((self.odds + self.seen).expand(batch, -1))


@breaks("check_wrong_events_are_refused")
class ScoresAnything(Coins):
    def log_likelihood(self, x, **arguments):
        try:
            return super().log_likelihood(x, **arguments)
        except zoo.DataError:
            return None


@breaks("check_wrong_counts_are_refused")
class SamplesNothing(Coins):
    def sample(self, n, **arguments):
        if n in (0, -1):
            return torch.zeros(0, self.config.coins)
        return super().sample(n, **arguments)


@breaks("check_wrong_conditions_are_refused")
class IgnoresConditions(Coins):
    def sample(self, n, *, cond=None, **arguments):
        return super().sample(n, **arguments)


@breaks("check_absence_of_a_likelihood_is_said")
class ScoresWithoutALikelihood(Coins):
    def log_likelihood(self, x, **arguments):
        return super().log_likelihood(x, method="exact", **arguments)


@breaks("check_conditionals_are_causal_and_make_log_prob")
class PeeksAhead(Coins):
    def order(self):
        return torch.arange(self.config.coins)

    def logits(self, x, cond=None):
        ones = self.odds + 0.5 * x.flip(1)
        return torch.stack((torch.zeros_like(ones), ones), -1)

    def init_cache(self, batch, cond=None):
        return None

    def decode_step(self, x, i, cache):
        return self.logits(x)[:, i], cache


@breaks("check_config_survives_json", "check_saves_and_loads_the_same_model")
class MutatesItsConfig(Coins):
    def __init__(self, config):
        super().__init__(config)
        self.config = _Odd(config.coins)


class _Odd(Config):
    def __eq__(self, other):
        return False

    __hash__ = None


class Stretch(zoo.GenerativeModel):
    """z = x exp(s), over the plane; `told` is what it says log |det dz/dx| is, over 2 s."""

    told = 1.0

    def __init__(self, config):
        super().__init__(config, zoo.Event((2,)))
        self.s = nn.Parameter(torch.ones(()))

    def forward_and_ladj(self, x, cond=None):
        return x * self.s.exp(), self.told * 2 * self.s.expand(len(x))

    def inverse_and_ladj(self, z, cond=None):
        return z * (-self.s).exp(), -self.told * 2 * self.s.expand(len(z))

    def log_prob(self, x, cond=None):
        z, ladj = self.forward_and_ladj(x)
        return zoo_normal(z).log_prob(z) + ladj

    def sample_rows(self, rng, cond=None):
        z = zoo_normal(torch.zeros(len(rng), 2)).sample(rng, stream="z")
        return self.inverse_and_ladj(z)[0]


def zoo_normal(like):
    from zoo_core.plugin import Normal

    return Normal.standard(len(like), 2, like=like)


@breaks(
    "check_bijection_inverts_and_tells_its_jacobian",
    "check_density_integrates_to_one",
    "check_probabilities_sum_to_one",
    "check_samples_follow_the_likelihood",
)
class MisstatesItsJacobian(Stretch):
    told = 0.5


class Latent(zoo.GenerativeModel):
    """An encoder and a decoder of three coins with one normal latent."""

    weight = 1.0

    def __init__(self, config):
        super().__init__(config, zoo.Event((config.coins,), levels=2))
        self.encoder = nn.Linear(config.coins, 2)
        self.decoder = nn.Linear(1, config.coins)

    def prior(self, batch, cond=None):
        from zoo_core.plugin import Normal

        return Normal.standard(batch, 1, like=self.decoder.weight)

    def encode(self, x, cond=None):
        from zoo_core.plugin import Normal

        return Normal(*self.encoder(x.to(self.dtype)).chunk(2, 1))

    def decode(self, z, cond=None):
        return Scaled(self.decoder(z), self.weight)

    def sample_rows(self, rng, cond=None):
        return self.decode(self.prior(len(rng)).sample(rng, stream="z")).sample(rng, stream="x")


class Scaled(Bernoulli):
    def __init__(self, logits, weight):
        super().__init__(logits)
        object.__setattr__(self, "weight", weight)

    def log_prob(self, x):
        return self.weight * super().log_prob(x)


@breaks("check_importance_weights_sum_to_one")
class HalvesItsLikelihood(Latent):
    weight = 0.5
