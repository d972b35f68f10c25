"""Checks of continuous densities in any dimension: their mass, and log p's slope at samples.

    E_q[p(x) / q(x)] = 1                        for a q with tails as heavy as p
    E_p[h(x_i) dlog p(x)/dx_i + h'(x_i)] = 0    for an h that is 0 at the ends of x_i's range

The second, Stein's identity, holds only for samples of p. Both are estimates: a check fails beyond
five standard errors, and is inconclusive if it could not have detected an error.

Shapes: N samples x (N, *S), D values each.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from zoo_core.catalog.capabilities import Density, Energy, Score
from zoo_core.likelihoods.iwae import IWAE
from zoo_core.model import GenerativeModel
from zoo_core.modes import evaluating
from zoo_core.testing.proposals import Chart, Mass, fit, mass
from zoo_core.testing.scoring import raw_nats
from zoo_core.testing.subjects import (
    Inapplicable,
    Inconclusive,
    ModelSubject,
    describe_condition,
    only_if,
    repeated,
)

__all__ = ["DENSITY_CHECKS"]

_SIGMAS = 5.0
_SAMPLES, _DRAWS, _BATCH = 2048, 1 << 14, 4096
_MAX_DIMS = 256
_MIN_EFFECTIVE = 100
"""Standard errors of fewer effective draws are unreliable."""
_DETECTABLE = 0.1
"""A constant error of log p, in nats, that the check of the mass must be able to detect."""
_CHANCE = 1e-6
"""By Markov's inequality a mean of weights exceeds 1 / chance with at most that probability."""
_ROUNDING = {"mass": 1e-3, "stein": 2e-3}
_STEP, _JUMP, _MAX_STRAYS = 1e-2, 0.1, 1e-3
"""For a smooth log p, differences over a step (in standard deviations) agree with the slope to
within a jump (in nats) at all samples but this fraction."""
_SLOPE = 1e-4

LogProb = Callable[[Tensor, Tensor | None], Tensor]


@only_if(lambda subject: subject.exact_of_reals)
def check_density_integrates_to_one(subject: ModelSubject) -> None:
    """p integrates to 1: importance sampling for a few conditions, in up to 256 dimensions."""
    model = _continuous_model(subject)
    _check_mass(subject, model, lambda x, c: _nats(model, x, c))


@only_if(lambda subject: subject.claims("Encoder", "Decoder"))
def check_decoder_integrates_to_one(subject: ModelSubject) -> None:
    """E_{q(z|x)}[p(x, z) / q(z|x)], which estimates p(x), integrates to 1."""
    model = _continuous_model(subject)
    method = IWAE(k=16)
    _check_mass(subject, model, lambda x, c: _nats(model, x, c, method=method, seed=1))


@only_if(lambda subject: subject.exact_of_reals)
def check_slope_of_log_p_fits_the_samples(subject: ModelSubject) -> None:
    """Stein's identity for every coordinate: detects a log p in bits, negated or incomplete."""
    model, doubts = _continuous_model(subject), []
    for cond in subject.conditions():
        x = _samples(subject, model, cond)
        s = _slope(model, x, cond)
        many = 2 * math.log(subject.event.dims * (subject.event.dims + 1))
        sigmas = math.sqrt(_SIGMAS**2 + many)  # one of many stays within as surely as one alone
        for i, mean, error in _stein(subject, x, s):
            if abs(mean) <= sigmas * error + _ROUNDING["stein"]:
                continue
            where = f"x_{i}{describe_condition(cond)}"
            strays = _strays(subject, model, x, s, cond, i)
            assert strays < 0.5, f"autograd has another slope of log p than differences at {where}"
            assert strays > _MAX_STRAYS, (
                f"Stein's identity is off by {mean:.3g} +- {error:.2g} for {where}: the slope of "
                "log p does not fit the samples"
            )
            doubts.append(f"log p jumps in {where}, where Stein's identity does not hold")
    if doubts:
        raise Inconclusive(doubts[0])


