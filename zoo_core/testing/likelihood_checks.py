"""Checks of an architecture's likelihood, and of the capabilities behind it."""

import math

import torch
from torch import Tensor

from zoo_core.catalog.capabilities import Bijection, Conditionals, Density
from zoo_core.errors import NoLikelihoodError
from zoo_core.likelihood import LogLikelihood
from zoo_core.likelihoods.iwae import IWAE
from zoo_core.model import GenerativeModel
from zoo_core.testing.guard import forbid_torch_randomness
from zoo_core.testing.subjects import (
    Inapplicable,
    Inconclusive,
    ModelSubject,
    describe_condition,
    only_if,
    refused,
    repeated,
)

__all__ = ["LIKELIHOOD_CHECKS"]

_SIGMAS = 5.0
"""Standard errors by which a statistic may deviate."""
_BATCH = 4096
_SUM_TOLERANCE = {True: 1e-4, False: 2e-2}
"""Tolerance of the sum over discrete events (True) and of the integral over a grid (False)."""


@only_if(lambda subject: not subject.scored)
def check_absence_of_a_likelihood_is_said(subject: ModelSubject) -> None:
    """A model without a likelihood raises when scored, and says what can be measured instead."""
    model = subject.model()
    with refused("log_likelihood(x) without a likelihood", NoLikelihoodError):
        model.log_likelihood(subject.events(2), cond=subject.cond(2))
    try:
        model.log_likelihood(subject.events(2), cond=subject.cond(2))
    except NoLikelihoodError as error:
        assert error.hint, "the error does not say what can be measured"


@only_if(lambda subject: subject.scored)
def check_likelihood_is_of_the_declared_kind(subject: ModelSubject) -> None:
    """One number per event in nats, with the kind that the likelihood's spec declares."""
    ll, n = _scored(subject, 3), 3
    assert tuple(ll.nats.shape) == (n,), f"nats have shape {tuple(ll.nats.shape)}"
    assert not bool(ll.nats.isnan().any()), f"nats are {ll.nats.tolist()}"
    assert bool((ll.std_err >= 0).all()), f"standard errors are {ll.std_err.tolist()}"
    name = subject.default_likelihood or ""
    kinds = {
        (e.spec.kind.name, e.spec.kind.relation) for e in subject.registry.likelihoods.find(name)
    }
    kind = (ll.kind.name, ll.kind.relation)
    assert kind in kinds, f"the numbers are {kind}; {name} is declared as {sorted(kinds)}"
    exact = ll.kind.relation == "equal"
    assert not (exact and bool(ll.std_err.any())), "exact numbers have no standard error"


@only_if(lambda subject: subject.scored)
def check_likelihood_of_a_row_is_its_own(subject: ModelSubject) -> None:
    """The score of an event depends neither on the batch nor on the run."""
    whole, again = _scored(subject, 5), _scored(subject, 5)
    assert torch.equal(whole.nats, again.nats), "two runs with one seed differ"
    apart = _scored(subject, 5, batch_size=2)
    close = torch.allclose(whole.nats, apart.nats, rtol=1e-4, atol=1e-4)
    gap = float((whole.nats - apart.nats).abs().max())
    assert close, f"batch sizes 2 and 5 differ by {gap:.3g} nats"


@only_if(lambda subject: subject.scored)
def check_scoring_draws_from_rng_alone(subject: ModelSubject) -> None:
    model, x, cond = subject.model(), subject.events(2), subject.cond(2)
    with forbid_torch_randomness():
        model.log_likelihood(x, cond=cond)


@only_if(lambda subject: subject.scored)
def check_wrong_events_are_refused(subject: ModelSubject) -> None:
    """Shape, dtype, levels, range, NaN, an empty batch, and what is no array."""
    model, good, cond = subject.model(), subject.events(2), subject.cond(2)
    event = subject.event
    wrong = {
        "an event without its batch": good.unsqueeze(0),
        "an empty batch": good[:0],
        "the wrong dtype": good.float() if event.discrete else good.long(),
        "a string": "events",
    }
    if event.levels is not None:
        wrong |= {f"level {event.levels}": good + event.levels, "level -1": good - event.levels}
    else:
        wrong |= {"NaN": good * math.nan, "infinity": good + math.inf}
        if event.high is not None:
            wrong["a value above the range"] = good + abs(event.high) + 1
    for what, x in wrong.items():
        with refused(what):
            model.log_likelihood(x, cond=cond)


