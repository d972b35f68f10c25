"""`log_likelihood(method="ode")`: log p of the probability flow (Song et al., 2021, sec. 4.3).

    log p(u_0) = log N(u_1; 0, 1) + int div dphi          (probability_flow.py; u = x_t / r)

The divergence is exact (`probes=0`, D backward passes) or Hutchinson's v' (d velocity / du) v with
Rademacher probes that stay the same along the way (Grathwohl et al., 2019). It is an estimate, no
bound: the solver is biased, and the flow's density is not the chain's.

Integers are dequantized first, by noise of the data's own steps:

    gaussian    z ~ q(z|x) at the decoder's time:  log P(x) ~ log p(z) - log q(z|x) + log P(x|z)
                (variational dequantization by the model's own decoder; vlb.py)
    uniform     x + u on [-1, 1], u uniform over the width w = 2 / (K - 1) of a level, taken for
                x_start as published numbers do: log P(x) ~ log p(x + u) + D log w. Models of
                integers put sharp peaks on the levels, which this measures badly.

Shapes: B batch, S the event's shape, D values, P probes.
"""

import math
from copy import deepcopy
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from zoo_core.plugin import UNKNOWN, Event, LikelihoodKind, Range, Rng, Scores
from zoo_diffusion import vlb
from zoo_diffusion.parameterization import at_time
from zoo_diffusion.probability_flow import Flow, first_time, solve
from zoo_diffusion.scale import spacing

__all__ = ["Drift", "ODELikelihood", "rademacher"]


@dataclass(frozen=True)
class ODELikelihood:
    """Runge-Kutta 5(4), `probes` of the divergence (0: exact), `draws` of the dequantization.

    In double precision a row's steps, and so its number, do not depend on how the network rounds
    in batches of another size; `precision="model"` is faster and not repeatable to that degree.

    The error is the spread over `draws` of the probes and the dequantization, without the solver's
    bias: one draw does not tell it, and reals with `probes=0` have none.
    """

    rtol: Annotated[float, Range(1e-12, 1.0)] = 1e-5
    atol: Annotated[float, Range(1e-12, 1.0)] = 1e-5
    probes: Annotated[int, Range(0, 1 << 16)] = 1
    dequantization: Literal["gaussian", "uniform"] = "gaussian"
    draws: Annotated[int, Range(1, 1 << 16)] = 1
    precision: Literal["double", "model"] = "double"

    @property
    def kind(self) -> LikelihoodKind:
        trace = f"{self.probes} probes" if self.probes else "exact trace"
        return LikelihoodKind(
            "ode_estimate",
            "estimate",
            f"rk45, rtol={self.rtol:g}, atol={self.atol:g}, {trace}, "
            f"{self.dequantization} dequantization, {self.draws} draws",
        )

    def __call__(self, model: Any, x: Tensor, cond: Tensor | None, rng: Rng) -> Scores:
        if self.precision == "double":
            model = deepcopy(model).double()
        found = [self._draw(model, x, cond, rng, draw) for draw in range(self.draws)]
        nats = torch.stack([nats for nats, _ in found])
        evaluations = torch.stack([n for _, n in found]).sum(0)
        return Scores(nats.mean(0), self._error(model, nats), {}, evaluations)

    def _error(self, model: Any, nats: Tensor) -> Tensor | None:
        """Of draws (N, B): unknown of a single one, none where nothing is drawn; (B,)."""
        if not (self.probes or model.event.discrete):
            return None
        if self.draws == 1:
            return torch.full_like(nats[0], UNKNOWN)
        error: Tensor = nats.std(0) / self.draws**0.5
        return error

    def _draw(
        self, model: Any, x: Tensor, cond: Tensor | None, rng: Rng, draw: int
    ) -> tuple[Tensor, Tensor]:
        z, t0, offset = self._dequantized(model, x, rng, draw)
        path = Flow(model, cond)
        first, last = path.ends(t0)
        r = path.radius(t0)
        drift = Drift(path, rademacher(self.probes, z, rng, draw))
        y = torch.cat(((z / r).double().flatten(1), z.new_zeros(len(z), 1).double()), 1)
        solved = solve(drift, y, first, last, rtol=self.rtol, atol=self.atol)
        u, gain = solved.y[:, :-1], solved.y[:, -1]
        base = -0.5 * (u.square() + math.log(2 * math.pi)).sum(1)
        D = model.event.dims
        return base + gain - D * math.log(r) + offset, solved.evaluations

    def _dequantized(
        self, model: Any, x: Tensor, rng: Rng, draw: int
    ) -> tuple[Tensor, float, Tensor]:
        """z (B, *S), its time, and what is to be added to log p(z), (B,)."""
        event: Event = model.event
        start, clean = first_time(model), event.to_network(x, torch.float32)
        if not event.discrete:
            return clean, start, torch.zeros(len(x), device=x.device, dtype=torch.float64)
        if self.dequantization == "uniform":
            u = rng.uniform(event.shape, stream="ode/uniform", step=draw) - 0.5
            offset = clean.new_full((len(x),), event.dims * math.log(spacing(event)))
            return clean + spacing(event) * u, start, offset.double()
        t0 = vlb.decoder_time(model.schedule, event, start)
        t = clean.new_full((len(x),), t0, dtype=torch.float64)
        eps = rng.normal(event.shape, stream="ode/gaussian", step=draw)
        alpha, sigma = at_time(model.schedule, t, clean)
        z = alpha * clean + sigma * eps
        log_q = vlb.gaussian(z, alpha * clean, sigma.double())
        return z, t0, vlb.level_decoder(event, x, z, alpha, sigma) - log_q


class Drift:
    """(du/dphi, div) of [u, log-density gained] (A, D + 1)."""

    def __init__(self, path: Flow, probes: Tensor | None) -> None:
        self.path, self.probes = path, probes
        self.shape = path.model.event.shape

    def __call__(self, y: Tensor, phi: Tensor, rows: Tensor) -> Tensor:
        with torch.enable_grad():
            u = y[:, :-1].reshape(len(y), *self.shape).detach().requires_grad_()
            velocity = self.path.velocity(u, phi, rows)
            flat = velocity.flatten(1)
            div = self._exact(u, flat) if self.probes is None else self._probed(u, flat, rows)
        return torch.cat((flat.detach(), div.unsqueeze(1)), 1)

    def _exact(self, u: Tensor, flat: Tensor) -> Tensor:
        """sum_i d velocity_i / d u_i, (A,)."""
        D = flat.shape[1]
        total = flat.new_zeros(len(flat))
        for i in range(D):
            (g,) = torch.autograd.grad(flat[:, i].sum(), u, retain_graph=i + 1 < D)
            total = total + g.flatten(1)[:, i]
        return total

    def _probed(self, u: Tensor, flat: Tensor, rows: Tensor) -> Tensor:
        """The mean over probes v of v' J v, (A,)."""
        assert self.probes is not None
        probes = self.probes[:, rows]
        total = flat.new_zeros(len(flat))
        for k, v in enumerate(probes):
            (g,) = torch.autograd.grad(flat, u, v, retain_graph=k + 1 < len(probes))
            total = total + (g.flatten(1) * v).sum(1)
        return total / len(probes)


def rademacher(count: int, z: Tensor, rng: Rng, draw: int) -> Tensor | None:
    """Rademacher probes (P, B, D), float64; None for the exact trace."""
    if count == 0:
        return None
    D = z[0].numel()
    drawn = [rng.uniform((D,), stream="ode/probe", step=draw * count + k) for k in range(count)]
    return torch.where(torch.stack(drawn) < 0.5, -1.0, 1.0).double()