@only_if(lambda subject: subject.claims("Score"))
def check_score_of_a_row_is_its_own(subject: ModelSubject) -> None:
    """`score` gives finite reals of an event's shape, each row from its own event."""
    model, cond = subject.model(), subject.cond(6)
    if not isinstance(model, Score):
        raise Inapplicable("the model has no score")
    x = subject.event.to_network(subject.events(6), model.dtype)
    with torch.no_grad():
        whole = model.score(x, cond)
        few = model.score(x[:2], None if cond is None else cond[:2])
    assert whole.shape == x.shape, f"scores have shape {tuple(whole.shape)}, not {tuple(x.shape)}"
    assert bool(whole.isfinite().all()), "scores are not finite"
    gap, scale = float((whole[:2] - few).abs().max()), max(1.0, float(few.abs().max()))
    assert gap < _SLOPE * scale, f"scores of 2 and of 6 events differ by {gap:.3g}"


@only_if(lambda s: s.claims("Score", "Density") or s.claims("Score", "Energy"))
def check_score_is_the_slope_of_log_p(subject: ModelSubject) -> None:
    """`score` is the gradient of `log_prob`, or of minus `energy`, where the model has one."""
    model = _continuous_model(subject)
    assert isinstance(model, Score)
    x, cond = subject.events(16).requires_grad_(), subject.cond(16)
    with torch.enable_grad():
        if subject.claims("Density"):
            assert isinstance(model, Density)
            log_f = model.log_prob(x, cond)
        else:
            assert isinstance(model, Energy)
            log_f = -model.energy(x, cond)
        (slope,) = torch.autograd.grad(log_f.sum(), x)
    with torch.no_grad():
        score = model.score(x.detach(), cond)
    gap = float((score - slope).abs().max())
    assert gap < _SLOPE * max(1.0, float(slope.abs().max())), (
        f"score differs by {gap:.3g} from the gradient of log p"
    )


def _continuous_model(subject: ModelSubject) -> GenerativeModel:
    if subject.event.discrete:
        raise Inapplicable("discrete events are summed over instead")
    return subject.model()


def _check_mass(subject: ModelSubject, model: GenerativeModel, log_p: LogProb) -> None:
    if subject.event.dims > _MAX_DIMS:
        raise Inconclusive(f"{subject.event.dims} dimensions; name a smaller model in `tiny`")
    doubts = []
    for cond in subject.conditions():
        integral = _mass(subject, model, log_p, cond)
        gap, slack = abs(integral.value - 1), _SIGMAS * integral.error + _ROUNDING["mass"]
        reliable = integral.effective >= _MIN_EFFECTIVE
        if integral.value * _CHANCE > 1 or (reliable and gap > slack):
            raise AssertionError(f"p integrates to {integral}{describe_condition(cond)}")
        if not reliable or slack > _DETECTABLE:
            doubts.append(f"p integrates to {integral}{describe_condition(cond)}")
    if doubts:
        raise Inconclusive(f"{doubts[0]}; name a model of fewer dimensions or modes in `tiny`")


def _mass(
    subject: ModelSubject, model: GenerativeModel, log_p: LogProb, cond: Tensor | None
) -> Mass:
    chart = Chart(subject.event)
    u = chart.points(_samples(subject, model, cond))
    q = fit(u)

    def log_w(u: Tensor) -> Tensor:
        x, ladj = chart.events(u)
        return log_p(x.to(model.dtype), cond) - (q.log_prob(u) - ladj)

    draws = q.draw(_DRAWS, seed=3)
    return mass(log_w(draws), log_w(u))


def _samples(subject: ModelSubject, model: GenerativeModel, cond: Tensor | None) -> Tensor:
    x = model.sample(_SAMPLES, seed=5, cond=repeated(cond, _SAMPLES))
    if bool((x == x[:1]).all(0).any()):
        raise Inconclusive(
            "some coordinate is the same in all samples; p is no continuous density"
        )
    return x