@only_if(lambda subject: subject.exact)
def check_probabilities_sum_to_one(subject: ModelSubject) -> None:
    """Sum over discrete events if they are few; integrate over a grid in 1 or 2 dimensions."""
    model = subject.model()
    for cond in subject.conditions():
        total, n = _total(subject, model, cond)
        if abs(total - 1) < _SUM_TOLERANCE[subject.event.discrete]:
            continue
        rough, _ = _total(subject, model, cond, coarse=True)
        if abs(rough - total) > _SUM_TOLERANCE[False]:
            raise Inconclusive(f"p sums to {rough:.4f} on half as fine a grid, else {total:.4f}")
        raise AssertionError(f"p sums to {total:.6f} over {n} points{describe_condition(cond)}")


@only_if(lambda subject: subject.exact)
def check_samples_follow_the_likelihood(subject: ModelSubject) -> None:
    """The mean of log p(x) and of each x_i agree between samples and the sum over all events."""
    model = subject.model()
    for cond in subject.conditions():
        x, cell = subject.support(model, cond)
        log_p = _log_p(model, x, cond)
        p = (log_p.exp() * cell)[:, None]
        want = p * _statistics(log_p, x).nan_to_num(neginf=0.0)
        drawn = model.sample(2048, seed=7, cond=repeated(cond, 2048))
        have = _statistics(_log_p(model, drawn, cond), drawn)
        error = have.std(0) / math.sqrt(len(have))
        slack = _SIGMAS * error + (1e-6 if subject.event.discrete else 2e-2 * (1 + have.std(0)))
        gap = (have.mean(0) - want.sum(0)).abs()
        names = ("log p", *[f"x_{i}" for i in range(x[0].numel())])
        off = [names[i] for i in (gap > slack).nonzero()]
        assert not off, (
            f"means of {', '.join(off[:5])} differ by {gap.max():.3g} from the model's own"
            f"{describe_condition(cond)}"
        )


@only_if(lambda subject: subject.claims("Encoder", "Decoder"))
def check_importance_weights_sum_to_one(subject: ModelSubject) -> None:
    """For an encoder and a decoder of few discrete events: sum_x E_q[p(x, z) / q(z|x)] = 1."""
    model = subject.model()
    if not subject.event.discrete:
        raise Inapplicable("continuous events cannot be enumerated")
    for cond in subject.conditions():
        x, _ = subject.support(model, cond)
        method = IWAE(k=256)
        ll = model.log_likelihood(x, cond=repeated(cond, len(x)), method=method, seed=1)
        p, error = ll.nats.exp(), ll.nats.exp() * ll.std_err
        total, slack = float(p.sum()), _SIGMAS * float(error.square().sum().sqrt()) + 1e-4
        assert abs(total - 1) < slack, (
            f"p sums to {total:.4f}, not 1 +- {slack:.4f}{describe_condition(cond)}"
        )


@only_if(lambda subject: subject.claims("Bijection"))
def check_bijection_inverts_and_tells_its_jacobian(subject: ModelSubject) -> None:
    """x -> z -> x is the identity, and log |det dz/dx| is that of autograd."""
    model = subject.model().double()
    if subject.event.dims > 64 or subject.event.discrete:
        raise Inapplicable(
            "the Jacobian is compared for continuous events of at most 64 dimensions"
        )
    x, cond = subject.events(3).double(), subject.cond(3)
    assert isinstance(model, Bijection)
    with torch.no_grad():
        z, ladj = model.forward_and_ladj(x, cond)
        back, other = model.inverse_and_ladj(z, cond)
    assert torch.allclose(back, x, atol=1e-5), f"x comes back {(back - x).abs().max():.2g} off"
    assert torch.allclose(ladj + other, torch.zeros_like(ladj), atol=1e-5), (
        f"the log-determinants of the two directions add up to {(ladj + other).tolist()}"
    )
    for i in range(len(x)):
        want = _slogdet(model, x[i : i + 1], None if cond is None else cond[i : i + 1])
        assert abs(float(ladj[i]) - want) < 1e-5, f"ladj is {ladj[i]:.6f}; autograd has {want:.6f}"


