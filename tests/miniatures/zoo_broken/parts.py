"""Components that each break one law, and the same without a fault: one spec for each."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch

import zoo_core as zoo
from zoo_core.plugin import (
    Check,
    Converted,
    ConverterSpec,
    Dataset,
    DatasetSpec,
    Estimate,
    HealthCheck,
    LikelihoodSpec,
    Loss,
    LossSpec,
    MetricSpec,
    OptimizerSpec,
    SamplerSpec,
    ScheduleSpec,
    Split,
)

ESTIMATE = zoo.LikelihoodKind("guess", "estimate")
SPECS = {}
"""Class name -> the hook that declares it, and its spec."""
MESSAGES = {}
"""Name of a broken component -> what the kit must say of it."""
SAMPLERS, LIKELIHOODS = "check_samplers_draw_events", "check_likelihoods_score_events"
LOSSES, METRICS = "check_losses_can_be_minimized", "check_metrics_measure"
DATASETS, CONVERTERS = "check_datasets_load", "check_converters_refuse_strangers"
OPTIMIZERS, SCHEDULES = "check_optimizers_step", "check_schedules_give_factors"
HEALTH = "check_health_checks_answer"


def part(hook, make, check, message=None):
    """Note a component: the check that concerns it, and what it says if it is broken."""

    def note(target):
        made = target if hook == "zoo_health_checks" else dataclass(frozen=True)(target)
        name = target.__name__
        SPECS[name] = hook, make(name.lower(), f"zoo_broken.parts:{name}")
        MESSAGES[name] = check, message
        return made

    return note


def sampler(message=None, requires=()):
    return part(
        "zoo_samplers", lambda n, t: SamplerSpec(n, t, requires=requires), SAMPLERS, message
    )


def likelihood(message=None, kind=ESTIMATE, requires=("Density",)):
    def make(name, target):
        return LikelihoodSpec(name, target, kind, requires=requires)

    return part("zoo_likelihoods", make, LIKELIHOODS, message)


def loss(message=None, requires=("Density",)):
    return part("zoo_losses", lambda n, t: LossSpec(n, t, requires=requires), LOSSES, message)


def metric(message=None, kind="score"):
    return part("zoo_metrics", lambda n, t: MetricSpec(n, t, kind), METRICS, message)


def optimizer(message=None):
    return part("zoo_optimizers", OptimizerSpec, OPTIMIZERS, message)


def schedule(message=None):
    return part("zoo_schedules", ScheduleSpec, SCHEDULES, message)


def dataset(message=None):
    return part("zoo_datasets", lambda n, t: DatasetSpec(n, t, "CC0-1.0"), DATASETS, message)


def converter(message=None, arch="coins"):
    def make(name, target):
        return ConverterSpec(name, target, arch)

    return part("zoo_converters", make, CONVERTERS, message)


def health(message=None):
    return part("zoo_health_checks", HealthCheck, HEALTH, message)


# Samplers.


@sampler()
class Draws:
    def __call__(self, model, rng, cond):
        return model.sample_rows(rng, cond)


@sampler()
class DrawsOnTheNetworksScale(Draws):
    def __call__(self, model, rng, cond):
        return 1.1 * model.event.to_network(super().__call__(model, rng, cond))


@sampler("give integers, or reals on the network's scale")
class DrawsLevelsAsReals(Draws):
    def __call__(self, model, rng, cond):
        return super().__call__(model, rng, cond).float()


@sampler("events is not finite")
class DrawsNaN(Draws):
    def __call__(self, model, rng, cond):
        return super().__call__(model, rng, cond) * math.nan


@sampler("15 rows; 16 were asked for")
class DrawsTooFew(Draws):
    def __call__(self, model, rng, cond):
        return super().__call__(model, rng, cond)[:-1]


@sampler("has values from 3 to 5")
class DrawsOtherLevels(Draws):
    def __call__(self, model, rng, cond):
        return super().__call__(model, rng, cond) + 3


@sampler("has 64 rows; 16 were asked for")
class DrawsFlat(Draws):
    def __call__(self, model, rng, cond):
        return super().__call__(model, rng, cond).flatten(0)


@sampler("not a batch of events")
class DrawsAList(Draws):
    def __call__(self, model, rng, cond):
        return super().__call__(model, rng, cond).float().tolist()


@sampler("draws from torch's generator")
class DrawsFromTorchItself(Draws):
    def __call__(self, model, rng, cond):
        return super().__call__(model, rng, cond) + (torch.rand(1) > 2).long()


@sampler("generator of torch was seeded")
class Reseeds(Draws):
    def __call__(self, model, rng, cond):
        torch.manual_seed(0)
        return super().__call__(model, rng, cond)


@sampler("rows of 4 and of 16 differ")
class CouplesRows(Draws):
    def __call__(self, model, rng, cond):
        return super().__call__(model, rng, cond).roll(1, 0)


@sampler("seeds 3 and 4 give the same")
class IgnoresSeeds(Draws):
    def __call__(self, model, rng, cond):
        return super().__call__(model, zoo.Rng(0, rng.rows), cond)


@sampler("all events are the same")
class DrawsOne(Draws):
    def __call__(self, model, rng, cond):
        return super().__call__(model, zoo.Rng(0, rng.rows * 0), cond)


@sampler("AttributeError", requires=("Denoiser",))
class NeedsMoreThanItSays(Draws):
    def __call__(self, model, rng, cond):
        model.log_prob(model.sample_rows(rng, cond))
        return super().__call__(model, rng, cond)


@sampler("ZeroDivisionError")
class CrashesOnReals(Draws):
    def __call__(self, model, rng, cond):
        _ = 1 / int(model.event.discrete)
        return super().__call__(model, rng, cond)


# Likelihoods.


@likelihood()
class Scores:
    kind: ClassVar = ESTIMATE

    def __call__(self, model, x, cond, rng):
        return model.log_prob(x, cond)


@likelihood("that is +0.7")
class ScoresOff(Scores):
    def __call__(self, model, x, cond, rng):
        return super().__call__(model, x, cond, rng) + 0.7


@likelihood("from log p on average")
class ScoresBits(Scores):
    def __call__(self, model, x, cond, rng):
        return super().__call__(model, x, cond, rng) / math.log(2)


@likelihood("log p >= a number that is +0.1", zoo.LikelihoodKind("guess", "lower"))
class BoundsFromAbove(Scores):
    kind: ClassVar = zoo.LikelihoodKind("guess", "lower")

    def __call__(self, model, x, cond, rng):
        return super().__call__(model, x, cond, rng) + 0.1


@likelihood("log p <= a number that is -0.1", zoo.LikelihoodKind("guess", "upper"))
class BoundsFromBelow(Scores):
    kind: ClassVar = zoo.LikelihoodKind("guess", "upper")

    def __call__(self, model, x, cond, rng):
        return super().__call__(model, x, cond, rng) - 0.1


@likelihood("log p = a number that is -0.1", zoo.LikelihoodKind("guess", "equal"))
class NearlyExact(Scores):
    kind: ClassVar = zoo.LikelihoodKind("guess", "equal")

    def __call__(self, model, x, cond, rng):
        return super().__call__(model, x, cond, rng) - 0.1


@likelihood("NotFiniteError")
class ScoresNaN(Scores):
    def __call__(self, model, x, cond, rng):
        return super().__call__(model, x, cond, rng) * math.nan


@likelihood("nats have shape (1,)")
class ScoresTheMean(Scores):
    def __call__(self, model, x, cond, rng):
        return super().__call__(model, x, cond, rng).mean()[None]


@likelihood("generator of torch was seeded")
class ReseedsWhileScoring(Scores):
    def __call__(self, model, x, cond, rng):
        torch.manual_seed(0)
        return super().__call__(model, x, cond, rng)


@likelihood("AttributeError", requires=("Encoder",))
class ScoresByAnother(Scores):
    pass


# Losses.


@loss()
class Minimizes:
    def __call__(self, model, batch, rng, step):
        return Loss(-model.log_prob(*batch).mean())


@loss("has no gradient")
class Detaches(Minimizes):
    def __call__(self, model, batch, rng, step):
        return Loss(super().__call__(model, batch, rng, step).total.detach())


@loss("no finite scalar")
class Diverges(Minimizes):
    def __call__(self, model, batch, rng, step):
        return Loss(super().__call__(model, batch, rng, step).total * math.inf)


@loss("no finite scalar")
class LosesByRow(Minimizes):
    def __call__(self, model, batch, rng, step):
        return Loss(-model.log_prob(*batch))


@loss("not Loss")
class GivesATensor(Minimizes):
    def __call__(self, model, batch, rng, step):
        return super().__call__(model, batch, rng, step).total


@loss("every gradient is zero")
class Stands(Minimizes):
    def __call__(self, model, batch, rng, step):
        return Loss(0 * super().__call__(model, batch, rng, step).total)


@loss("detach the terms nll")
class CarriesTerms(Minimizes):
    def __call__(self, model, batch, rng, step):
        total = super().__call__(model, batch, rng, step).total
        return Loss(total, {"nll": total})


@loss("AttributeError", requires=("Energy",))
class LosesByAnother(Minimizes):
    pass


# Metrics.


@metric()
class Distance:
    better: ClassVar = "lower"

    def __call__(self, generated, reference):
        return Estimate(float((generated.mean - reference.mean).norm()), 0.0)


@metric("ZeroDivisionError")
class CrashingDistance(Distance):
    def __call__(self, generated, reference):
        return 1 / 0


@metric("higher is better, but like samples")
class BackwardsDistance(Distance):
    better: ClassVar = "higher"


@metric("it must be 'lower' or 'higher'")
class UnstatedDistance(Distance):
    better: ClassVar = "small"


@metric("not Estimate")
class BareDistance(Distance):
    def __call__(self, generated, reference):
        return super().__call__(generated, reference).value


@metric("gives nan")
class UndefinedDistance(Distance):
    def __call__(self, generated, reference):
        return Estimate(math.nan, 0.0)


@metric(kind="features")
class Flat:
    identity: ClassVar = "flat"

    def accepts(self, event):
        return True

    def __call__(self, x, event):
        return x.flatten(1).float()


@metric("change by", kind="features")
class CentredFeatures(Flat):
    def __call__(self, x, event):
        features = super().__call__(x, event)
        return features - features.mean(0)


@metric("features have shape", kind="features")
class ShapedFeatures(Flat):
    def __call__(self, x, event):
        return x.float()


@metric("KeyError", kind="features")
class CrashingFeatures(Flat):
    def __call__(self, x, event):
        return {}["x"]


# Data sets.


# Optimizers and schedules.


@optimizer()
class Descent:
    lr: float = 0.05

    def __call__(self, parameters):
        return torch.optim.SGD(parameters.values(), lr=self.lr, momentum=0.5)


@optimizer("does not fall")
class Ascent(Descent):
    def __call__(self, parameters):
        return torch.optim.SGD(parameters.values(), lr=self.lr, maximize=True)


@optimizer("gives dict")
class NoOptimizer(Descent):
    def __call__(self, parameters):
        return dict(parameters)


@optimizer("state calls is no tensor")
class CountsCalls(Descent):
    def __call__(self, parameters):
        optimizer = super().__call__(parameters)
        optimizer.state[next(iter(parameters.values()))]["calls"] = 0
        return optimizer


@schedule()
class Halves:
    def __call__(self, u):
        return 0.5 ** int(4 * u)


@schedule("gives the factors")
class NegativeFactors(Halves):
    def __call__(self, u):
        return -u


@dataset()
class Pairs:
    def __call__(self):
        split = Split(torch.arange(8).view(4, 2) % 3)
        return Dataset("pairs", zoo.Event((2,), levels=3), zoo.Condition(), {"train": split},
                       "CC0-1.0", "counted", truth=self.truth)  # fmt: skip

    def truth(self, x):
        return torch.zeros(len(x), dtype=torch.float64)


@dataset("truth gives")
class WrongTruth(Pairs):
    def truth(self, x):
        return torch.zeros(3)


@dataset("IndexError")
class CrashingPairs(Pairs):
    def __call__(self):
        return [][0]


@dataset("not Dataset")
class BareTensor(Pairs):
    def __call__(self):
        return torch.zeros(3)


@dataset("train changes")
class ChangingPairs(Pairs):
    def __call__(self):
        data = super().__call__()
        data.splits["train"].x.copy_(torch.randint(3, (4, 2)))
        return data


@dataset("has values from 0 to 4")
class OtherLevels(Pairs):
    def __call__(self):
        split = Split(torch.arange(8).view(4, 2) % 5)
        return Dataset(
            "o", zoo.Event((2,), levels=3), zoo.Condition(), {"train": split}, "CC0", "x"
        )


# Converters.


@converter()
class Converts:
    def __call__(self, foreign):
        raise zoo.DataError("no checkpoint of ours.")


@converter("of no layout it can know")
class ConvertsAnything(Converts):
    def __call__(self, foreign):
        return Converted({}, {})


@converter("TypeError")
class CrashesOnStrangers(Converts):
    def __call__(self, foreign):
        return foreign + 1


@converter("no registered architecture", arch="koins")
class ConvertsToNothing(Converts):
    pass


# Health checks.


@health()
def sound():
    return Check("ok", "sound")


@health("RuntimeError")
def crashes():
    raise RuntimeError("no such driver")


@health("not Check")
def says_ok():
    return "ok"


@health("status = 'fine'")
def is_fine():
    return Check("fine", "fine")


@health("has no message")
def is_silent():
    return Check("ok", "")