def _nats(model: GenerativeModel, x: Tensor, cond: Tensor | None, **options: Any) -> Tensor:
    nats = model.log_likelihood(
        x,
        cond=repeated(cond, len(x)),
        batch_size=_BATCH,
        **options,
    ).nats
    assert not bool(nats.isnan().any()), f"log p is NaN at {int(nats.isnan().sum())} events"
    return nats


def _slope(model: GenerativeModel, x: Tensor, cond: Tensor | None) -> Tensor:
    """dlog p/dx at the samples, by autograd, (N, D) float64."""
    x = x.clone().requires_grad_()
    with evaluating(model), torch.enable_grad():
        nats = raw_nats(model, x, repeated(cond, len(x)))
        if not nats.requires_grad:
            raise Inconclusive("log p has no gradient in x")
        (slope,) = torch.autograd.grad(nats.sum(), x)
    return slope.flatten(1).double()


def _stein(subject: ModelSubject, x: Tensor, s: Tensor) -> Iterator[tuple[int, float, float]]:
    """(i, mean, error) of h s_i + dh/dx_i at the samples, for h = b_i and every h = z_j b_i.

    z is x, standardized, and the units are standard deviations of x_i.
    """
    x = x.flatten(1).double()
    m, sd = x.mean(0), x.std(0)
    b, slope = _bump(x, subject.event.low, subject.event.high, sd)
    z, g = (x - m) / sd, sd * (b * s + slope)
    means, squares = g.mT @ z / len(x), g.square().mT @ z.square() / len(x)
    own = z * g + b  # where j = i, h changes with x_i by itself
    means.diagonal().copy_(own.mean(0))
    squares.diagonal().copy_(own.square().mean(0))
    means, squares = (
        torch.cat((first[:, None], rest), 1)
        for first, rest in ((g.mean(0), means), (g.square().mean(0), squares))
    )
    errors = ((squares - means.square()).clamp_min(0) / len(x)).sqrt()
    for i, (row, error) in enumerate(zip(means.tolist(), errors.tolist(), strict=True)):
        yield from ((i, *pair) for pair in zip(row, error, strict=True))


def _strays(
    subject: ModelSubject,
    model: GenerativeModel,
    x: Tensor,
    s: Tensor,
    cond: Tensor | None,
    i: int,
) -> float:
    """The fraction of samples whose differences of log p over x_i disagree with its slope."""
    flat = x.flatten(1)
    step = torch.zeros_like(flat)
    step[:, i] = _STEP * flat[:, i].std()
    low, high = subject.event.low, subject.event.high
    ends = [flat - step, flat + step]
    if low is not None or high is not None:
        ends = [end.clamp(low, high) for end in ends]
    below, above = (_nats(model, end.view_as(x), cond) for end in ends)
    want = ((ends[1] - ends[0]) * s).sum(1)
    return 1 - float(((above - below - want).abs() < _JUMP).double().mean())


def _bump(x: Tensor, low: float | None, high: float | None, sd: Tensor) -> tuple[Tensor, Tensor]:
    """b(x) and b'(x): b is 0 at the ends of the range, and 1 if it has none."""
    b, slope = torch.ones_like(x), torch.zeros_like(x)
    for end, sign in ((low, 1), (high, -1)):
        if end is not None:
            rest = torch.exp(-sign * (x - end) / sd)
            b, slope = b * (1 - rest), slope * (1 - rest) + b * sign * rest / sd
    return b, slope


DENSITY_CHECKS = [
    check_density_integrates_to_one,
    check_decoder_integrates_to_one,
    check_slope_of_log_p_fits_the_samples,
    check_score_of_a_row_is_its_own,
    check_score_is_the_slope_of_log_p,
]