@only_if(lambda subject: subject.claims("Conditionals"))
def check_conditionals_are_causal_and_make_log_prob(subject: ModelSubject) -> None:
    """Logits of x_i ignore x_i and later values; they multiply to p(x); the cache agrees."""
    model = subject.model()
    assert isinstance(model, Conditionals)
    x, cond = subject.events(3), subject.cond(3)
    order = model.order().tolist()
    assert sorted(order) == list(range(subject.event.dims)), f"order() is {order}"
    with torch.no_grad():
        log_p = _conditional_log_p(model, x, cond)
        chosen = log_p.gather(-1, x.flatten(1).unsqueeze(-1)).squeeze(-1).sum(1)
        cache, known = model.init_cache(len(x), cond), torch.zeros_like(x)
        for i, position in enumerate(order):
            later = _conditional_log_p(model, known, cond)[:, position]
            gap = float((later - log_p[:, position]).abs().max())
            assert gap < 1e-4, (
                f"logits of position {position} change with later values by {gap:.2g}"
            )
            one, cache = model.decode_step(known, i, cache)
            gap = float((one.log_softmax(-1) - log_p[:, position]).abs().max())
            assert gap < 1e-4, f"decode_step({i}) differs from logits() by {gap:.2g}"
            known.flatten(1)[:, position] = x.flatten(1)[:, position]
        if isinstance(model, Density):
            gap = float((chosen - model.log_prob(x, cond)).abs().max())
            assert gap < 1e-3, f"log_prob differs from the conditionals by {gap:.2g} nats"


def _scored(subject: ModelSubject, n: int, *, batch_size: int | None = None) -> LogLikelihood:
    model = subject.model()
    return model.log_likelihood(subject.events(n), cond=subject.cond(n), batch_size=batch_size)


def _total(
    subject: ModelSubject, model: GenerativeModel, cond: Tensor | None, *, coarse: bool = False
) -> tuple[float, int]:
    """The sum of p over the support, and the number of points."""
    x, cell = subject.support(model, cond, coarse=coarse)
    return float((_log_p(model, x, cond).exp() * cell).sum()), len(x)


def _log_p(model: GenerativeModel, x: Tensor, cond: Tensor | None) -> Tensor:
    return model.log_likelihood(x, cond=repeated(cond, len(x)), batch_size=_BATCH).nats


def _statistics(log_p: Tensor, x: Tensor) -> Tensor:
    """log p(x) and every x_i, (N, 1 + D)."""
    return torch.cat((log_p[:, None], x.flatten(1).double()), 1)


def _slogdet(model: Bijection, x: Tensor, cond: Tensor | None) -> float:
    def forward(flat: Tensor) -> Tensor:
        z: Tensor = model.forward_and_ladj(flat.view_as(x), cond)[0]
        return z.flatten()

    jacobian: Tensor = torch.func.jacrev(forward)(x.flatten())
    return float(torch.linalg.slogdet(jacobian.detach())[1])


def _conditional_log_p(model: Conditionals, x: Tensor, cond: Tensor | None) -> Tensor:
    """(B, D, K), positions in the order of the event."""
    logits: Tensor = model.logits(x, cond)
    return logits.flatten(1, -2).log_softmax(-1)


LIKELIHOOD_CHECKS = [
    check_absence_of_a_likelihood_is_said,
    check_likelihood_is_of_the_declared_kind,
    check_likelihood_of_a_row_is_its_own,
    check_scoring_draws_from_rng_alone,
    check_wrong_events_are_refused,
    check_probabilities_sum_to_one,
    check_samples_follow_the_likelihood,
    check_importance_weights_sum_to_one,
    check_bijection_inverts_and_tells_its_jacobian,
    check_conditionals_are_causal_and_make_log_prob,
]
